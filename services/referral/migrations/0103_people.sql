-- The staff of the organisations: who they are, how they sign in, and their sessions. Nothing about survivors.

-- `sign_in_name` is unique in the whole installation and kept as it is compared (NFC, casefolded).
create table person (
    id uuid primary key,
    organisation uuid not null references organisation,
    name text not null check (length(name) between 1 and 100),
    sign_in_name text not null unique check (length(sign_in_name) between 3 and 60),
    language text not null check (language ~ '^[a-z]{2}$'),
    roles text[] not null check (roles <@ array['sender', 'receiver', 'coordinator', 'administrator']),
    status text not null default 'active' check (status in ('active', 'locked', 'left')),
    version integer not null default 1,
    created_at timestamptz not null default now()
);
create index on person (organisation);

-- Every change to a person, their factors and their sessions: who did what, when. Never a secret, never a name.
create table person_change (
    number bigint generated always as identity primary key,
    person uuid not null references person,
    organisation uuid not null references organisation,
    at timestamptz not null,
    by text not null,
    what text not null,
    detail jsonb not null default '{}'
);
create index on person_change (person, number);
create index on person_change (organisation, number);

create table password (
    person uuid primary key references person,
    hash text not null,
    since timestamptz not null
);

-- A time-based one-time code (RFC 6238). The secret is sealed; `last_step` is the newest time step whose code was used.
create table authenticator (
    person uuid primary key references person,
    sealed bytea not null,
    last_step bigint not null,
    since timestamptz not null
);

create table passkey (
    credential bytea primary key check (length(credential) between 1 and 1023),
    id uuid not null unique,
    person uuid not null references person,
    public_key bytea not null,
    sign_count bigint not null check (sign_count >= 0),
    since timestamptz not null,
    used_at timestamptz
);
create index on passkey (person);

-- What opens something is never stored, only its SHA-256; so in the three tables below.
create table session (
    digest bytea primary key check (length(digest) = 32),
    id uuid not null unique,
    person uuid not null references person,
    how text not null check (how in ('password', 'passkey', 'link')),
    opened_at timestamptz not null,
    seen_at timestamptz not null,
    ends_at timestamptz not null
);
create index on session (person);
create index on session (ends_at);

-- A link that works once: to set up a way to sign in, or (sample network only) to sign in. A new one replaces the old.
-- `sealed`: the secret of the authenticator that a set-up offers.
create table link (
    person uuid not null references person,
    kind text not null check (kind in ('set-up', 'sign-in')),
    digest bytea not null unique check (length(digest) = 32),
    sealed bytea,
    made_by text not null,
    ends_at timestamptz not null,
    primary key (person, kind),
    constraint offers_an_authenticator check ((kind = 'set-up') = (sealed is not null))
);

-- What waits between two steps: a code after the password, an answer to a passkey's challenge, a new authenticator's code.
create table step (
    digest bytea primary key check (length(digest) = 32),
    kind text not null check (kind in ('code', 'passkey', 'new-passkey', 'new-authenticator')),
    person uuid references person,
    value bytea not null,
    tries integer not null default 0,
    ends_at timestamptz not null,
    constraint somebodys check ((kind = 'passkey') = (person is null))
);
create index on step (ends_at);
create index on step (person);

-- Failed tries to sign in. A bucket is a keyed hash cut short: nobody is named, and there are never more rows than buckets.
create table tries (
    kind text not null check (kind in ('pair', 'name', 'address', 'device', 'code', 'ask')),
    bucket integer not null check (bucket between 0 and 65535),
    failures integer not null,
    until timestamptz,
    last_at timestamptz not null,
    primary key (kind, bucket)
);

-- Somebody lost what they sign in with: two different administrators say that it is really them.
create table recovery (
    id uuid primary key,
    person uuid not null references person,
    asked_at timestamptz not null,
    first_by uuid references person,
    first_at timestamptz,
    second_by uuid references person,
    done_at timestamptz,
    refused_at timestamptz,
    constraint two_different check (first_by <> person and second_by <> person and first_by <> second_by),
    constraint first_before_second check (second_by is null or first_by is not null),
    constraint second_within_a_day check (done_at <= first_at + interval '24 hours'),
    constraint done_by_two check ((second_by is null) = (done_at is null)),
    constraint done_or_refused check (done_at is null or refused_at is null)
);
create unique index one_open_recovery on recovery (person) where done_at is null and refused_at is null;

do $$ declare t text; begin
    foreach t in array array['person', 'person_change', 'password', 'authenticator', 'passkey', 'session', 'link', 'step',
                             'tries', 'recovery']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
    end loop;
end $$;

-- An organisation sees its own people and what was done about them. How they sign in is the service's business alone.
create policy own on person for select to spean_api using (organisation = current_org());
create policy own on person_change for select to spean_api using (organisation = current_org());
grant select on person, person_change to spean_api;
grant select, insert, update on person, recovery to spean_worker;
grant select, insert on person_change to spean_worker;
grant select, insert, update, delete on password, authenticator, passkey, session, link, step, tries to spean_worker;
