-- The key store: a database of its own, never the holder's. Losing a row is losing the person's data, on purpose.
create table if not exists data_key (
    person uuid not null,
    version integer not null check (version > 0),
    wrapped bytea,
    kek text not null,
    created_at timestamptz not null default now(),
    destroyed_at timestamptz,
    primary key (person, version),
    check ((wrapped is null) = (destroyed_at is not null))
);
create table if not exists fence (
    person uuid primary key,
    generation bigint not null,
    sharing_shut boolean not null,
    service_shut boolean not null,
    at timestamptz not null default now()
);
