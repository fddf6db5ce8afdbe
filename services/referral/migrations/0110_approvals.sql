-- What would open records takes effect only when a second one has agreed: a system's scopes, a key of a system that is there, a
-- role of somebody's. Until then nothing of it is anywhere but here. Nothing about survivors.
-- `scopes`: what it would open; `asked`: the rest of what is to be done then (a public key, roles).
create table approval (
    id uuid primary key,
    kind text not null check (kind in ('system', 'key', 'roles')),
    organisation uuid not null references organisation,
    client text check (client ~ '^[a-z0-9-]{1,80}$'),
    person uuid references person,
    scopes text[] not null,
    asked jsonb not null,
    asked_by text not null check (asked_by ~ '^(person:[0-9a-f-]{36}|system:[a-z0-9-]{1,80})$'),
    asked_of uuid not null references organisation,
    asked_at timestamptz not null,
    decide_by timestamptz not null,
    state text not null default 'waiting' check (state in ('waiting', 'approved', 'refused', 'lapsed')),
    decided_by text check (decided_by ~ '^(clock|person:[0-9a-f-]{36}|system:[a-z0-9-]{1,80})$'),
    decided_at timestamptz,
    constraint about_one check ((kind = 'roles') = (person is not null) and (kind = 'roles') = (client is null)),
    constraint decided_at_a_time check ((state = 'waiting') = (decided_at is null) and (decided_by is null) = (decided_at is null)),
    constraint two_different check (state <> 'approved' or decided_by <> asked_by),
    constraint in_time check (state <> 'approved' or decided_at < decide_by)
);
create unique index one_waiting_system on approval (client) where state = 'waiting' and kind = 'system';
create unique index one_waiting_roles on approval (person) where state = 'waiting';
create index on approval (organisation, asked_at);
create index on approval (decide_by) where state = 'waiting';
alter table approval enable row level security;
alter table approval force row level security;
create policy service on approval to spean_worker using (true) with check (true);
grant select, insert, update on approval to spean_worker;

-- The clock writes in the history what nobody has agreed to in time.
alter table change drop constraint change_by_check;
alter table change add constraint change_by_check
    check (by ~ '^(clock|operator|person:[0-9a-f-]{36}|system:[a-z0-9-]{1,80})$');
