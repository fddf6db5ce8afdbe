-- The network: organisations and their systems, places and holds, referrals and offers. No attribute of a person.

create table network (
    id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    coordinator uuid not null,
    windows jsonb not null,
    sample boolean not null default false,
    version integer not null default 1,
    created_at timestamptz not null default now()
);

create table organisation (
    id uuid primary key,
    name text not null check (length(name) between 1 and 200),
    type text not null,
    country text not null check (country ~ '^[A-Z]{2}$'),
    law_enforcement boolean not null,
    status text not null default 'active' check (status in ('active', 'suspended')),
    sample boolean not null default false,
    version integer not null default 1,
    created_at timestamptz not null default now()
);

create table member (
    network uuid not null references network,
    organisation uuid not null references organisation,
    primary key (network, organisation)
);

-- A system of an organisation that signs in with a key of its own.
create table client (
    id text primary key check (id ~ '^[a-z0-9-]{1,80}$'),
    organisation uuid not null references organisation,
    public_key jsonb not null,
    scopes text[] not null,
    status text not null default 'active' check (status in ('active', 'revoked')),
    created_at timestamptz not null default now()
);

-- Assertions that were used, until they expire: each works once.
create table used_assertion (client text not null, jti text not null, expires_at timestamptz not null, primary key (client, jti));

-- A pool of equal places (beds, slots) of one organisation. free = usable - outside - held - staying.
create table place (
    id uuid primary key,
    organisation uuid not null references organisation,
    network uuid not null references network,
    service_group text not null,
    service_types text[] not null check (cardinality(service_types) > 0),
    area text not null,
    eligibility jsonb not null,
    usable integer not null check (usable between 0 and 10000),
    outside integer not null default 0 check (outside >= 0),
    held integer not null default 0 check (held >= 0),
    staying integer not null default 0 check (staying >= 0),
    version integer not null default 1,
    confirmed_at timestamptz not null default now(),
    constraint never_more_than_there_are check (outside + held + staying <= usable)
);
create index on place (network, service_group);
create index on place (organisation);

create table referral (
    id uuid primary key,
    network uuid not null references network,
    holder text not null,
    sender uuid not null references organisation,
    coordinator uuid not null,
    service_group text not null,
    urgency text not null check (urgency in ('immediate', 'emergency', 'urgent', 'normal')),
    area text not null,
    places integer not null check (places between 1 and 100),
    need_by timestamptz,
    requested_at timestamptz not null,
    deadline timestamptz not null,
    windows jsonb not null,
    state text not null check (state in ('requested', 'offered', 'accepted', 'ready', 'in-progress', 'completed',
                                         'unroutable', 'on-hold', 'missing', 'cancelled')),
    step_at timestamptz,
    asked_from timestamptz not null,
    stopped boolean not null default false,
    ending boolean not null default false,
    offer uuid,
    escalated text check (escalated in ('no-candidate', 'deadline-passed', 'not-ready', 'not-arrived', 'sharing-stopped',
                                        'organisation-suspended', 'no-outcome')),
    taken_by text,
    remind_at timestamptz,
    reminded integer not null default 0,
    wake_at timestamptz generated always as (least(step_at, remind_at)) stored,
    departed_at timestamptz,
    arrived_at timestamptz,
    arrival_verified boolean,
    ended_at timestamptz,
    version integer not null default 1,
    -- No state without an owner: what is not final wakes somebody, what is final wakes nobody.
    constraint waits_for_somebody check ((state in ('completed', 'cancelled')) = (wake_at is null)),
    constraint ends_when_final check ((state in ('completed', 'cancelled')) = (ended_at is not null)),
    constraint the_machine_has_a_step check (state not in ('requested', 'offered', 'ready') or step_at is not null),
    constraint a_person_has_to_act check (state not in ('unroutable', 'on-hold', 'missing') or step_at is null),
    constraint offer_where_there_must_be_one check (
        state not in ('offered', 'accepted', 'ready', 'missing', 'in-progress', 'completed') or offer is not null),
    constraint no_offer_where_there_is_none check (state not in ('requested', 'unroutable', 'cancelled') or offer is null),
    constraint stays_after_arrival check ((arrived_at is not null and arrival_verified is not null)
                                          or (arrived_at is null and arrival_verified is null and state <> 'in-progress')),
    constraint nobody_arrives_before check (arrived_at is null or state in ('in-progress', 'completed')),
    constraint escalated_is_told_again check (escalated is null or remind_at is not null),
    constraint taken_where_escalated check (taken_by is null or escalated is not null)
);
create index on referral (coordinator, state) where escalated is not null;
create index on referral (sender, requested_at);

create table offer (
    id uuid primary key,
    referral uuid not null references referral,
    organisation uuid not null references organisation,
    coordinator uuid not null,
    place uuid not null references place,
    state text not null check (state in ('sent', 'seen', 'accepted', 'rejected', 'expired', 'withdrawn')),
    reason text check (reason in ('full', 'not-suitable', 'closed', 'no-answer', 'stopped', 'other')),
    sent_at timestamptz not null,
    answer_by timestamptz not null,
    answered_at timestamptz,
    version integer not null default 1,
    constraint answered_where_it_is_over check ((state in ('sent', 'seen')) = (answered_at is null)),
    constraint says_why check ((state in ('rejected', 'expired', 'withdrawn')) = (reason is not null))
);
create unique index one_open_offer on offer (referral) where state in ('sent', 'seen', 'accepted');
create index on offer (organisation, state, answer_by);
create index on offer (referral);

create table hold (
    offer uuid primary key references offer,
    place uuid not null references place,
    places integer not null check (places > 0),
    state text not null check (state in ('held', 'staying', 'freed')),
    since timestamptz not null,
    freed_at timestamptz,
    constraint freed_at_a_time check ((state = 'freed') = (freed_at is not null))
);
create index on hold (place) where state <> 'freed';

-- A state is left only as the tables in `referrals/domain.py` allow (a test holds the two equal).
create function refuse_unless_listed() returns trigger language plpgsql as $$
begin
    if old.state || ' > ' || new.state <> all (tg_argv) then
        raise check_violation using message = 'no such transition';
    end if;
    return new;
end $$;
create trigger moves before update of state on referral for each row when (old.state <> new.state)
    execute function refuse_unless_listed(
        'requested > offered', 'requested > unroutable', 'requested > on-hold', 'requested > cancelled',
        'offered > accepted', 'offered > requested', 'offered > cancelled',
        'accepted > ready', 'accepted > in-progress', 'accepted > on-hold', 'accepted > cancelled',
        'ready > in-progress', 'ready > missing', 'ready > on-hold', 'ready > cancelled',
        'missing > in-progress', 'missing > completed', 'missing > on-hold', 'missing > cancelled',
        'in-progress > completed',
        'unroutable > requested', 'unroutable > on-hold', 'unroutable > cancelled',
        'on-hold > requested', 'on-hold > cancelled');
create trigger moves before update of state on offer for each row when (old.state <> new.state)
    execute function refuse_unless_listed(
        'sent > seen', 'sent > accepted', 'sent > rejected', 'sent > expired', 'sent > withdrawn',
        'seen > accepted', 'seen > rejected', 'seen > expired', 'seen > withdrawn', 'accepted > withdrawn');
create trigger moves before update of state on hold for each row when (old.state <> new.state)
    execute function refuse_unless_listed('held > staying', 'held > freed', 'staying > freed');

-- Row-level security: an organisation sees what it sent, what it was offered, what it coordinates.
do $$ declare t text; begin
    foreach t in array array['network', 'organisation', 'member', 'client', 'used_assertion', 'place', 'referral', 'offer', 'hold']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
    end loop;
end $$;

create policy own on organisation for select to spean_api using (id = current_org());
create policy own on member for select to spean_api using (organisation = current_org());
create policy own on network for select to spean_api
    using (exists (select 1 from member m where m.network = network.id and m.organisation = current_org()));
create policy own on client for select to spean_api using (organisation = current_org());
create policy own on place to spean_api using (organisation = current_org()) with check (organisation = current_org());
create policy own on offer to spean_api
    using (organisation = current_org() or coordinator = current_org())
    with check (organisation = current_org() or coordinator = current_org());
create policy own on referral to spean_api
    using (sender = current_org() or coordinator = current_org()
           or exists (select 1 from offer o where o.referral = referral.id and o.organisation = current_org()))
    with check (sender = current_org() or coordinator = current_org()
           or exists (select 1 from offer o where o.referral = referral.id and o.organisation = current_org()));
create policy own on hold to spean_api
    using (exists (select 1 from offer o where o.id = hold.offer))
    with check (exists (select 1 from offer o where o.id = hold.offer));

grant select on network, organisation, member, client to spean_api;
grant select, update on place, referral, offer to spean_api;
grant select, insert, update on hold to spean_api;
grant select, insert, update, delete on network, organisation, member, client, used_assertion, place, referral, offer, hold
    to spean_worker;
