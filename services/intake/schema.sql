-- The whole schema of intake, as its migrations make it. Generated: `spean schemas write`.

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

CREATE FUNCTION public.keep_waits_for() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    new.waits_for := case when new.state = 'on-hold' then
        coalesce(new.waits_for, case when new.offer is null then 'sender' else 'coordinator' end) end;
    return new;
end $$;

CREATE FUNCTION public.keep_yes() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    if not exists (select from yes where handoff = new.handoff and organisation = new.organisation) then
        insert into yes (handoff, organisation) values (new.handoff, new.organisation);
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

CREATE TABLE public.agreement (
    id uuid NOT NULL,
    sender uuid NOT NULL,
    recipient uuid NOT NULL,
    categories text[] NOT NULL,
    purposes text[] NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.agreement FORCE ROW LEVEL SECURITY;

CREATE TABLE public.answered (
    event uuid NOT NULL
);

CREATE TABLE public.ask_again (
    entry uuid NOT NULL,
    reason text NOT NULL,
    org uuid NOT NULL,
    since timestamp with time zone NOT NULL,
    CONSTRAINT ask_again_reason_check CHECK ((reason = ANY (ARRAY['rested'::text, 'of_age'::text])))
);

ALTER TABLE ONLY public.ask_again FORCE ROW LEVEL SECURITY;

CREATE TABLE public.asked (
    handoff uuid NOT NULL,
    organisation uuid NOT NULL,
    facts jsonb NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.asked FORCE ROW LEVEL SECURITY;

CREATE TABLE public.audited (
    number bigint NOT NULL,
    "case" uuid NOT NULL,
    org uuid NOT NULL,
    asked_by text NOT NULL,
    about timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.audited FORCE ROW LEVEL SECURITY;

ALTER TABLE public.audited ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audited_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.basis (
    id uuid NOT NULL,
    entry uuid NOT NULL,
    org uuid NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    categories text[] NOT NULL,
    purposes text[] NOT NULL,
    recipients jsonb NOT NULL,
    services text[] NOT NULL,
    generation bigint NOT NULL,
    people integer NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    decide_by timestamp with time zone NOT NULL,
    decided_at timestamp with time zone,
    began_at timestamp with time zone,
    valid_until timestamp with time zone NOT NULL,
    ask_again_at timestamp with time zone,
    told_at timestamp with time zone,
    over_at timestamp with time zone,
    CONSTRAINT basis_check CHECK ((decide_by > proposed_at)),
    CONSTRAINT basis_check1 CHECK ((valid_until > proposed_at)),
    CONSTRAINT basis_check2 CHECK (((began_at IS NULL) OR (decided_at IS NOT NULL) OR (kind = ANY (ARRAY['vital_interest'::text, 'mandatory_reporting'::text, 'court_order'::text, 'emergency_profile'::text])))),
    CONSTRAINT basis_check3 CHECK (((state = ANY (ARRAY['refused'::text, 'lapsed'::text, 'ended'::text])) = (over_at IS NOT NULL))),
    CONSTRAINT basis_check4 CHECK (((state <> 'in_force'::text) OR (began_at IS NOT NULL))),
    CONSTRAINT basis_check5 CHECK (((kind <> 'best_interests_determination'::text) OR (people >= 3))),
    CONSTRAINT basis_check6 CHECK (((kind = ANY (ARRAY['best_interests_determination'::text, 'emergency_profile'::text])) OR (people >= 2))),
    CONSTRAINT basis_kind_check CHECK ((kind = ANY (ARRAY['best_interests_assessment'::text, 'best_interests_determination'::text, 'vital_interest'::text, 'mandatory_reporting'::text, 'court_order'::text, 'emergency_profile'::text, 'family_risk_check'::text]))),
    CONSTRAINT basis_people_check CHECK ((people >= 1)),
    CONSTRAINT basis_state_check CHECK ((state = ANY (ARRAY['proposed'::text, 'in_force'::text, 'refused'::text, 'lapsed'::text, 'ended'::text])))
);

ALTER TABLE ONLY public.basis FORCE ROW LEVEL SECURITY;

CREATE TABLE public.basis_limit (
    kind text NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    people integer NOT NULL,
    decide_within interval NOT NULL,
    lasts interval NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT basis_limit_decide_within_check CHECK ((decide_within > '00:00:00'::interval)),
    CONSTRAINT basis_limit_lasts_check CHECK ((lasts > '00:00:00'::interval)),
    CONSTRAINT basis_limit_people_check CHECK ((people >= 2))
);

ALTER TABLE ONLY public.basis_limit FORCE ROW LEVEL SECURITY;

CREATE TABLE public.basis_step (
    number bigint NOT NULL,
    basis uuid NOT NULL,
    org uuid NOT NULL,
    step text NOT NULL,
    by text NOT NULL,
    sealed bytea,
    at timestamp with time zone NOT NULL,
    CONSTRAINT basis_step_step_check CHECK ((step = ANY (ARRAY['proposed'::text, 'agreed'::text, 'refused'::text, 'lapsed'::text, 'ended'::text, 'told'::text])))
);

ALTER TABLE ONLY public.basis_step FORCE ROW LEVEL SECURITY;

ALTER TABLE public.basis_step ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.basis_step_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public."case" (
    id uuid NOT NULL,
    entry uuid NOT NULL,
    org uuid NOT NULL,
    state text NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT case_state_check CHECK ((state = ANY (ARRAY['open'::text, 'closed'::text])))
);

ALTER TABLE ONLY public."case" FORCE ROW LEVEL SECURITY;

CREATE TABLE public.consent (
    id uuid NOT NULL,
    entry uuid NOT NULL,
    org uuid NOT NULL,
    version integer NOT NULL,
    decision text NOT NULL,
    state text NOT NULL,
    categories text[] NOT NULL,
    purposes text[] NOT NULL,
    recipients jsonb NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    expressed text NOT NULL,
    language text NOT NULL,
    notice text NOT NULL,
    interpreter boolean NOT NULL,
    guardian jsonb,
    recorded_by text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    taken_back jsonb,
    CONSTRAINT consent_check CHECK (((valid_until IS NULL) OR (valid_until > valid_from))),
    CONSTRAINT consent_decision_check CHECK ((decision = ANY (ARRAY['service'::text, 'share_referral'::text, 'contact'::text, 'family_contact'::text, 'tracing'::text, 'identification'::text, 'police'::text, 'consular'::text, 'legal'::text, 'medical'::text, 'forensic_exam'::text, 'evidence_storage'::text, 'evidence_release'::text, 'cross_border_return'::text, 'interpreter'::text, 'call_recording'::text, 'research'::text, 'statistics'::text]))),
    CONSTRAINT consent_expressed_check CHECK ((expressed = ANY (ARRAY['spoken'::text, 'written'::text, 'thumbprint'::text]))),
    CONSTRAINT consent_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'given'::text, 'refused'::text, 'withdrawn'::text, 'expired'::text, 're-confirmed'::text, 'invalidated'::text]))),
    CONSTRAINT consent_version_check CHECK ((version > 0))
);

ALTER TABLE ONLY public.consent FORCE ROW LEVEL SECURITY;

CREATE TABLE public.copy_answer (
    offer uuid NOT NULL,
    id uuid NOT NULL,
    handoff uuid NOT NULL,
    org uuid NOT NULL,
    request uuid NOT NULL,
    organisation uuid NOT NULL,
    by text NOT NULL,
    signed_by text NOT NULL,
    answer text NOT NULL,
    reason text,
    law text,
    said_at timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL,
    statement text NOT NULL,
    public_key jsonb NOT NULL,
    CONSTRAINT copy_answer_answer_check CHECK ((answer = ANY (ARRAY['erased'::text, 'restricted'::text, 'retained_by_law'::text, 'nothing_held'::text]))),
    CONSTRAINT copy_answer_check CHECK (((answer = 'retained_by_law'::text) = (reason IS NOT NULL))),
    CONSTRAINT copy_answer_check1 CHECK (((answer = 'retained_by_law'::text) = (law IS NOT NULL))),
    CONSTRAINT copy_answer_signed_by_check CHECK ((signed_by = ANY (ARRAY['system'::text, 'holder'::text])))
);

ALTER TABLE ONLY public.copy_answer FORCE ROW LEVEL SECURITY;

CREATE TABLE public.corridor (
    id uuid NOT NULL,
    from_country text NOT NULL,
    to_country text NOT NULL,
    categories text[] NOT NULL,
    legal_basis text NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY public.corridor FORCE ROW LEVEL SECURITY;

CREATE TABLE public.crowd (
    look bytea NOT NULL,
    people integer NOT NULL,
    counted_at timestamp with time zone NOT NULL,
    CONSTRAINT crowd_look_check CHECK ((octet_length(look) = 32)),
    CONSTRAINT crowd_people_check CHECK ((people >= 2))
);

ALTER TABLE ONLY public.crowd FORCE ROW LEVEL SECURITY;

CREATE TABLE public.crowd_limit (
    valid_from timestamp with time zone NOT NULL,
    people integer NOT NULL,
    created_by text NOT NULL,
    CONSTRAINT crowd_limit_people_check CHECK ((people >= 2))
);

ALTER TABLE ONLY public.crowd_limit FORCE ROW LEVEL SECURITY;

CREATE TABLE public.detail (
    number bigint NOT NULL,
    handoff uuid NOT NULL,
    org uuid NOT NULL,
    offer uuid NOT NULL,
    kind text NOT NULL,
    sealed bytea NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT detail_kind_check CHECK ((kind = ANY (ARRAY['decline'::text, 'outcome'::text])))
);

ALTER TABLE ONLY public.detail FORCE ROW LEVEL SECURITY;

ALTER TABLE public.detail ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.detail_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

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

CREATE TABLE public.disclosure (
    number bigint NOT NULL,
    entry uuid NOT NULL,
    handoff uuid NOT NULL,
    org uuid NOT NULL,
    recipient uuid NOT NULL,
    stage text NOT NULL,
    purpose text NOT NULL,
    allowed text[] NOT NULL,
    refused jsonb NOT NULL,
    consent_version integer,
    at timestamp with time zone NOT NULL,
    rules uuid[] DEFAULT '{}'::uuid[] NOT NULL,
    content text DEFAULT ''::text NOT NULL,
    times bigint DEFAULT 1 NOT NULL,
    last_at timestamp with time zone NOT NULL,
    service_version integer,
    facts jsonb,
    CONSTRAINT disclosure_check CHECK ((last_at >= at)),
    CONSTRAINT disclosure_times_check CHECK ((times > 0))
);

ALTER TABLE ONLY public.disclosure FORCE ROW LEVEL SECURITY;

ALTER TABLE public.disclosure ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.disclosure_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.draft (
    id uuid NOT NULL,
    org uuid NOT NULL,
    worker uuid NOT NULL,
    kind text NOT NULL,
    entry uuid,
    sealed bytea NOT NULL,
    begun_at timestamp with time zone NOT NULL,
    saved_at timestamp with time zone NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    over boolean DEFAULT false NOT NULL,
    CONSTRAINT draft_check CHECK (((NOT over) OR (sealed = '\x'::bytea))),
    CONSTRAINT draft_check1 CHECK (((kind = 'consent'::text) = (entry IS NOT NULL))),
    CONSTRAINT draft_kind_check CHECK ((kind = ANY (ARRAY['entry'::text, 'consent'::text])))
);

ALTER TABLE ONLY public.draft FORCE ROW LEVEL SECURITY;

CREATE TABLE public.due (
    kind text NOT NULL,
    subject uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    claimed_until timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    traceparent text
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.entry (
    id uuid NOT NULL,
    org uuid NOT NULL,
    channel text NOT NULL,
    happened_at timestamp with time zone NOT NULL,
    area text NOT NULL,
    screening uuid,
    sealed bytea NOT NULL,
    key_version integer NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    screening_row bigint,
    age_at timestamp with time zone,
    CONSTRAINT entry_channel_check CHECK ((channel = ANY (ARRAY['hotline'::text, 'border_post'::text, 'case_manager'::text, 'screening'::text, 'other'::text]))),
    CONSTRAINT entry_check CHECK (((screening IS NULL) = (screening_row IS NULL))),
    CONSTRAINT entry_screening_row_check CHECK ((screening_row >= 0))
);

ALTER TABLE ONLY public.entry FORCE ROW LEVEL SECURITY;

CREATE TABLE public.erasure (
    entry uuid NOT NULL,
    org uuid NOT NULL,
    why text NOT NULL,
    by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    done_at timestamp with time zone,
    CONSTRAINT erasure_check CHECK ((done_at >= asked_at)),
    CONSTRAINT erasure_why_check CHECK ((why = ANY (ARRAY['person_asked'::text, 'not_concerned'::text, 'mistake'::text, 'retention'::text, 'key_destroyed'::text])))
);

ALTER TABLE ONLY public.erasure FORCE ROW LEVEL SECURITY;

CREATE TABLE public.exclusion (
    number bigint NOT NULL,
    entry uuid NOT NULL,
    org uuid NOT NULL,
    kind text NOT NULL,
    value text NOT NULL,
    lifted boolean DEFAULT false NOT NULL,
    recorded_by text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    sealed bytea,
    CONSTRAINT exclusion_kind_check CHECK ((kind = ANY (ARRAY['organisation'::text, 'organisation_type'::text, 'law_enforcement'::text, 'official'::text]))),
    CONSTRAINT exclusion_sealed_check CHECK (((sealed IS NULL) OR (kind = 'official'::text)))
);

ALTER TABLE ONLY public.exclusion FORCE ROW LEVEL SECURITY;

ALTER TABLE public.exclusion ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.exclusion_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.fence (
    entry uuid NOT NULL,
    generation bigint DEFAULT 0 NOT NULL,
    sharing_shut boolean DEFAULT false NOT NULL,
    service_shut boolean DEFAULT false NOT NULL
);

ALTER TABLE ONLY public.fence FORCE ROW LEVEL SECURITY;

CREATE TABLE public.handoff (
    id uuid NOT NULL,
    org uuid NOT NULL,
    network uuid NOT NULL,
    service_type text NOT NULL,
    urgency text NOT NULL,
    area text NOT NULL,
    places integer NOT NULL,
    need_by timestamp with time zone,
    requested_at timestamp with time zone NOT NULL,
    state text NOT NULL,
    offer uuid,
    sealed_code bytea,
    code_tries integer DEFAULT 0 NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    ending boolean DEFAULT false NOT NULL,
    arrival_verified boolean,
    waits_for text,
    CONSTRAINT ends_with_the_person_there CHECK (((NOT ending) OR (state = ANY (ARRAY['in-progress'::text, 'completed'::text])))),
    CONSTRAINT handoff_code_tries_check CHECK (((code_tries >= 0) AND (code_tries <= 5))),
    CONSTRAINT handoff_places_check CHECK (((places >= 1) AND (places <= 20))),
    CONSTRAINT handoff_state_check CHECK ((state = ANY (ARRAY['requested'::text, 'received'::text, 'offered'::text, 'accepted'::text, 'ready'::text, 'in-progress'::text, 'completed'::text, 'unroutable'::text, 'on-hold'::text, 'missing'::text, 'cancelled'::text]))),
    CONSTRAINT handoff_waits_for_check CHECK ((waits_for = ANY (ARRAY['sender'::text, 'coordinator'::text]))),
    CONSTRAINT on_hold_for_somebody CHECK (((state = 'on-hold'::text) = (waits_for IS NOT NULL)))
);

ALTER TABLE ONLY public.handoff FORCE ROW LEVEL SECURITY;

CREATE TABLE public.handoff_member (
    handoff uuid NOT NULL,
    entry uuid NOT NULL,
    place_in_party integer NOT NULL,
    sealed_key bytea
);

ALTER TABLE ONLY public.handoff_member FORCE ROW LEVEL SECURITY;

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

CREATE TABLE public.identification_step (
    entry uuid NOT NULL,
    number integer NOT NULL,
    org uuid NOT NULL,
    sealed bytea NOT NULL,
    by text NOT NULL,
    at timestamp with time zone NOT NULL,
    CONSTRAINT identification_step_number_check CHECK ((number >= 1))
);

ALTER TABLE ONLY public.identification_step FORCE ROW LEVEL SECURITY;

CREATE TABLE public.last (
    source text NOT NULL,
    aggregate uuid NOT NULL,
    epoch integer NOT NULL,
    sequence bigint NOT NULL
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.left_out (
    handoff uuid NOT NULL,
    steps smallint,
    CONSTRAINT left_out_steps_check CHECK (((steps >= 0) AND (steps <= 3)))
);

ALTER TABLE ONLY public.left_out FORCE ROW LEVEL SECURITY;

CREATE TABLE public.legal_hold (
    id uuid NOT NULL,
    entry uuid NOT NULL,
    org uuid NOT NULL,
    sealed bytea NOT NULL,
    by text NOT NULL,
    at timestamp with time zone NOT NULL,
    until timestamp with time zone NOT NULL,
    lifted_by text,
    lifted_at timestamp with time zone,
    CONSTRAINT legal_hold_check CHECK ((until > at)),
    CONSTRAINT legal_hold_check1 CHECK (((lifted_by IS NULL) = (lifted_at IS NULL)))
);

ALTER TABLE ONLY public.legal_hold FORCE ROW LEVEL SECURITY;

CREATE TABLE public.life (
    single boolean DEFAULT true NOT NULL,
    epoch integer DEFAULT 1 NOT NULL,
    CONSTRAINT life_epoch_check CHECK ((epoch > 0)),
    CONSTRAINT life_single_check CHECK (single)
);

CREATE TABLE public.looked (
    person uuid NOT NULL,
    handoff uuid NOT NULL,
    org uuid NOT NULL,
    seen bytea NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.looked FORCE ROW LEVEL SECURITY;

CREATE TABLE public.marked (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL
);

CREATE TABLE public.need_to_know (
    id uuid NOT NULL,
    service_group text NOT NULL,
    stage text NOT NULL,
    fields text[] NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    valid_until timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    network uuid,
    CONSTRAINT need_to_know_stage_check CHECK ((stage = ANY (ARRAY['offer'::text, 'packet'::text, 'placement'::text])))
);

ALTER TABLE ONLY public.need_to_know FORCE ROW LEVEL SECURITY;

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

CREATE TABLE public.packet (
    offer uuid NOT NULL,
    handoff uuid NOT NULL,
    organisation uuid NOT NULL,
    facts jsonb NOT NULL,
    released_at timestamp with time zone NOT NULL,
    fetched_at timestamp with time zone,
    ended_at timestamp with time zone,
    meeting_point bytea,
    address bytea,
    erasure text,
    erasure_by timestamp with time zone,
    version integer DEFAULT 1 NOT NULL,
    erasure_asked_at timestamp with time zone,
    erasure_answered_at timestamp with time zone,
    CONSTRAINT packet_erasure_check CHECK ((erasure = ANY (ARRAY['requested'::text, 'erased'::text, 'restricted'::text, 'retained_by_law'::text, 'nothing_held'::text])))
);

ALTER TABLE ONLY public.packet FORCE ROW LEVEL SECURITY;

CREATE TABLE public.packet_session (
    digest bytea NOT NULL,
    offer uuid NOT NULL,
    handoff uuid NOT NULL,
    facts jsonb NOT NULL,
    visitor uuid,
    ends_at timestamp with time zone NOT NULL,
    by text
);

ALTER TABLE ONLY public.packet_session FORCE ROW LEVEL SECURITY;

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

CREATE TABLE public.restored (
    handoff uuid NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.restored FORCE ROW LEVEL SECURITY;

CREATE TABLE public.retention (
    id uuid NOT NULL,
    applies text NOT NULL,
    service_group text,
    ended text,
    days integer NOT NULL,
    valid_from timestamp with time zone NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    cancelled_at timestamp with time zone,
    cancelled_by text,
    CONSTRAINT retention_applies_check CHECK ((applies = ANY (ARRAY['ended'::text, 'met'::text, 'screened'::text]))),
    CONSTRAINT retention_check CHECK (((applies = 'ended'::text) OR ((service_group IS NULL) AND (ended IS NULL)))),
    CONSTRAINT retention_check1 CHECK (((cancelled_at IS NULL) = (cancelled_by IS NULL))),
    CONSTRAINT retention_check2 CHECK ((cancelled_at < valid_from)),
    CONSTRAINT retention_days_check CHECK (((days >= 1) AND (days <= 36500))),
    CONSTRAINT retention_ended_check CHECK ((ended = ANY (ARRAY['completed'::text, 'cancelled'::text])))
);

ALTER TABLE ONLY public.retention FORCE ROW LEVEL SECURITY;

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

CREATE TABLE public.screening (
    id uuid NOT NULL,
    org uuid NOT NULL,
    area text NOT NULL,
    source_digest text NOT NULL,
    rows_done bigint DEFAULT 0 NOT NULL,
    entries bigint DEFAULT 0 NOT NULL,
    refused bigint DEFAULT 0 NOT NULL,
    doubtful bigint DEFAULT 0 NOT NULL,
    finished_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    suppressed bigint DEFAULT 0 NOT NULL,
    by_hand boolean DEFAULT false NOT NULL,
    CONSTRAINT screening_check CHECK (((entries + refused) = rows_done))
);

ALTER TABLE ONLY public.screening FORCE ROW LEVEL SECURITY;

CREATE TABLE public.screening_finding (
    number bigint NOT NULL,
    screening uuid NOT NULL,
    org uuid NOT NULL,
    line bigint NOT NULL,
    "column" text,
    why text NOT NULL,
    refused boolean NOT NULL,
    CONSTRAINT screening_finding_line_check CHECK ((line > 0))
);

ALTER TABLE ONLY public.screening_finding FORCE ROW LEVEL SECURITY;

ALTER TABLE public.screening_finding ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.screening_finding_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.suspended (
    organisation uuid NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.suspended FORCE ROW LEVEL SECURITY;

CREATE TABLE public.system (
    id text NOT NULL,
    organisation uuid NOT NULL,
    type text NOT NULL,
    country text NOT NULL,
    law_enforcement boolean NOT NULL,
    networks uuid[] NOT NULL,
    scopes text[] NOT NULL,
    public_key jsonb NOT NULL,
    admitted_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone
);

ALTER TABLE ONLY public.system FORCE ROW LEVEL SECURITY;

CREATE TABLE public.used_assertion (
    system text NOT NULL,
    jti text NOT NULL,
    expires_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.used_assertion FORCE ROW LEVEL SECURITY;

CREATE TABLE public.used_ticket (
    digest bytea NOT NULL,
    until timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.used_ticket FORCE ROW LEVEL SECURITY;

CREATE TABLE public.usual (
    org uuid NOT NULL,
    worker uuid NOT NULL,
    channel text NOT NULL,
    area text NOT NULL
);

ALTER TABLE ONLY public.usual FORCE ROW LEVEL SECURITY;

CREATE TABLE public.vouched (
    digest bytea NOT NULL,
    claims jsonb NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.vouched FORCE ROW LEVEL SECURITY;

CREATE TABLE public.yes (
    number bigint NOT NULL,
    handoff uuid NOT NULL,
    organisation uuid NOT NULL,
    offer uuid
);

ALTER TABLE ONLY public.yes FORCE ROW LEVEL SECURITY;

ALTER TABLE public.yes ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.yes_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE ONLY public.aggregate
    ADD CONSTRAINT aggregate_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.agreement
    ADD CONSTRAINT agreement_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.answered
    ADD CONSTRAINT answered_pkey PRIMARY KEY (event);

ALTER TABLE ONLY public.ask_again
    ADD CONSTRAINT ask_again_pkey PRIMARY KEY (entry, reason);

ALTER TABLE ONLY public.asked
    ADD CONSTRAINT asked_pkey PRIMARY KEY (handoff, organisation);

ALTER TABLE ONLY public.audited
    ADD CONSTRAINT audited_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.basis_limit
    ADD CONSTRAINT basis_limit_pkey PRIMARY KEY (kind, valid_from);

ALTER TABLE ONLY public.basis
    ADD CONSTRAINT basis_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.basis_step
    ADD CONSTRAINT basis_step_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public."case"
    ADD CONSTRAINT case_entry_key UNIQUE (entry);

ALTER TABLE ONLY public."case"
    ADD CONSTRAINT case_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.consent
    ADD CONSTRAINT consent_entry_version_key UNIQUE (entry, version);

ALTER TABLE ONLY public.consent
    ADD CONSTRAINT consent_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.copy_answer
    ADD CONSTRAINT copy_answer_pkey PRIMARY KEY (offer, id);

ALTER TABLE ONLY public.corridor
    ADD CONSTRAINT corridor_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.crowd_limit
    ADD CONSTRAINT crowd_limit_pkey PRIMARY KEY (valid_from);

ALTER TABLE ONLY public.crowd
    ADD CONSTRAINT crowd_pkey PRIMARY KEY (look);

ALTER TABLE ONLY public.detail
    ADD CONSTRAINT detail_offer_kind_key UNIQUE (offer, kind);

ALTER TABLE ONLY public.detail
    ADD CONSTRAINT detail_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.discarded
    ADD CONSTRAINT discarded_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.disclosure
    ADD CONSTRAINT disclosure_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.draft
    ADD CONSTRAINT draft_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.due
    ADD CONSTRAINT due_pkey PRIMARY KEY (kind, subject);

ALTER TABLE ONLY public.entry
    ADD CONSTRAINT entry_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.erasure
    ADD CONSTRAINT erasure_pkey PRIMARY KEY (entry);

ALTER TABLE ONLY public.exclusion
    ADD CONSTRAINT exclusion_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.fence
    ADD CONSTRAINT fence_pkey PRIMARY KEY (entry);

ALTER TABLE ONLY public.handoff_member
    ADD CONSTRAINT handoff_member_pkey PRIMARY KEY (handoff, entry);

ALTER TABLE ONLY public.handoff
    ADD CONSTRAINT handoff_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (org, key);

ALTER TABLE ONLY public.identification_step
    ADD CONSTRAINT identification_step_pkey PRIMARY KEY (entry, number);

ALTER TABLE ONLY public.last
    ADD CONSTRAINT last_pkey PRIMARY KEY (source, aggregate);

ALTER TABLE ONLY public.left_out
    ADD CONSTRAINT left_out_pkey PRIMARY KEY (handoff);

ALTER TABLE ONLY public.legal_hold
    ADD CONSTRAINT legal_hold_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.life
    ADD CONSTRAINT life_pkey PRIMARY KEY (single);

ALTER TABLE ONLY public.looked
    ADD CONSTRAINT looked_pkey PRIMARY KEY (person, handoff);

ALTER TABLE ONLY public.marked
    ADD CONSTRAINT marked_pkey PRIMARY KEY (topic, partition);

ALTER TABLE ONLY public.need_to_know
    ADD CONSTRAINT need_to_know_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_aggregateid_epoch_sequence_key UNIQUE (aggregateid, epoch, sequence);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_id_key UNIQUE (id);

ALTER TABLE ONLY public.outbox
    ADD CONSTRAINT outbox_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.packet
    ADD CONSTRAINT packet_pkey PRIMARY KEY (offer);

ALTER TABLE ONLY public.packet_session
    ADD CONSTRAINT packet_session_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.parked
    ADD CONSTRAINT parked_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public."position"
    ADD CONSTRAINT position_pkey PRIMARY KEY (topic, partition);

ALTER TABLE ONLY public.restored
    ADD CONSTRAINT restored_pkey PRIMARY KEY (handoff);

ALTER TABLE ONLY public.retention
    ADD CONSTRAINT retention_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_aggregateid_epoch_sequence_key UNIQUE (aggregateid, epoch, sequence);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_id_key UNIQUE (id);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.screening_finding
    ADD CONSTRAINT screening_finding_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.screening
    ADD CONSTRAINT screening_org_source_digest_key UNIQUE (org, source_digest);

ALTER TABLE ONLY public.screening
    ADD CONSTRAINT screening_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.suspended
    ADD CONSTRAINT suspended_pkey PRIMARY KEY (organisation);

ALTER TABLE ONLY public.system
    ADD CONSTRAINT system_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.used_assertion
    ADD CONSTRAINT used_assertion_pkey PRIMARY KEY (system, jti);

ALTER TABLE ONLY public.used_ticket
    ADD CONSTRAINT used_ticket_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.usual
    ADD CONSTRAINT usual_pkey PRIMARY KEY (org, worker);

ALTER TABLE ONLY public.vouched
    ADD CONSTRAINT vouched_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.yes
    ADD CONSTRAINT yes_handoff_organisation_offer_key UNIQUE (handoff, organisation, offer);

ALTER TABLE ONLY public.yes
    ADD CONSTRAINT yes_pkey PRIMARY KEY (number);

CREATE INDEX agreement_sender_recipient_idx ON public.agreement USING btree (sender, recipient);

CREATE INDEX ask_again_org_since_idx ON public.ask_again USING btree (org, since);

CREATE INDEX audited_case_number_idx ON public.audited USING btree ("case", number);

CREATE INDEX basis_entry_proposed_at_idx ON public.basis USING btree (entry, proposed_at);

CREATE INDEX basis_org_state_decide_by_idx ON public.basis USING btree (org, state, decide_by);

CREATE UNIQUE INDEX basis_step_basis_by_idx ON public.basis_step USING btree (basis, by) WHERE (step = ANY (ARRAY['proposed'::text, 'agreed'::text, 'refused'::text]));

CREATE INDEX basis_step_basis_number_idx ON public.basis_step USING btree (basis, number);

CREATE INDEX consent_entry_decision_version_idx ON public.consent USING btree (entry, decision, version DESC);

CREATE INDEX copy_answer_handoff_idx ON public.copy_answer USING btree (handoff);

CREATE INDEX disclosure_entry_handoff_recipient_stage_purpose_number_idx ON public.disclosure USING btree (entry, handoff, recipient, stage, purpose, number);

CREATE INDEX disclosure_handoff_number_idx ON public.disclosure USING btree (handoff, number);

CREATE INDEX draft_org_worker_begun_at_idx ON public.draft USING btree (org, worker, begun_at DESC);

CREATE INDEX due_at_idx ON public.due USING btree (at);

CREATE INDEX entry_org_created_at_idx ON public.entry USING btree (org, created_at);

CREATE INDEX erasure_asked_at_idx ON public.erasure USING btree (asked_at);

CREATE INDEX exclusion_entry_idx ON public.exclusion USING btree (entry);

CREATE INDEX handoff_member_entry_idx ON public.handoff_member USING btree (entry);

CREATE INDEX handoff_org_requested_at_idx ON public.handoff USING btree (org, requested_at DESC);

CREATE INDEX idempotency_at_idx ON public.idempotency USING btree (at);

CREATE INDEX legal_hold_entry_at_idx ON public.legal_hold USING btree (entry, at);

CREATE INDEX looked_handoff_idx ON public.looked USING btree (handoff);

CREATE UNIQUE INDEX one_entry_per_row ON public.entry USING btree (screening, screening_row) WHERE (screening IS NOT NULL);

CREATE INDEX packet_handoff_idx ON public.packet USING btree (handoff);

CREATE INDEX packet_session_handoff_idx ON public.packet_session USING btree (handoff);

CREATE UNIQUE INDEX parked_source_aggregate_epoch_sequence_offset_idx ON public.parked USING btree (source, aggregate, epoch, sequence, "offset");

CREATE INDEX parked_source_aggregate_number_idx ON public.parked USING btree (source, aggregate, number);

CREATE INDEX said_aggregatetype_partition_offset_idx ON public.said USING btree (aggregatetype, partition, "offset");

CREATE INDEX screening_finding_screening_number_idx ON public.screening_finding USING btree (screening, number);

CREATE INDEX used_assertion_expires_at_idx ON public.used_assertion USING btree (expires_at);

CREATE INDEX yes_offer_idx ON public.yes USING btree (offer);

CREATE TRIGGER keeps_waits_for BEFORE INSERT OR UPDATE OF state, waits_for ON public.handoff FOR EACH ROW EXECUTE FUNCTION public.keep_waits_for();

CREATE TRIGGER keeps_yes AFTER INSERT OR UPDATE ON public.asked FOR EACH ROW EXECUTE FUNCTION public.keep_yes();

ALTER TABLE ONLY public.ask_again
    ADD CONSTRAINT ask_again_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.asked
    ADD CONSTRAINT asked_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.audited
    ADD CONSTRAINT audited_case_fkey FOREIGN KEY ("case") REFERENCES public."case"(id);

ALTER TABLE ONLY public.basis
    ADD CONSTRAINT basis_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.basis_step
    ADD CONSTRAINT basis_step_basis_fkey FOREIGN KEY (basis) REFERENCES public.basis(id);

ALTER TABLE ONLY public."case"
    ADD CONSTRAINT case_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.consent
    ADD CONSTRAINT consent_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.copy_answer
    ADD CONSTRAINT copy_answer_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.copy_answer
    ADD CONSTRAINT copy_answer_offer_fkey FOREIGN KEY (offer) REFERENCES public.packet(offer);

ALTER TABLE ONLY public.detail
    ADD CONSTRAINT detail_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.disclosure
    ADD CONSTRAINT disclosure_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.disclosure
    ADD CONSTRAINT disclosure_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.draft
    ADD CONSTRAINT draft_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.erasure
    ADD CONSTRAINT erasure_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.exclusion
    ADD CONSTRAINT exclusion_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.fence
    ADD CONSTRAINT fence_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.handoff_member
    ADD CONSTRAINT handoff_member_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.handoff_member
    ADD CONSTRAINT handoff_member_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.identification_step
    ADD CONSTRAINT identification_step_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.left_out
    ADD CONSTRAINT left_out_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.legal_hold
    ADD CONSTRAINT legal_hold_entry_fkey FOREIGN KEY (entry) REFERENCES public.entry(id);

ALTER TABLE ONLY public.looked
    ADD CONSTRAINT looked_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.packet
    ADD CONSTRAINT packet_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.packet_session
    ADD CONSTRAINT packet_session_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.restored
    ADD CONSTRAINT restored_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE ONLY public.screening_finding
    ADD CONSTRAINT screening_finding_screening_fkey FOREIGN KEY (screening) REFERENCES public.screening(id);

ALTER TABLE ONLY public.yes
    ADD CONSTRAINT yes_handoff_fkey FOREIGN KEY (handoff) REFERENCES public.handoff(id);

ALTER TABLE public.agreement ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.ask_again ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.asked ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.audited ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.basis ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.basis_limit ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.basis_step ENABLE ROW LEVEL SECURITY;

ALTER TABLE public."case" ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.consent ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.copy_answer ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.corridor ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.crowd ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.crowd_limit ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.detail ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.disclosure ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.draft ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.entry ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.erasure ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.exclusion ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.fence ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.handoff ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.handoff_member ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.idempotency ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.identification_step ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.left_out ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.legal_hold ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.looked ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.need_to_know ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON public.ask_again TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.asked TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = asked.handoff)))) WITH CHECK ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = asked.handoff))));

CREATE POLICY own ON public.audited TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.basis TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.basis_step TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public."case" TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.consent TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.copy_answer FOR SELECT TO spean_api USING ((org = public.current_org()));

CREATE POLICY own ON public.detail TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.disclosure TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.draft TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.entry TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.erasure TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.exclusion TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.fence TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.entry e
  WHERE (e.id = fence.entry)))) WITH CHECK ((EXISTS ( SELECT 1
   FROM public.entry e
  WHERE (e.id = fence.entry))));

CREATE POLICY own ON public.handoff TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.handoff_member TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = handoff_member.handoff)))) WITH CHECK ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = handoff_member.handoff))));

CREATE POLICY own ON public.idempotency TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.identification_step TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.left_out TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = left_out.handoff))));

CREATE POLICY own ON public.legal_hold TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.looked TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.packet TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = packet.handoff)))) WITH CHECK ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = packet.handoff))));

CREATE POLICY own ON public.screening TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.screening_finding TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.usual TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.yes FOR SELECT TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.handoff h
  WHERE (h.id = yes.handoff))));

ALTER TABLE public.packet ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.packet_session ENABLE ROW LEVEL SECURITY;

CREATE POLICY readable ON public.agreement FOR SELECT TO spean_api USING (((sender = public.current_org()) OR (recipient = public.current_org())));

CREATE POLICY readable ON public.basis_limit FOR SELECT TO spean_api USING ((public.current_org() IS NOT NULL));

CREATE POLICY readable ON public.corridor FOR SELECT TO spean_api USING ((public.current_org() IS NOT NULL));

CREATE POLICY readable ON public.crowd FOR SELECT TO spean_api USING ((public.current_org() IS NOT NULL));

CREATE POLICY readable ON public.crowd_limit FOR SELECT TO spean_api USING ((public.current_org() IS NOT NULL));

CREATE POLICY readable ON public.need_to_know FOR SELECT TO spean_api USING ((public.current_org() IS NOT NULL));

ALTER TABLE public.restored ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.retention ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.screening ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.screening_finding ENABLE ROW LEVEL SECURITY;

CREATE POLICY service ON public.agreement TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.ask_again TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.asked TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.audited TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.basis TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.basis_limit TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.basis_step TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public."case" TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.consent TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.copy_answer TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.corridor TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.crowd TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.crowd_limit TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.detail TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.disclosure TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.draft TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.entry TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.erasure TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.exclusion TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.fence TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.handoff TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.handoff_member TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.idempotency TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.identification_step TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.left_out TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.legal_hold TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.looked TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.need_to_know TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.packet TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.packet_session TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.restored TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.retention TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.screening TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.screening_finding TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.suspended TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.system TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.used_assertion TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.used_ticket TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.usual TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.vouched TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.yes TO spean_worker USING (true) WITH CHECK (true);

ALTER TABLE public.suspended ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.system ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.used_assertion ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.used_ticket ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.usual ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.vouched ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.yes ENABLE ROW LEVEL SECURITY;

GRANT CREATE ON SCHEMA public TO intake_owner;

REVOKE ALL ON FUNCTION public.current_org() FROM PUBLIC;
GRANT ALL ON FUNCTION public.current_org() TO spean_api;
GRANT ALL ON FUNCTION public.current_org() TO spean_worker;

REVOKE ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) TO spean_api;
GRANT ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) TO spean_worker;

REVOKE ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) TO spean_api;
GRANT ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) TO spean_worker;

REVOKE ALL ON FUNCTION public.keep_waits_for() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.keep_yes() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) TO spean_api;
GRANT ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.aggregate TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.agreement TO spean_worker;
GRANT SELECT ON TABLE public.agreement TO spean_api;

GRANT SELECT,INSERT ON TABLE public.answered TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.ask_again TO spean_api;
GRANT SELECT,INSERT,DELETE ON TABLE public.ask_again TO spean_worker;

GRANT UPDATE(since) ON TABLE public.ask_again TO spean_api;
GRANT UPDATE(since) ON TABLE public.ask_again TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.asked TO spean_worker;
GRANT SELECT ON TABLE public.asked TO spean_api;

GRANT SELECT,INSERT ON TABLE public.audited TO spean_api;
GRANT SELECT,INSERT ON TABLE public.audited TO spean_worker;

GRANT USAGE ON SEQUENCE public.audited_number_seq TO spean_api;
GRANT USAGE ON SEQUENCE public.audited_number_seq TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.basis TO spean_api;
GRANT SELECT,INSERT,UPDATE ON TABLE public.basis TO spean_worker;

GRANT UPDATE(state) ON TABLE public.basis TO spean_api;

GRANT UPDATE(decided_at) ON TABLE public.basis TO spean_api;

GRANT UPDATE(began_at) ON TABLE public.basis TO spean_api;

GRANT UPDATE(told_at) ON TABLE public.basis TO spean_api;

GRANT UPDATE(over_at) ON TABLE public.basis TO spean_api;

GRANT SELECT ON TABLE public.basis_limit TO spean_api;
GRANT SELECT,INSERT ON TABLE public.basis_limit TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.basis_step TO spean_api;
GRANT SELECT,INSERT ON TABLE public.basis_step TO spean_worker;

GRANT UPDATE(sealed) ON TABLE public.basis_step TO spean_worker;

GRANT USAGE ON SEQUENCE public.basis_step_number_seq TO spean_api;
GRANT USAGE ON SEQUENCE public.basis_step_number_seq TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public."case" TO spean_worker;
GRANT SELECT,INSERT ON TABLE public."case" TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.consent TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.consent TO spean_api;

GRANT SELECT,INSERT ON TABLE public.copy_answer TO spean_worker;
GRANT SELECT ON TABLE public.copy_answer TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.corridor TO spean_worker;
GRANT SELECT ON TABLE public.corridor TO spean_api;

GRANT SELECT ON TABLE public.crowd TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.crowd TO spean_worker;

GRANT SELECT ON TABLE public.crowd_limit TO spean_api;
GRANT SELECT,INSERT ON TABLE public.crowd_limit TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.detail TO spean_worker;
GRANT SELECT ON TABLE public.detail TO spean_api;

GRANT USAGE ON SEQUENCE public.detail_number_seq TO spean_api;
GRANT USAGE ON SEQUENCE public.detail_number_seq TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.discarded TO spean_worker;

GRANT USAGE ON SEQUENCE public.discarded_number_seq TO spean_worker;
GRANT USAGE ON SEQUENCE public.discarded_number_seq TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.disclosure TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.disclosure TO spean_api;

GRANT UPDATE(times) ON TABLE public.disclosure TO spean_api;

GRANT UPDATE(last_at) ON TABLE public.disclosure TO spean_api;

GRANT USAGE ON SEQUENCE public.disclosure_number_seq TO spean_api;
GRANT USAGE ON SEQUENCE public.disclosure_number_seq TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.draft TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.draft TO spean_worker;

GRANT UPDATE(sealed) ON TABLE public.draft TO spean_api;

GRANT UPDATE(saved_at) ON TABLE public.draft TO spean_api;

GRANT UPDATE(version) ON TABLE public.draft TO spean_api;

GRANT UPDATE(over) ON TABLE public.draft TO spean_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.due TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.entry TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.entry TO spean_api;

GRANT UPDATE(sealed) ON TABLE public.entry TO spean_api;

GRANT UPDATE(key_version) ON TABLE public.entry TO spean_api;

GRANT UPDATE(version) ON TABLE public.entry TO spean_api;

GRANT UPDATE(age_at) ON TABLE public.entry TO spean_api;

GRANT SELECT,INSERT ON TABLE public.erasure TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.erasure TO spean_api;

GRANT UPDATE(done_at) ON TABLE public.erasure TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.exclusion TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.exclusion TO spean_api;

GRANT USAGE ON SEQUENCE public.exclusion_number_seq TO spean_api;
GRANT USAGE ON SEQUENCE public.exclusion_number_seq TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.fence TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.fence TO spean_api;

GRANT UPDATE(generation) ON TABLE public.fence TO spean_api;

GRANT UPDATE(sharing_shut) ON TABLE public.fence TO spean_api;

GRANT UPDATE(service_shut) ON TABLE public.fence TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.handoff TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.handoff TO spean_api;

GRANT UPDATE(state) ON TABLE public.handoff TO spean_api;

GRANT UPDATE(offer) ON TABLE public.handoff TO spean_api;

GRANT UPDATE(changed_at) ON TABLE public.handoff TO spean_api;

GRANT UPDATE(version) ON TABLE public.handoff TO spean_api;

GRANT UPDATE(ending) ON TABLE public.handoff TO spean_api;

GRANT UPDATE(waits_for) ON TABLE public.handoff TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.handoff_member TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.handoff_member TO spean_api;

GRANT SELECT,INSERT ON TABLE public.idempotency TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.idempotency TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.identification_step TO spean_api;
GRANT SELECT,DELETE ON TABLE public.identification_step TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.last TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.left_out TO spean_worker;
GRANT SELECT ON TABLE public.left_out TO spean_api;

GRANT UPDATE(steps) ON TABLE public.left_out TO spean_api;

GRANT SELECT,INSERT ON TABLE public.legal_hold TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.legal_hold TO spean_api;

GRANT UPDATE(lifted_by) ON TABLE public.legal_hold TO spean_api;

GRANT UPDATE(lifted_at) ON TABLE public.legal_hold TO spean_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.life TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.looked TO spean_worker;
GRANT SELECT,INSERT ON TABLE public.looked TO spean_api;

GRANT UPDATE(seen) ON TABLE public.looked TO spean_api;

GRANT UPDATE(at) ON TABLE public.looked TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.marked TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.need_to_know TO spean_worker;
GRANT SELECT ON TABLE public.need_to_know TO spean_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO spean_worker;

GRANT USAGE ON SEQUENCE public.outbox_number_seq TO spean_worker;
GRANT USAGE ON SEQUENCE public.outbox_number_seq TO spean_api;

GRANT SELECT,INSERT,UPDATE ON TABLE public.packet TO spean_worker;
GRANT SELECT ON TABLE public.packet TO spean_api;

GRANT UPDATE(ended_at) ON TABLE public.packet TO spean_api;

GRANT UPDATE(erasure) ON TABLE public.packet TO spean_api;

GRANT UPDATE(erasure_by) ON TABLE public.packet TO spean_api;

GRANT UPDATE(version) ON TABLE public.packet TO spean_api;

GRANT UPDATE(erasure_asked_at) ON TABLE public.packet TO spean_api;

GRANT SELECT,INSERT,DELETE ON TABLE public.packet_session TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.parked TO spean_worker;

GRANT USAGE ON SEQUENCE public.parked_number_seq TO spean_worker;
GRANT USAGE ON SEQUENCE public.parked_number_seq TO spean_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public."position" TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.restored TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.retention TO spean_worker;

GRANT UPDATE(cancelled_at) ON TABLE public.retention TO spean_worker;

GRANT UPDATE(cancelled_by) ON TABLE public.retention TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.said TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.screening TO spean_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE public.screening TO spean_api;

GRANT SELECT,INSERT ON TABLE public.screening_finding TO spean_api;
GRANT SELECT,INSERT ON TABLE public.screening_finding TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.suspended TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.system TO spean_worker;

GRANT SELECT,INSERT,DELETE ON TABLE public.used_assertion TO spean_worker;

GRANT SELECT,INSERT,DELETE ON TABLE public.used_ticket TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.usual TO spean_api;
GRANT SELECT,INSERT ON TABLE public.usual TO spean_worker;

GRANT UPDATE(channel) ON TABLE public.usual TO spean_api;

GRANT UPDATE(area) ON TABLE public.usual TO spean_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.vouched TO spean_worker;

GRANT SELECT,INSERT,DELETE ON TABLE public.yes TO spean_worker;
GRANT SELECT ON TABLE public.yes TO spean_api;
