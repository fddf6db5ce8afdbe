-- The whole schema of referral, as its migrations make it. Generated: `spean schemas write`.

CREATE FUNCTION public.current_org() RETURNS uuid
    LANGUAGE sql STABLE
    AS $$ select nullif(current_setting('app.org', true), '')::uuid $$;

CREATE FUNCTION public.due_clear(p_kind text, p_subject uuid) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    delete from due where kind = p_kind and subject = p_subject
$$;

CREATE FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text DEFAULT NULL::text) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    insert into due (kind, subject, at, traceparent) values (p_kind, p_subject, p_at, p_traceparent)
    on conflict (kind, subject) do update set at = excluded.at, claimed_until = '-infinity', tries = 0,
        traceparent = excluded.traceparent
$$;

CREATE FUNCTION public.refuse_unless_listed() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if old.state || ' > ' || new.state <> all (tg_argv) then
        raise check_violation using message = 'no such transition';
    end if;
    return new;
end $$;

CREATE FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'public', 'pg_temp'
    AS $$
    with next as (
        insert into aggregate as a values (p_aggregate, 1)
        on conflict (id) do update set sequence = a.sequence + 1
        returning sequence
    )
    insert into outbox (id, aggregatetype, aggregateid, type, payload, epoch, sequence, time, correlationid, causationid, traceparent)
    select p_id, p_topic, p_aggregate, p_type, p_payload, (select epoch from life), next.sequence, p_time, p_correlation,
           p_causation, p_traceparent
    from next
    returning sequence
$$;

CREATE TABLE public.aggregate (
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT aggregate_sequence_check CHECK ((sequence > 0))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.answered (
    event uuid NOT NULL
);

CREATE TABLE public.approval (
    id uuid NOT NULL,
    kind text NOT NULL,
    organisation uuid NOT NULL,
    client text,
    person uuid,
    scopes text[] NOT NULL,
    asked jsonb NOT NULL,
    asked_by text NOT NULL,
    asked_of uuid NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    decide_by timestamp with time zone NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL,
    decided_by text,
    decided_at timestamp with time zone,
    CONSTRAINT about_one CHECK ((((kind = 'roles'::text) = (person IS NOT NULL)) AND ((kind = 'roles'::text) = (client IS NULL)))),
    CONSTRAINT approval_asked_by_check CHECK ((asked_by ~ '^(person:[0-9a-f-]{36}|system:[a-z0-9-]{1,80})$'::text)),
    CONSTRAINT approval_client_check CHECK ((client ~ '^[a-z0-9-]{1,80}$'::text)),
    CONSTRAINT approval_decided_by_check CHECK ((decided_by ~ '^(clock|person:[0-9a-f-]{36}|system:[a-z0-9-]{1,80})$'::text)),
    CONSTRAINT approval_kind_check CHECK ((kind = ANY (ARRAY['system'::text, 'key'::text, 'roles'::text]))),
    CONSTRAINT approval_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'approved'::text, 'refused'::text, 'lapsed'::text]))),
    CONSTRAINT decided_at_a_time CHECK ((((state = 'waiting'::text) = (decided_at IS NULL)) AND ((decided_by IS NULL) = (decided_at IS NULL)))),
    CONSTRAINT in_time CHECK (((state <> 'approved'::text) OR (decided_at < decide_by))),
    CONSTRAINT two_different CHECK (((state <> 'approved'::text) OR (decided_by <> asked_by)))
);

ALTER TABLE ONLY public.approval FORCE ROW LEVEL SECURITY;

CREATE TABLE public.authenticator (
    person uuid NOT NULL,
    sealed bytea NOT NULL,
    last_step bigint NOT NULL,
    since timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.authenticator FORCE ROW LEVEL SECURITY;

CREATE TABLE public.change (
    number bigint NOT NULL,
    at timestamp with time zone NOT NULL,
    by text NOT NULL,
    what text NOT NULL,
    organisation uuid NOT NULL,
    network uuid,
    place uuid,
    client text,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT change_by_check CHECK ((by ~ '^(clock|operator|person:[0-9a-f-]{36}|system:[a-z0-9-]{1,80})$'::text))
);

ALTER TABLE ONLY public.change FORCE ROW LEVEL SECURITY;

ALTER TABLE public.change ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.change_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.client (
    id text NOT NULL,
    organisation uuid NOT NULL,
    public_key jsonb,
    scopes text[] NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT client_id_check CHECK ((id ~ '^[a-z0-9-]{1,80}$'::text)),
    CONSTRAINT client_status_check CHECK ((status = ANY (ARRAY['active'::text, 'revoked'::text])))
);

ALTER TABLE ONLY public.client FORCE ROW LEVEL SECURITY;

CREATE TABLE public.client_key (
    client text NOT NULL,
    thumbprint text NOT NULL,
    public_key jsonb NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT client_key_status_check CHECK ((status = ANY (ARRAY['active'::text, 'revoked'::text]))),
    CONSTRAINT client_key_thumbprint_check CHECK ((thumbprint ~ '^[A-Za-z0-9_-]{43}$'::text)),
    CONSTRAINT revoked_at_a_time CHECK (((status = 'revoked'::text) = (revoked_at IS NOT NULL)))
);

ALTER TABLE ONLY public.client_key FORCE ROW LEVEL SECURITY;

CREATE TABLE public.client_sealing_key (
    client text NOT NULL,
    thumbprint text NOT NULL,
    public_key jsonb NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    CONSTRAINT client_sealing_key_status_check CHECK ((status = ANY (ARRAY['active'::text, 'revoked'::text]))),
    CONSTRAINT client_sealing_key_thumbprint_check CHECK ((thumbprint ~ '^[A-Za-z0-9_-]{43}$'::text)),
    CONSTRAINT revoked_at_a_time CHECK (((status = 'revoked'::text) = (revoked_at IS NOT NULL)))
);

ALTER TABLE ONLY public.client_sealing_key FORCE ROW LEVEL SECURITY;

CREATE TABLE public.discarded (
    number bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    reason text NOT NULL,
    parked_at timestamp with time zone NOT NULL,
    by_account text NOT NULL,
    because text NOT NULL,
    discarded_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT discarded_because_check CHECK (((length(because) >= 1) AND (length(because) <= 200))),
    CONSTRAINT discarded_by_account_check CHECK (((length(by_account) >= 1) AND (length(by_account) <= 100)))
);

ALTER TABLE public.discarded ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.discarded_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.due (
    kind text NOT NULL,
    subject uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    claimed_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    traceparent text
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.held_copy (
    offer uuid NOT NULL,
    referral uuid NOT NULL,
    organisation uuid NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    answer_by timestamp with time zone NOT NULL,
    answered_at timestamp with time zone
);

ALTER TABLE ONLY public.held_copy FORCE ROW LEVEL SECURITY;

CREATE TABLE public.hold (
    offer uuid NOT NULL,
    place uuid NOT NULL,
    places integer NOT NULL,
    state text NOT NULL,
    since timestamp with time zone NOT NULL,
    freed_at timestamp with time zone,
    CONSTRAINT freed_at_a_time CHECK (((state = 'freed'::text) = (freed_at IS NOT NULL))),
    CONSTRAINT hold_places_check CHECK ((places > 0)),
    CONSTRAINT hold_state_check CHECK ((state = ANY (ARRAY['held'::text, 'staying'::text, 'freed'::text])))
);

ALTER TABLE ONLY public.hold FORCE ROW LEVEL SECURITY;

CREATE TABLE public.idempotency (
    org uuid NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer NOT NULL,
    etag text,
    body text NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_key_check CHECK (((length(key) >= 1) AND (length(key) <= 200)))
);

ALTER TABLE ONLY public.idempotency FORCE ROW LEVEL SECURITY;

CREATE TABLE public.last (
    source text NOT NULL,
    aggregate uuid NOT NULL,
    epoch integer NOT NULL,
    sequence bigint NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.life (
    single boolean DEFAULT true NOT NULL,
    epoch integer DEFAULT 1 NOT NULL,
    CONSTRAINT life_epoch_check CHECK ((epoch > 0)),
    CONSTRAINT life_single_check CHECK (single)
);

CREATE TABLE public.link (
    person uuid NOT NULL,
    kind text NOT NULL,
    digest bytea NOT NULL,
    sealed bytea,
    made_by text NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    CONSTRAINT link_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT link_kind_check CHECK ((kind = ANY (ARRAY['set-up'::text, 'sign-in'::text]))),
    CONSTRAINT offers_an_authenticator CHECK (((kind = 'set-up'::text) = (sealed IS NOT NULL)))
);

ALTER TABLE ONLY public.link FORCE ROW LEVEL SECURITY;

CREATE TABLE public.marked (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL
);

CREATE TABLE public.member (
    network uuid NOT NULL,
    organisation uuid NOT NULL
);

ALTER TABLE ONLY public.member FORCE ROW LEVEL SECURITY;

CREATE TABLE public.network (
    id uuid NOT NULL,
    name text NOT NULL,
    coordinator uuid NOT NULL,
    windows jsonb NOT NULL,
    sample boolean DEFAULT false NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT network_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

ALTER TABLE ONLY public.network FORCE ROW LEVEL SECURITY;

CREATE TABLE public.offer (
    id uuid NOT NULL,
    referral uuid NOT NULL,
    organisation uuid NOT NULL,
    coordinator uuid NOT NULL,
    place uuid NOT NULL,
    state text NOT NULL,
    reason text,
    sent_at timestamp with time zone NOT NULL,
    answer_by timestamp with time zone NOT NULL,
    answered_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT answered_where_it_is_over CHECK (((state = ANY (ARRAY['sent'::text, 'seen'::text])) = (answered_at IS NULL))),
    CONSTRAINT offer_reason_check CHECK ((reason = ANY (ARRAY['full'::text, 'not-suitable'::text, 'closed'::text, 'no-answer'::text, 'stopped'::text, 'other'::text]))),
    CONSTRAINT offer_state_check CHECK ((state = ANY (ARRAY['sent'::text, 'seen'::text, 'accepted'::text, 'rejected'::text, 'expired'::text, 'withdrawn'::text]))),
    CONSTRAINT says_why CHECK (((state = ANY (ARRAY['rejected'::text, 'expired'::text, 'withdrawn'::text])) = (reason IS NOT NULL)))
);

ALTER TABLE ONLY public.offer FORCE ROW LEVEL SECURITY;

CREATE TABLE public.organisation (
    id uuid NOT NULL,
    name text NOT NULL,
    type text NOT NULL,
    country text NOT NULL,
    law_enforcement boolean NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    sample boolean DEFAULT false NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    suspended_at timestamp with time zone,
    CONSTRAINT organisation_country_check CHECK ((country ~ '^[A-Z]{2}$'::text)),
    CONSTRAINT organisation_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT organisation_status_check CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text]))),
    CONSTRAINT suspended_since CHECK (((suspended_at IS NULL) OR (status = 'suspended'::text)))
);

ALTER TABLE ONLY public.organisation FORCE ROW LEVEL SECURITY;

CREATE TABLE public.outbox (
    number bigint NOT NULL,
    id uuid NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid uuid NOT NULL,
    type text NOT NULL,
    payload text NOT NULL,
    epoch integer NOT NULL,
    sequence bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    correlationid uuid NOT NULL,
    causationid uuid,
    traceparent text
)
WITH (autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='5000', autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='50000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='50000', autovacuum_vacuum_cost_delay='0');

ALTER TABLE public.outbox ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.outbox_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.parked (
    number bigint NOT NULL,
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    source text NOT NULL,
    aggregate uuid NOT NULL,
    epoch integer NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    headers jsonb NOT NULL,
    value bytea NOT NULL,
    reason text NOT NULL,
    parked_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE public.parked ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.parked_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.passkey (
    credential bytea NOT NULL,
    id uuid NOT NULL,
    person uuid NOT NULL,
    public_key bytea NOT NULL,
    sign_count bigint NOT NULL,
    since timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT passkey_credential_check CHECK (((length(credential) >= 1) AND (length(credential) <= 1023))),
    CONSTRAINT passkey_sign_count_check CHECK ((sign_count >= 0))
);

ALTER TABLE ONLY public.passkey FORCE ROW LEVEL SECURITY;

CREATE TABLE public.password (
    person uuid NOT NULL,
    hash text NOT NULL,
    since timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.password FORCE ROW LEVEL SECURITY;

CREATE TABLE public.person (
    id uuid NOT NULL,
    organisation uuid NOT NULL,
    name text NOT NULL,
    sign_in_name text NOT NULL,
    language text NOT NULL,
    roles text[] NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT person_language_check CHECK ((language ~ '^[a-z]{2}$'::text)),
    CONSTRAINT person_name_check CHECK (((length(name) >= 1) AND (length(name) <= 100))),
    CONSTRAINT person_roles_check CHECK ((roles <@ ARRAY['sender'::text, 'receiver'::text, 'coordinator'::text, 'administrator'::text, 'officer'::text])),
    CONSTRAINT person_sign_in_name_check CHECK (((length(sign_in_name) >= 3) AND (length(sign_in_name) <= 60))),
    CONSTRAINT person_status_check CHECK ((status = ANY (ARRAY['active'::text, 'locked'::text, 'left'::text])))
);

ALTER TABLE ONLY public.person FORCE ROW LEVEL SECURITY;

CREATE TABLE public.person_change (
    number bigint NOT NULL,
    person uuid NOT NULL,
    organisation uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    by text NOT NULL,
    what text NOT NULL,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL
);

ALTER TABLE ONLY public.person_change FORCE ROW LEVEL SECURITY;

ALTER TABLE public.person_change ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.person_change_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.place (
    id uuid NOT NULL,
    organisation uuid NOT NULL,
    network uuid NOT NULL,
    service_group text NOT NULL,
    service_types text[] NOT NULL,
    area text NOT NULL,
    eligibility jsonb NOT NULL,
    usable integer NOT NULL,
    outside integer DEFAULT 0 NOT NULL,
    held integer DEFAULT 0 NOT NULL,
    staying integer DEFAULT 0 NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    confirmed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT never_more_than_there_are CHECK ((((outside + held) + staying) <= usable)),
    CONSTRAINT place_held_check CHECK ((held >= 0)),
    CONSTRAINT place_outside_check CHECK ((outside >= 0)),
    CONSTRAINT place_service_types_check CHECK ((cardinality(service_types) > 0)),
    CONSTRAINT place_staying_check CHECK ((staying >= 0)),
    CONSTRAINT place_usable_check CHECK (((usable >= 0) AND (usable <= 10000)))
);

ALTER TABLE ONLY public.place FORCE ROW LEVEL SECURITY;

CREATE TABLE public."position" (
    topic text NOT NULL,
    partition integer NOT NULL,
    next bigint DEFAULT 0 NOT NULL,
    last_id uuid,
    life integer DEFAULT 0 NOT NULL,
    CONSTRAINT position_life_check CHECK ((life >= 0)),
    CONSTRAINT position_next_check CHECK ((next >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='500');

CREATE TABLE public.recovery (
    id uuid NOT NULL,
    person uuid NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    first_by uuid,
    first_at timestamp with time zone,
    second_by uuid,
    done_at timestamp with time zone,
    refused_at timestamp with time zone,
    CONSTRAINT done_by_two CHECK (((second_by IS NULL) = (done_at IS NULL))),
    CONSTRAINT done_or_refused CHECK (((done_at IS NULL) OR (refused_at IS NULL))),
    CONSTRAINT first_before_second CHECK (((second_by IS NULL) OR (first_by IS NOT NULL))),
    CONSTRAINT second_within_a_day CHECK ((done_at <= (first_at + '24:00:00'::interval))),
    CONSTRAINT two_different CHECK (((first_by <> person) AND (second_by <> person) AND (first_by <> second_by)))
);

ALTER TABLE ONLY public.recovery FORCE ROW LEVEL SECURITY;

CREATE TABLE public.referral (
    id uuid NOT NULL,
    network uuid NOT NULL,
    holder text NOT NULL,
    sender uuid NOT NULL,
    coordinator uuid NOT NULL,
    service_group text NOT NULL,
    urgency text NOT NULL,
    area text NOT NULL,
    places integer NOT NULL,
    need_by timestamp with time zone,
    requested_at timestamp with time zone NOT NULL,
    deadline timestamp with time zone NOT NULL,
    windows jsonb NOT NULL,
    state text NOT NULL,
    step_at timestamp with time zone,
    asked_from timestamp with time zone NOT NULL,
    stopped boolean DEFAULT false NOT NULL,
    ending boolean DEFAULT false NOT NULL,
    offer uuid,
    escalated text,
    taken_by text,
    remind_at timestamp with time zone,
    reminded integer DEFAULT 0 NOT NULL,
    wake_at timestamp with time zone GENERATED ALWAYS AS (LEAST(step_at, remind_at)) STORED,
    departed_at timestamp with time zone,
    arrived_at timestamp with time zone,
    arrival_verified boolean,
    ended_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    arrival_checked_by text,
    closed_by text,
    CONSTRAINT a_person_has_to_act CHECK (((state <> ALL (ARRAY['unroutable'::text, 'on-hold'::text, 'missing'::text])) OR (step_at IS NULL))),
    CONSTRAINT checked_where_verified CHECK (((arrival_checked_by IS NULL) OR arrival_verified)),
    CONSTRAINT ends_when_final CHECK (((state = ANY (ARRAY['completed'::text, 'cancelled'::text])) = (ended_at IS NOT NULL))),
    CONSTRAINT escalated_is_told_again CHECK (((escalated IS NULL) OR (remind_at IS NOT NULL))),
    CONSTRAINT no_offer_where_there_is_none CHECK (((state <> ALL (ARRAY['requested'::text, 'unroutable'::text, 'cancelled'::text])) OR (offer IS NULL))),
    CONSTRAINT nobody_arrives_before CHECK (((arrived_at IS NULL) OR (state = ANY (ARRAY['in-progress'::text, 'completed'::text])))),
    CONSTRAINT offer_where_there_must_be_one CHECK (((state <> ALL (ARRAY['offered'::text, 'accepted'::text, 'ready'::text, 'missing'::text, 'in-progress'::text, 'completed'::text])) OR (offer IS NOT NULL))),
    CONSTRAINT referral_escalated_check CHECK ((escalated = ANY (ARRAY['no-candidate'::text, 'deadline-passed'::text, 'not-ready'::text, 'not-arrived'::text, 'sharing-stopped'::text, 'organisation-suspended'::text, 'no-outcome'::text, 'arrival-unverified'::text, 'restored'::text]))),
    CONSTRAINT referral_places_check CHECK (((places >= 1) AND (places <= 100))),
    CONSTRAINT referral_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'offered'::text, 'accepted'::text, 'ready'::text, 'in-progress'::text, 'completed'::text, 'unroutable'::text, 'on-hold'::text, 'missing'::text, 'cancelled'::text]))),
    CONSTRAINT referral_urgency_check CHECK ((urgency = ANY (ARRAY['immediate'::text, 'emergency'::text, 'urgent'::text, 'normal'::text]))),
    CONSTRAINT stays_after_arrival CHECK ((((arrived_at IS NOT NULL) AND (arrival_verified IS NOT NULL)) OR ((arrived_at IS NULL) AND (arrival_verified IS NULL) AND (state <> 'in-progress'::text)))),
    CONSTRAINT taken_where_escalated CHECK (((taken_by IS NULL) OR (escalated IS NOT NULL))),
    CONSTRAINT the_machine_has_a_step CHECK (((state <> ALL (ARRAY['requested'::text, 'offered'::text, 'ready'::text])) OR (step_at IS NOT NULL))),
    CONSTRAINT waits_for_somebody CHECK (((state = ANY (ARRAY['completed'::text, 'cancelled'::text])) = (wake_at IS NULL)))
);

ALTER TABLE ONLY public.referral FORCE ROW LEVEL SECURITY;

CREATE TABLE public.said (
    number bigint NOT NULL,
    id uuid NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid uuid NOT NULL,
    type text NOT NULL,
    payload text NOT NULL,
    epoch integer NOT NULL,
    sequence bigint NOT NULL,
    "time" timestamp with time zone NOT NULL,
    correlationid uuid NOT NULL,
    causationid uuid,
    traceparent text,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    said_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (autovacuum_vacuum_insert_scale_factor='0', autovacuum_vacuum_insert_threshold='100000', autovacuum_analyze_scale_factor='0', autovacuum_analyze_threshold='100000');

CREATE TABLE public.session (
    digest bytea NOT NULL,
    id uuid NOT NULL,
    person uuid NOT NULL,
    how text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    seen_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    CONSTRAINT session_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT session_how_check CHECK ((how = ANY (ARRAY['password'::text, 'passkey'::text, 'link'::text])))
);

ALTER TABLE ONLY public.session FORCE ROW LEVEL SECURITY;

CREATE TABLE public.shift (
    organisation uuid NOT NULL,
    number integer NOT NULL,
    person uuid NOT NULL,
    name text NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT shift_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

ALTER TABLE ONLY public.shift FORCE ROW LEVEL SECURITY;

CREATE TABLE public.step (
    digest bytea NOT NULL,
    kind text NOT NULL,
    person uuid,
    value bytea NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    CONSTRAINT somebodys CHECK (((kind = 'passkey'::text) = (person IS NULL))),
    CONSTRAINT step_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT step_kind_check CHECK ((kind = ANY (ARRAY['code'::text, 'passkey'::text, 'new-passkey'::text, 'new-authenticator'::text])))
);

ALTER TABLE ONLY public.step FORCE ROW LEVEL SECURITY;

CREATE TABLE public.tries (
    kind text NOT NULL,
    bucket integer NOT NULL,
    failures integer NOT NULL,
    until timestamp with time zone,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT tries_bucket_check CHECK (((bucket >= 0) AND (bucket <= 65535))),
    CONSTRAINT tries_kind_check CHECK ((kind = ANY (ARRAY['pair'::text, 'name'::text, 'address'::text, 'device'::text, 'code'::text, 'ask'::text])))
);

ALTER TABLE ONLY public.tries FORCE ROW LEVEL SECURITY;

CREATE TABLE public.used_assertion (
    client text NOT NULL,
    jti text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.used_assertion FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY public.aggregate
    ADD CONSTRAINT aggregate_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.answered
    ADD CONSTRAINT answered_pkey PRIMARY KEY (event);

ALTER TABLE ONLY public.approval
    ADD CONSTRAINT approval_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.authenticator
    ADD CONSTRAINT authenticator_pkey PRIMARY KEY (person);

ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.client_key
    ADD CONSTRAINT client_key_pkey PRIMARY KEY (client, thumbprint);

ALTER TABLE ONLY public.client
    ADD CONSTRAINT client_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.client_sealing_key
    ADD CONSTRAINT client_sealing_key_pkey PRIMARY KEY (client, thumbprint);

ALTER TABLE ONLY public.discarded
    ADD CONSTRAINT discarded_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.due
    ADD CONSTRAINT due_pkey PRIMARY KEY (kind, subject);

ALTER TABLE ONLY public.held_copy
    ADD CONSTRAINT held_copy_pkey PRIMARY KEY (offer);

ALTER TABLE ONLY public.hold
    ADD CONSTRAINT hold_pkey PRIMARY KEY (offer);

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (org, key);

ALTER TABLE ONLY public.last
    ADD CONSTRAINT last_pkey PRIMARY KEY (source, aggregate);

ALTER TABLE ONLY public.life
    ADD CONSTRAINT life_pkey PRIMARY KEY (single);

ALTER TABLE ONLY public.link
    ADD CONSTRAINT link_digest_key UNIQUE (digest);

ALTER TABLE ONLY public.link
    ADD CONSTRAINT link_pkey PRIMARY KEY (person, kind);

ALTER TABLE ONLY public.marked
    ADD CONSTRAINT marked_pkey PRIMARY KEY (topic, partition);

ALTER TABLE ONLY public.member
    ADD CONSTRAINT member_pkey PRIMARY KEY (network, organisation);

ALTER TABLE ONLY public.network
    ADD CONSTRAINT network_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.offer
    ADD CONSTRAINT offer_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.organisation
    ADD CONSTRAINT organisation_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_aggregateid_epoch_sequence_key UNIQUE (aggregateid, epoch, sequence);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_id_key UNIQUE (id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.passkey
    ADD CONSTRAINT passkey_id_key UNIQUE (id);

ALTER TABLE ONLY public.passkey
    ADD CONSTRAINT passkey_pkey PRIMARY KEY (credential);

ALTER TABLE ONLY public.password
    ADD CONSTRAINT password_pkey PRIMARY KEY (person);

ALTER TABLE ONLY public.person_change
    ADD CONSTRAINT person_change_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.person
    ADD CONSTRAINT person_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.person
    ADD CONSTRAINT person_sign_in_name_key UNIQUE (sign_in_name);

ALTER TABLE ONLY public.place
    ADD CONSTRAINT place_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public."position"
    ADD CONSTRAINT position_pkey PRIMARY KEY (topic, partition);

ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.referral
    ADD CONSTRAINT referral_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_aggregateid_epoch_sequence_key UNIQUE (aggregateid, epoch, sequence);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_id_key UNIQUE (id);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_id_key UNIQUE (id);

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.shift
    ADD CONSTRAINT shift_pkey PRIMARY KEY (organisation, number);

ALTER TABLE ONLY public.step
    ADD CONSTRAINT step_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.tries
    ADD CONSTRAINT tries_pkey PRIMARY KEY (kind, bucket);

ALTER TABLE ONLY public.used_assertion
    ADD CONSTRAINT used_assertion_pkey PRIMARY KEY (client, jti);

CREATE INDEX approval_decide_by_idx ON public.approval USING btree (decide_by) WHERE (state = 'waiting'::text);

CREATE INDEX approval_organisation_asked_at_idx ON public.approval USING btree (organisation, asked_at);

CREATE INDEX change_at_number_idx ON public.change USING btree (at, number);

CREATE INDEX change_organisation_number_idx ON public.change USING btree (organisation, number);

CREATE INDEX due_at_idx ON public.due USING btree (at);

CREATE INDEX held_copy_organisation_answer_by_idx ON public.held_copy USING btree (organisation, answer_by) WHERE (answered_at IS NULL);

CREATE INDEX held_copy_referral_idx ON public.held_copy USING btree (referral);

CREATE INDEX hold_place_idx ON public.hold USING btree (place) WHERE (state <> 'freed'::text);

CREATE INDEX idempotency_at_idx ON public.idempotency USING btree (at);

CREATE INDEX offer_organisation_state_answer_by_idx ON public.offer USING btree (organisation, state, answer_by);

CREATE INDEX offer_referral_idx ON public.offer USING btree (referral);

CREATE UNIQUE INDEX one_open_offer ON public.offer USING btree (referral) WHERE (state = ANY (ARRAY['sent'::text, 'seen'::text, 'accepted'::text]));

CREATE UNIQUE INDEX one_open_recovery ON public.recovery USING btree (person) WHERE ((done_at IS NULL) AND (refused_at IS NULL));

CREATE UNIQUE INDEX one_waiting_roles ON public.approval USING btree (person) WHERE (state = 'waiting'::text);

CREATE UNIQUE INDEX one_waiting_system ON public.approval USING btree (client) WHERE ((state = 'waiting'::text) AND (kind = 'system'::text));

CREATE UNIQUE INDEX parked_source_aggregate_epoch_sequence_offset_idx ON public.parked USING btree (source, aggregate, epoch, sequence, "offset");

CREATE INDEX parked_source_aggregate_number_idx ON public.parked USING btree (source, aggregate, number);

CREATE INDEX passkey_person_idx ON public.passkey USING btree (person);

CREATE INDEX person_change_at_number_idx ON public.person_change USING btree (at, number);

CREATE INDEX person_change_organisation_number_idx ON public.person_change USING btree (organisation, number);

CREATE INDEX person_change_person_number_idx ON public.person_change USING btree (person, number);

CREATE INDEX person_organisation_idx ON public.person USING btree (organisation);

CREATE INDEX place_network_service_group_idx ON public.place USING btree (network, service_group);

CREATE INDEX place_organisation_idx ON public.place USING btree (organisation);

CREATE INDEX referral_coordinator_state_idx ON public.referral USING btree (coordinator, state) WHERE (escalated IS NOT NULL);

CREATE INDEX referral_sender_requested_at_idx ON public.referral USING btree (sender, requested_at);

CREATE INDEX said_aggregatetype_partition_offset_idx ON public.said USING btree (aggregatetype, partition, "offset");

CREATE INDEX session_ends_at_idx ON public.session USING btree (ends_at);

CREATE INDEX session_person_idx ON public.session USING btree (person);

CREATE INDEX step_ends_at_idx ON public.step USING btree (ends_at);

CREATE INDEX step_person_idx ON public.step USING btree (person);

CREATE TRIGGER moves BEFORE UPDATE OF state ON public.hold FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION public.refuse_unless_listed('held > staying', 'held > freed', 'staying > freed');

CREATE TRIGGER moves BEFORE UPDATE OF state ON public.offer FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION public.refuse_unless_listed('sent > seen', 'sent > accepted', 'sent > rejected', 'sent > expired', 'sent > withdrawn', 'seen > accepted', 'seen > rejected', 'seen > expired', 'seen > withdrawn', 'accepted > withdrawn');

CREATE TRIGGER moves BEFORE UPDATE OF state ON public.referral FOR EACH ROW WHEN ((old.state <> new.state)) EXECUTE FUNCTION public.refuse_unless_listed('requested > offered', 'requested > unroutable', 'requested > on-hold', 'requested > cancelled', 'offered > accepted', 'offered > requested', 'offered > cancelled', 'accepted > ready', 'accepted > in-progress', 'accepted > on-hold', 'accepted > cancelled', 'ready > in-progress', 'ready > missing', 'ready > on-hold', 'ready > cancelled', 'missing > in-progress', 'missing > completed', 'missing > on-hold', 'missing > cancelled', 'in-progress > completed', 'unroutable > requested', 'unroutable > on-hold', 'unroutable > cancelled', 'on-hold > requested', 'on-hold > cancelled');

ALTER TABLE ONLY public.approval
    ADD CONSTRAINT approval_asked_of_fkey FOREIGN KEY (asked_of) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.approval
    ADD CONSTRAINT approval_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.approval
    ADD CONSTRAINT approval_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.authenticator
    ADD CONSTRAINT authenticator_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_client_fkey FOREIGN KEY (client) REFERENCES public.client(id);

ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_network_fkey FOREIGN KEY (network) REFERENCES public.network(id);

ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_place_fkey FOREIGN KEY (place) REFERENCES public.place(id);

ALTER TABLE ONLY public.client_key
    ADD CONSTRAINT client_key_client_fkey FOREIGN KEY (client) REFERENCES public.client(id);

ALTER TABLE ONLY public.client
    ADD CONSTRAINT client_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.client_sealing_key
    ADD CONSTRAINT client_sealing_key_client_fkey FOREIGN KEY (client) REFERENCES public.client(id);

ALTER TABLE ONLY public.held_copy
    ADD CONSTRAINT held_copy_offer_fkey FOREIGN KEY (offer) REFERENCES public.offer(id);

ALTER TABLE ONLY public.held_copy
    ADD CONSTRAINT held_copy_referral_fkey FOREIGN KEY (referral) REFERENCES public.referral(id);

ALTER TABLE ONLY public.hold
    ADD CONSTRAINT hold_offer_fkey FOREIGN KEY (offer) REFERENCES public.offer(id);

ALTER TABLE ONLY public.hold
    ADD CONSTRAINT hold_place_fkey FOREIGN KEY (place) REFERENCES public.place(id);

ALTER TABLE ONLY public.link
    ADD CONSTRAINT link_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.member
    ADD CONSTRAINT member_network_fkey FOREIGN KEY (network) REFERENCES public.network(id);

ALTER TABLE ONLY public.member
    ADD CONSTRAINT member_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.offer
    ADD CONSTRAINT offer_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.offer
    ADD CONSTRAINT offer_place_fkey FOREIGN KEY (place) REFERENCES public.place(id);

ALTER TABLE ONLY public.offer
    ADD CONSTRAINT offer_referral_fkey FOREIGN KEY (referral) REFERENCES public.referral(id);

ALTER TABLE ONLY public.passkey
    ADD CONSTRAINT passkey_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.password
    ADD CONSTRAINT password_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.person_change
    ADD CONSTRAINT person_change_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.person_change
    ADD CONSTRAINT person_change_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.person
    ADD CONSTRAINT person_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.place
    ADD CONSTRAINT place_network_fkey FOREIGN KEY (network) REFERENCES public.network(id);

ALTER TABLE ONLY public.place
    ADD CONSTRAINT place_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_first_by_fkey FOREIGN KEY (first_by) REFERENCES public.person(id);

ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_second_by_fkey FOREIGN KEY (second_by) REFERENCES public.person(id);

ALTER TABLE ONLY public.referral
    ADD CONSTRAINT referral_network_fkey FOREIGN KEY (network) REFERENCES public.network(id);

ALTER TABLE ONLY public.referral
    ADD CONSTRAINT referral_sender_fkey FOREIGN KEY (sender) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.session
    ADD CONSTRAINT session_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE ONLY public.shift
    ADD CONSTRAINT shift_organisation_fkey FOREIGN KEY (organisation) REFERENCES public.organisation(id);

ALTER TABLE ONLY public.step
    ADD CONSTRAINT step_person_fkey FOREIGN KEY (person) REFERENCES public.person(id);

ALTER TABLE public.approval ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.authenticator ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.change ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.client ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.client_key ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.client_sealing_key ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.held_copy ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.hold ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.idempotency ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.link ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.member ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.network ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.offer ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.organisation ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON public.change FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.client FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.held_copy FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.hold TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.offer o
  WHERE (o.id = hold.offer)))) WITH CHECK ((EXISTS ( SELECT 1
   FROM public.offer o
  WHERE (o.id = hold.offer))));

CREATE POLICY own ON public.idempotency TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.member FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.network FOR SELECT TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.member m
  WHERE ((m.network = network.id) AND (m.organisation = public.current_org())))));

CREATE POLICY own ON public.offer TO spean_api USING (((organisation = public.current_org()) OR (coordinator = public.current_org()))) WITH CHECK (((organisation = public.current_org()) OR (coordinator = public.current_org())));

CREATE POLICY own ON public.organisation FOR SELECT TO spean_api USING ((id = public.current_org()));

CREATE POLICY own ON public.person FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.person_change FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.place TO spean_api USING ((organisation = public.current_org())) WITH CHECK ((organisation = public.current_org()));

CREATE POLICY own ON public.referral TO spean_api USING (((sender = public.current_org()) OR (coordinator = public.current_org()) OR (EXISTS ( SELECT 1
   FROM public.offer o
  WHERE ((o.referral = referral.id) AND (o.organisation = public.current_org())))))) WITH CHECK (((sender = public.current_org()) OR (coordinator = public.current_org()) OR (EXISTS ( SELECT 1
   FROM public.offer o
  WHERE ((o.referral = referral.id) AND (o.organisation = public.current_org()))))));

CREATE POLICY own ON public.shift TO spean_api USING ((organisation = public.current_org())) WITH CHECK ((organisation = public.current_org()));

ALTER TABLE public.passkey ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.password ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.person ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.person_change ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.place ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.recovery ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.referral ENABLE ROW LEVEL SECURITY;

CREATE POLICY service ON public.approval TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.authenticator TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.change TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.client TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.client_key TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.client_sealing_key TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.held_copy TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.hold TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.idempotency TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.link TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.member TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.network TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.offer TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.organisation TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.passkey TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.password TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.person TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.person_change TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.place TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.recovery TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.referral TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.session TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.shift TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.step TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.tries TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.used_assertion TO spean_worker USING (true) WITH CHECK (true);

ALTER TABLE public.session ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.shift ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.step ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tries ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.used_assertion ENABLE ROW LEVEL SECURITY;

GRANT CREATE ON SCHEMA public TO referral_owner;

REVOKE ALL ON FUNCTION public.current_org() FROM PUBLIC;
GRANT ALL ON FUNCTION public.current_org() TO spean_api;
GRANT ALL ON FUNCTION public.current_org() TO spean_worker;

REVOKE ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) TO spean_api;
GRANT ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) TO spean_worker;

REVOKE ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) TO spean_api;
GRANT ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) TO spean_worker;

REVOKE ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) TO spean_api;
GRANT ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.aggregate TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.answered TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.approval TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.authenticator TO spean_worker;

GRANT SELECT ON TABLE public.change TO spean_api;
GRANT SELECT,INSERT ON TABLE public.change TO spean_worker;

GRANT SELECT ON TABLE public.client TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.client TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.client_key TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.client_sealing_key TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.discarded TO spean_worker;

GRANT USAGE ON SEQUENCE public.discarded_number_seq TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.due TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.held_copy TO spean_worker;
GRANT SELECT ON TABLE public.held_copy TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.hold TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.hold TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.idempotency TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.idempotency TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.last TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.life TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.link TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.marked TO spean_worker;

GRANT SELECT ON TABLE public.member TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.member TO spean_worker;

GRANT SELECT ON TABLE public.network TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.network TO spean_worker;

GRANT SELECT,UPDATE ON TABLE public.offer TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.offer TO spean_worker;

GRANT SELECT ON TABLE public.organisation TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.organisation TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO spean_worker;

GRANT USAGE ON SEQUENCE public.outbox_number_seq TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.parked TO spean_worker;

GRANT USAGE ON SEQUENCE public.parked_number_seq TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.passkey TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.password TO spean_worker;

GRANT SELECT ON TABLE public.person TO spean_api;
GRANT SELECT,INSERT,UPDATE ON TABLE public.person TO spean_worker;

GRANT SELECT ON TABLE public.person_change TO spean_api;
GRANT SELECT,INSERT ON TABLE public.person_change TO spean_worker;

GRANT SELECT,UPDATE ON TABLE public.place TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.place TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public."position" TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.recovery TO spean_worker;

GRANT SELECT,UPDATE ON TABLE public.referral TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.referral TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.said TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.session TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.shift TO spean_api;
GRANT SELECT,INSERT ON TABLE public.shift TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.step TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.tries TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.used_assertion TO spean_worker;
