-- What is told: projections of the events (rebuilt from zero by a replay), and deliveries (never sent again by one).

create table referral_view (
    id uuid primary key,
    network uuid not null,
    coordinator uuid not null,
    service_group text not null,
    urgency text not null,
    area text not null,
    places integer not null,
    requested_at timestamptz not null,
    deadline timestamptz not null,
    state text not null,
    asked integer not null default 0,
    escalated text,
    verified boolean,
    answered_at timestamptz,
    arrived_at timestamptz,
    ended_at timestamptz
);
create index on referral_view (coordinator, state);
create index on referral_view (network);

create table capacity_view (
    place uuid primary key,
    network uuid not null,
    coordinator uuid not null,
    organisation uuid not null,
    service_group text not null,
    area text not null,
    usable integer not null,
    free integer not null
);
create index on capacity_view (coordinator);

create table erasure_view (
    offer uuid primary key,
    referral uuid not null,
    state text not null,
    answer_by timestamptz
);

-- Numbered in commit order (the head row is locked), so that "everything after N" misses nothing.
create table tail_head (single boolean primary key default true check (single), next bigint not null default 1);
insert into tail_head default values;
create table tail (
    number bigint primary key,
    event uuid not null unique,
    coordinator uuid,
    type text not null,
    area text,
    at timestamptz not null
);
create index on tail (coordinator, number);

-- Where an organisation is told that something waits.
create table address (
    organisation uuid primary key,
    email text not null check (length(email) between 3 and 254),
    version integer not null default 1,
    changed_at timestamptz not null default now()
);

-- Organisations that the network has suspended: nothing is shown to them any more.
create table suspended (organisation uuid primary key, at timestamptz not null);

-- One per event and organisation: a replay says the event again and finds it here. After `until` nothing waits any more.
create table delivery (
    id uuid primary key,
    event uuid not null,
    organisation uuid not null,
    until timestamptz not null,
    state text not null check (state in ('waiting', 'sent', 'parked', 'lapsed')),
    tries integer not null default 0,
    created_at timestamptz not null,
    sent_at timestamptz,
    unique (event, organisation)
);
create index on delivery (state, created_at);

do $$ declare t text; begin
    foreach t in array array['referral_view', 'capacity_view', 'erasure_view', 'tail_head', 'tail', 'address', 'suspended',
                             'delivery']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
        execute format('grant select, insert, update, delete, truncate on %I to spean_worker', t);
    end loop;
end $$;
create policy own on referral_view for select to spean_api using (coordinator = current_org());
create policy own on capacity_view for select to spean_api using (coordinator = current_org());
create policy own on tail for select to spean_api using (coordinator = current_org());
create policy readable on tail_head for select to spean_api using (current_org() is not null);
create policy own on suspended for select to spean_api using (organisation = current_org());
create policy own on erasure_view for select to spean_api
    using (exists (select 1 from referral_view r where r.id = erasure_view.referral));
create policy own on address to spean_api using (organisation = current_org()) with check (organisation = current_org());
create policy own on delivery for select to spean_api using (organisation = current_org());
grant select on referral_view, capacity_view, erasure_view, tail, tail_head, suspended, delivery to spean_api;
grant select, insert, update on address to spean_api;
