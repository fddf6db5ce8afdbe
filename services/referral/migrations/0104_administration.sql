-- What administrators do: a system changes its key without a pause, every change is kept, and a data-protection officer
-- reviews the rules.

-- The keys of a system: two beside each other while it changes from one to the other. `thumbprint`: RFC 7638, SHA-256.
create table client_key (
    client text not null references client,
    thumbprint text not null check (thumbprint ~ '^[A-Za-z0-9_-]{43}$'),
    public_key jsonb not null,
    status text not null default 'active' check (status in ('active', 'revoked')),
    since timestamptz not null default now(),
    revoked_at timestamptz,
    primary key (client, thumbprint),
    constraint revoked_at_a_time check ((status = 'revoked') = (revoked_at is not null))
);
insert into client_key (client, thumbprint, public_key, since)
    select id,
           rtrim(translate(encode(sha256(convert_to(format('{"crv":"%s","kty":"%s","x":"%s"}', public_key ->> 'crv',
                 public_key ->> 'kty', public_key ->> 'x'), 'UTF8')), 'base64'), '+/', '-_'), '='),
           public_key, created_at
    from client;
-- Read by code from before this migration alone, which must not stand still meanwhile.
alter table client alter column public_key drop not null;

-- Every change that an administrator makes to networks, organisations, members, places and systems, written with it and
-- never changed: who (`person:ID`, `system:ID` or `operator`), what, when, and the organisation that it is about. What is
-- done to people is in `person_change`. Nothing about survivors.
create table change (
    number bigint generated always as identity primary key,
    at timestamptz not null,
    by text not null check (by ~ '^(operator|person:[0-9a-f-]{36}|system:[a-z0-9-]{1,80})$'),
    what text not null,
    organisation uuid not null references organisation,
    network uuid references network,
    place uuid references place,
    client text references client,
    detail jsonb not null default '{}'
);
create index on change (at, number);
create index on change (organisation, number);
create index on person_change (at, number);

alter table person drop constraint person_roles_check;
alter table person add constraint person_roles_check
    check (roles <@ array['sender', 'receiver', 'coordinator', 'administrator', 'officer']);

do $$ declare t text; begin
    foreach t in array array['client_key', 'change']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
    end loop;
end $$;
create policy own on change for select to spean_api using (organisation = current_org());
grant select on change to spean_api;
grant select, insert on change to spean_worker;
grant select, insert, update on client_key to spean_worker;
