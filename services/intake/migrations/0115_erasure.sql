-- Erasure: who asked for it, when, why. It is asked for first, in a transaction; then the person's key is destroyed and what is
-- in the clear is reduced (`done_at`). The row stays, so that it can be shown that it was done.
create table erasure (
    entry uuid primary key references entry,
    org uuid not null,
    why text not null check (why in ('person_asked', 'not_concerned', 'mistake', 'retention', 'key_destroyed')),
    by text not null,
    asked_at timestamptz not null,
    done_at timestamptz check (done_at >= asked_at)
);
create index on erasure (asked_at);

-- A hold stands until it ends or is lifted; meanwhile nobody erases. The reason is sealed under the person's key.
create table legal_hold (
    id uuid primary key,
    entry uuid not null references entry,
    org uuid not null,
    sealed bytea not null,
    by text not null,
    at timestamptz not null,
    until timestamptz not null check (until > at),
    lifted_by text,
    lifted_at timestamptz,
    check ((lifted_by is null) = (lifted_at is null))
);
create index on legal_hold (entry, at);

-- Dated data of this holder: how many days somebody is kept. `applies`: `ended` after a hand-off that ended, of a service group
-- and with an end where they are named; `met` for who was never handed on; `screened` for who was screened and agreed to nothing.
-- Of the same scope the latest row that has begun counts; the narrower scope comes before the wider.
create table retention (
    id uuid primary key,
    applies text not null check (applies in ('ended', 'met', 'screened')),
    service_group text,
    ended text check (ended in ('completed', 'cancelled')),
    days integer not null check (days between 1 and 36500),
    valid_from timestamptz not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    check (applies = 'ended' or (service_group is null and ended is null))
);
-- They begin a month from now, so that an officer has looked at them before anybody is erased by them.
insert into retention (id, applies, days, valid_from, created_by) values
    (gen_random_uuid(), 'ended', 1825, now() + interval '30 days', 'default'),
    (gen_random_uuid(), 'met', 730, now() + interval '30 days', 'default'),
    (gen_random_uuid(), 'screened', 90, now() + interval '30 days', 'default');

do $$ declare t text; begin
    foreach t in array array['erasure', 'legal_hold', 'retention']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
        execute format('grant select, insert on %I to spean_worker', t);
    end loop;
end $$;
create policy own on erasure to spean_api using (org = current_org()) with check (org = current_org());
grant select, insert on erasure to spean_api;
create policy own on legal_hold to spean_api using (org = current_org()) with check (org = current_org());
grant select, insert, update (lifted_by, lifted_at) on legal_hold to spean_api;
grant update (done_at) on erasure to spean_worker;
-- What is reduced.
grant update (sealed) on basis_step to spean_worker;
grant delete on ask_again to spean_worker;
