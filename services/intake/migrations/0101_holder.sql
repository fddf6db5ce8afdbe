-- The holder: everything about a person lives here, sealed under a key of its own that another database keeps.

-- Somebody was met. `sealed` is the person's fields (AES-256-GCM under the person's key); a screened group's entries
-- share `screening`. Consent attaches to the entry; service consent opens the case.
create table entry (
    id uuid primary key,
    org uuid not null,
    channel text not null check (channel in ('hotline', 'border_post', 'case_manager', 'screening', 'other')),
    happened_at timestamptz not null,
    area text not null,
    screening uuid,
    sealed bytea not null,
    key_version integer not null,
    version integer not null default 1,
    created_at timestamptz not null
);
create index on entry (org, created_at);
create index on entry (screening) where screening is not null;

create table "case" (
    id uuid primary key,
    entry uuid not null unique references entry,
    org uuid not null,
    state text not null check (state in ('open', 'closed')),
    opened_at timestamptz not null,
    closed_at timestamptz,
    version integer not null default 1
);

-- One person's fence: reads of the person lock it shared, withdrawal locks it exclusively. Shut is also written to the
-- key store, and applied again at start.
create table fence (
    entry uuid primary key references entry,
    generation bigint not null default 0,
    sharing_shut boolean not null default false,
    service_shut boolean not null default false
);

-- What a person decided. Never edited: a new state is a new row.
create table consent (
    id uuid primary key,
    entry uuid not null references entry,
    org uuid not null,
    version integer not null check (version > 0),
    decision text not null check (decision in ('service', 'share_referral')),
    state text not null check (state in ('given', 'refused', 'withdrawn')),
    categories text[] not null,
    purposes text[] not null,
    recipients jsonb not null,
    valid_from timestamptz not null,
    valid_until timestamptz,
    expressed text not null check (expressed in ('spoken', 'written', 'thumbprint')),
    language text not null,
    notice text not null,
    interpreter boolean not null,
    guardian jsonb,
    recorded_by text not null,
    recorded_at timestamptz not null,
    unique (entry, version),
    check (valid_until is null or valid_until > valid_from)
);
create index on consent (entry, decision, version desc);

-- Never to these: beats every consent. Lifting one is a new row with `lifted`.
create table exclusion (
    number bigint generated always as identity primary key,
    entry uuid not null references entry,
    org uuid not null,
    kind text not null check (kind in ('organisation', 'organisation_type', 'law_enforcement')),
    value text not null,
    lifted boolean not null default false,
    recorded_by text not null,
    recorded_at timestamptz not null
);
create index on exclusion (entry);

-- Reviewed data, dated, with history: a rule is ended, never edited.
create table need_to_know (
    id uuid primary key,
    service_group text not null,
    stage text not null check (stage in ('offer', 'packet', 'placement')),
    fields text[] not null,
    valid_from timestamptz not null,
    valid_until timestamptz,
    created_by text not null,
    created_at timestamptz not null default now()
);
create table agreement (
    id uuid primary key,
    sender uuid not null,
    recipient uuid not null,
    categories text[] not null,
    purposes text[] not null,
    valid_from timestamptz not null,
    valid_until timestamptz,
    created_by text not null,
    created_at timestamptz not null default now()
);
create index on agreement (sender, recipient);
create table corridor (
    id uuid primary key,
    from_country text not null,
    to_country text not null,
    categories text[] not null,
    legal_basis text not null,
    valid_from timestamptz not null,
    valid_until timestamptz,
    created_by text not null,
    created_at timestamptz not null default now()
);

-- The sender's request. `state` is what the network last said, as the holder knows it.
create table handoff (
    id uuid primary key,
    org uuid not null,
    network uuid not null,
    service_type text not null,
    urgency text not null,
    area text not null,
    places integer not null check (places between 1 and 20),
    need_by timestamptz,
    requested_at timestamptz not null,
    state text not null check (state in ('requested', 'received', 'offered', 'accepted', 'ready', 'in-progress', 'completed',
                                         'unroutable', 'on-hold', 'missing', 'cancelled')),
    offer uuid,
    sealed_code bytea,
    code_tries integer not null default 0 check (code_tries between 0 and 5),
    changed_at timestamptz not null,
    version integer not null default 1
);
create index on handoff (org, requested_at desc);

create table handoff_member (
    handoff uuid not null references handoff,
    entry uuid not null references entry,
    place_in_party integer not null,
    primary key (handoff, entry)
);
create index on handoff_member (entry);

-- Who was asked, with what the network last vouched for; the place's eligibility is not kept.
create table asked (
    handoff uuid not null references handoff,
    organisation uuid not null,
    facts jsonb not null,
    at timestamptz not null,
    primary key (handoff, organisation)
);

-- What the accepting organisation may read, one per accepted offer. Content is composed at each fetch, never stored.
create table packet (
    offer uuid primary key,
    handoff uuid not null references handoff,
    organisation uuid not null,
    facts jsonb not null,
    released_at timestamptz not null,
    fetched_at timestamptz,
    ended_at timestamptz,
    meeting_point bytea,
    address bytea,
    erasure text check (erasure in ('requested', 'erased', 'restricted', 'retained_by_law', 'nothing_held')),
    erasure_by timestamptz,
    version integer not null default 1
);
create index on packet (handoff);

-- Every answer of the gate: which fields went to whom, which were refused and by which rule, under which consent.
create table disclosure (
    number bigint generated always as identity primary key,
    entry uuid not null references entry,
    handoff uuid not null references handoff,
    org uuid not null,
    recipient uuid not null,
    stage text not null,
    purpose text not null,
    allowed text[] not null,
    refused jsonb not null,
    consent_version integer,
    at timestamptz not null
);
create index on disclosure (entry, number);
create index on disclosure (handoff, number);

-- Details that only the holder keeps (why an organisation declined, how it ended), sealed under the person's key.
create table detail (
    number bigint generated always as identity primary key,
    handoff uuid not null references handoff,
    org uuid not null,
    offer uuid not null,
    kind text not null check (kind in ('decline', 'outcome')),
    sealed bytea not null,
    at timestamptz not null,
    unique (offer, kind)
);

-- Organisations that the network has suspended: nothing is theirs to read.
create table suspended (organisation uuid primary key, at timestamptz not null);

create table screening (
    id uuid primary key,
    org uuid not null,
    area text not null,
    source_digest text not null,
    rows_done bigint not null default 0,
    entries bigint not null default 0,
    refused bigint not null default 0,
    doubtful bigint not null default 0,
    finished_at timestamptz,
    created_at timestamptz not null,
    version integer not null default 1,
    unique (org, source_digest)
);

do $$ declare t text; begin
    foreach t in array array['entry', 'case', 'fence', 'consent', 'exclusion', 'need_to_know', 'agreement', 'corridor',
                             'handoff', 'handoff_member', 'asked', 'packet', 'disclosure', 'detail', 'suspended', 'screening']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
        execute format('grant select, insert, update on %I to spean_worker', t);
    end loop;
    foreach t in array array['entry', 'case', 'consent', 'exclusion', 'handoff', 'disclosure', 'detail', 'screening']
    loop
        execute format('create policy own on %I to spean_api using (org = current_org()) with check (org = current_org())', t);
        execute format('grant select on %I to spean_api', t);
    end loop;
    foreach t in array array['entry', 'case', 'fence', 'consent', 'exclusion', 'handoff', 'handoff_member', 'disclosure', 'screening']
    loop
        execute format('grant insert on %I to spean_api', t);
    end loop;
    foreach t in array array['handoff_member', 'asked', 'packet']
    loop
        execute format('create policy own on %I to spean_api using (exists (select 1 from handoff h where h.id = %I.handoff))'
                       ' with check (exists (select 1 from handoff h where h.id = %I.handoff))', t, t, t);
        execute format('grant select on %I to spean_api', t);
    end loop;
end $$;
create policy own on fence to spean_api using (exists (select 1 from entry e where e.id = fence.entry))
    with check (exists (select 1 from entry e where e.id = fence.entry));
-- What was recorded is never edited; what changes, changes in these columns only.
grant update (sealed, key_version, version) on entry to spean_api;
grant update (generation, sharing_shut, service_shut) on fence to spean_api;
grant update (state, offer, changed_at, version) on handoff to spean_api;
grant update (ended_at, erasure, erasure_by, version) on packet to spean_api;
grant update on screening to spean_api;
-- Reviewed rules hold nothing about a person; every organisation of the holder may read them.
create policy readable on need_to_know for select to spean_api using (current_org() is not null);
create policy readable on agreement for select to spean_api using (sender = current_org() or recipient = current_org());
create policy readable on corridor for select to spean_api using (current_org() is not null);
grant select on need_to_know, agreement, corridor to spean_api;
grant select on fence to spean_api;
grant usage on all sequences in schema public to spean_api, spean_worker;
grant delete on suspended to spean_worker;
