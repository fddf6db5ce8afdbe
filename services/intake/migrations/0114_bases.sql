-- What stands in for consent: marked, justified in writing (sealed under the person's key), proposed by one person of an
-- organisation and decided by others. `generation`: of the person's fence when it was written, so that what the person has
-- said since is known. Each change is a step beside it, and steps are only ever added.
create table basis (
    id uuid primary key,
    entry uuid not null references entry,
    org uuid not null,
    kind text not null check (kind in (
        'best_interests_assessment', 'best_interests_determination', 'vital_interest', 'mandatory_reporting',
        'court_order', 'emergency_profile', 'family_risk_check')),
    state text not null check (state in ('proposed', 'in_force', 'refused', 'lapsed', 'ended')),
    categories text[] not null,
    purposes text[] not null,
    recipients jsonb not null,
    services text[] not null,
    generation bigint not null,
    people integer not null check (people >= 1),
    proposed_by text not null,
    proposed_at timestamptz not null,
    decide_by timestamptz not null check (decide_by > proposed_at),
    decided_at timestamptz,
    began_at timestamptz,
    valid_until timestamptz not null check (valid_until > proposed_at),
    ask_again_at timestamptz,
    told_at timestamptz,
    over_at timestamptz,
    -- Only what may be in force before a second person has looked at it begins without a decision.
    check (began_at is null or decided_at is not null
           or kind in ('vital_interest', 'mandatory_reporting', 'court_order', 'emergency_profile')),
    check ((state in ('refused', 'lapsed', 'ended')) = (over_at is not null)),
    check (state <> 'in_force' or began_at is not null),
    check (kind <> 'best_interests_determination' or people >= 3),
    check (kind in ('best_interests_determination', 'emergency_profile') or people >= 2)
);
create index on basis (entry, proposed_at);
create index on basis (org, state, decide_by);

create table basis_step (
    number bigint generated always as identity primary key,
    basis uuid not null references basis,
    org uuid not null,
    step text not null check (step in ('proposed', 'agreed', 'refused', 'lapsed', 'ended', 'told')),
    by text not null,
    sealed bytea,
    at timestamptz not null
);
create index on basis_step (basis, number);
-- Nobody decides twice, nor about what they proposed themselves.
create unique index on basis_step (basis, by) where step in ('proposed', 'agreed', 'refused');

-- Dated data of this holder: the latest row of a kind that has begun counts. How many different people, how long they have
-- for it, how long it lasts at most.
create table basis_limit (
    kind text not null,
    valid_from timestamptz not null,
    people integer not null check (people >= 2),
    decide_within interval not null check (decide_within > interval '0'),
    lasts interval not null check (lasts > interval '0'),
    created_by text not null,
    primary key (kind, valid_from)
);
insert into basis_limit values
    ('best_interests_assessment', '2026-01-01Z', 2, '24 hours', '14 days', 'default'),
    ('best_interests_determination', '2026-01-01Z', 3, '30 days', '365 days', 'default'),
    ('vital_interest', '2026-01-01Z', 2, '24 hours', '72 hours', 'default'),
    ('mandatory_reporting', '2026-01-01Z', 2, '24 hours', '30 days', 'default'),
    ('court_order', '2026-01-01Z', 2, '24 hours', '365 days', 'default'),
    ('emergency_profile', '2026-01-01Z', 2, '24 hours', '72 hours', 'default'),
    ('family_risk_check', '2026-01-01Z', 2, '14 days', '90 days', 'default');

-- Whom to ask again, since when and why; done as soon as a later decision of theirs is recorded.
create table ask_again (
    entry uuid not null references entry,
    reason text not null check (reason in ('rested', 'of_age')),
    org uuid not null,
    since timestamptz not null,
    primary key (entry, reason)
);
create index on ask_again (org, since);

-- When the age of a person was written down: it is known as of then, and nobody stays seventeen. Null: not known.
alter table entry add column age_at timestamptz;
grant update (age_at) on entry to spean_api;

do $$ declare t text; begin
    foreach t in array array['basis', 'basis_step', 'ask_again']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
        execute format('create policy own on %I to spean_api using (org = current_org()) with check (org = current_org())', t);
        execute format('grant select, insert on %I to spean_api, spean_worker', t);
    end loop;
end $$;
alter table basis_limit enable row level security;
alter table basis_limit force row level security;
create policy service on basis_limit to spean_worker using (true) with check (true);
create policy readable on basis_limit for select to spean_api using (current_org() is not null);
grant select on basis_limit to spean_api;
grant select, insert on basis_limit to spean_worker;
grant usage on sequence basis_step_number_seq to spean_api, spean_worker;
grant update (state, decided_at, began_at, told_at, over_at) on basis to spean_api;
grant update on basis to spean_worker;
grant update (since) on ask_again to spean_api, spean_worker;
