-- A packet in a browser: a ticket opens it once, for ten minutes; what is kept of the ticket and of the cookie are digests.
-- `visitor` is the session of the network's issuer that it is bound to; null where the browser has none here.
create table used_ticket (
    digest bytea primary key,
    until timestamptz not null
);
create table packet_session (
    digest bytea primary key,
    offer uuid not null,
    handoff uuid not null references handoff,
    facts jsonb not null,
    visitor uuid,
    ends_at timestamptz not null
);
create index on packet_session (handoff);
do $$ declare t text; begin
    foreach t in array array['used_ticket', 'packet_session'] loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
        execute format('grant select, insert, delete on %I to spean_worker', t);
    end loop;
end $$;

-- What a worker last saw of a hand-off (a keyed digest of what they were shown), so that what has changed since can be said.
create table looked (
    person uuid not null,
    handoff uuid not null references handoff,
    org uuid not null,
    seen bytea not null,
    at timestamptz not null,
    primary key (person, handoff)
);
create index on looked (handoff);
alter table looked enable row level security;
alter table looked force row level security;
create policy service on looked to spean_worker using (true) with check (true);
create policy own on looked to spean_api using (org = current_org()) with check (org = current_org());
grant select, insert, update, delete on looked to spean_worker;
grant select, insert on looked to spean_api;
grant update (seen, at) on looked to spean_api;

-- A session of a group that is written down person by person, rather than a file that is taken in.
alter table screening add column by_hand boolean not null default false;
