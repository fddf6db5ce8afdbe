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
-- Rules, and what stood in for consent, that somebody has ended or refused: nothing but their random ids.
create table if not exists ended (
    id uuid primary key,
    at timestamptz not null default now()
);
-- The key-encryption keys that may wrap: a row is never wrapped with another, and one of them never goes while a row is.
create table if not exists kek (
    name text primary key check (name ~ '^file-[1-9][0-9]{0,8}$'),
    since timestamptz not null default now()
);
create index if not exists data_key_kek on data_key (kek);
do $$
begin
    if not exists (select from pg_constraint where conname = 'data_key_kek_fkey') then
        insert into kek (name) values ('file-1') on conflict do nothing;
        insert into kek (name) select distinct kek from data_key on conflict do nothing;
        alter table data_key add constraint data_key_kek_fkey foreign key (kek) references kek (name);
    end if;
end
$$;
