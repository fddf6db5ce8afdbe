-- The whole schema of notify, as its migrations make it. Generated: `spean schemas write`.

CREATE FUNCTION public.current_org() RETURNS uuid
    LANGUAGE sql STABLE
    AS $$ select nullif(current_setting('app.org', true), '')::uuid $$;

CREATE FUNCTION public.drop_waits_for() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    new.waits_for := null;
    return new;
end $$;

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

CREATE FUNCTION public.keep_copy() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
begin
    insert into copy_view (referral, offer, state, answer_by) values (new.referral, new.offer, new.state, new.answer_by)
    on conflict (referral, offer) do update set state = excluded.state, answer_by = excluded.answer_by;
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

CREATE TABLE public.address (
    organisation uuid NOT NULL,
    email text NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT address_email_check CHECK (((length(email) >= 3) AND (length(email) <= 254)))
);

ALTER TABLE ONLY public.address FORCE ROW LEVEL SECURITY;

CREATE TABLE public.aggregate (
    id uuid NOT NULL,
    sequence bigint NOT NULL,
    CONSTRAINT aggregate_sequence_check CHECK ((sequence > 0))
)
WITH (fillfactor='80', autovacuum_vacuum_scale_factor='0.02', autovacuum_vacuum_threshold='1000');

CREATE TABLE public.answered (
    event uuid NOT NULL
);

CREATE TABLE public.capacity_view (
    place uuid NOT NULL,
    network uuid NOT NULL,
    coordinator uuid NOT NULL,
    organisation uuid NOT NULL,
    service_group text NOT NULL,
    area text NOT NULL,
    usable integer NOT NULL,
    free integer NOT NULL
);

ALTER TABLE ONLY public.capacity_view FORCE ROW LEVEL SECURITY;

CREATE TABLE public.copy_view (
    referral uuid NOT NULL,
    offer uuid NOT NULL,
    state text NOT NULL,
    answer_by timestamp with time zone
);

ALTER TABLE ONLY public.copy_view FORCE ROW LEVEL SECURITY;

CREATE TABLE public.delivery (
    id uuid NOT NULL,
    event uuid NOT NULL,
    organisation uuid NOT NULL,
    until timestamp with time zone NOT NULL,
    state text NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    coordinator uuid,
    interrupted integer DEFAULT 0 NOT NULL,
    CONSTRAINT delivery_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'sending'::text, 'sent'::text, 'parked'::text, 'lapsed'::text])))
);

ALTER TABLE ONLY public.delivery FORCE ROW LEVEL SECURITY;

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

CREATE TABLE public.early (
    referral uuid NOT NULL,
    holder text NOT NULL,
    epoch integer NOT NULL,
    sequence bigint NOT NULL,
    headers text NOT NULL,
    value bytea NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.early FORCE ROW LEVEL SECURITY;

CREATE TABLE public.erasure_view (
    offer uuid NOT NULL,
    referral uuid NOT NULL,
    state text NOT NULL,
    answer_by timestamp with time zone
);

ALTER TABLE ONLY public.erasure_view FORCE ROW LEVEL SECURITY;

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

CREATE TABLE public.marked (
    topic text NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL
);

CREATE TABLE public.organisation (
    id uuid NOT NULL
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

CREATE TABLE public.referral_view (
    id uuid NOT NULL,
    network uuid NOT NULL,
    coordinator uuid NOT NULL,
    service_group text NOT NULL,
    urgency text NOT NULL,
    area text NOT NULL,
    places integer NOT NULL,
    requested_at timestamp with time zone NOT NULL,
    deadline timestamp with time zone NOT NULL,
    state text NOT NULL,
    asked integer DEFAULT 0 NOT NULL,
    escalated text,
    verified boolean,
    answered_at timestamp with time zone,
    arrived_at timestamp with time zone,
    ended_at timestamp with time zone,
    escalated_at timestamp with time zone,
    ready_at timestamp with time zone,
    holder text,
    waits_for text,
    CONSTRAINT referral_view_waits_for_check CHECK ((waits_for = ANY (ARRAY['sender'::text, 'coordinator'::text])))
);

ALTER TABLE ONLY public.referral_view FORCE ROW LEVEL SECURITY;

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

CREATE TABLE public.suspended (
    organisation uuid NOT NULL,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.suspended FORCE ROW LEVEL SECURITY;

CREATE TABLE public.tail (
    number bigint NOT NULL,
    event uuid NOT NULL,
    coordinator uuid,
    type text NOT NULL,
    area text,
    at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.tail FORCE ROW LEVEL SECURITY;

CREATE TABLE public.tail_head (
    single boolean DEFAULT true NOT NULL,
    next bigint DEFAULT 1 NOT NULL,
    CONSTRAINT tail_head_single_check CHECK (single)
);

ALTER TABLE ONLY public.tail_head FORCE ROW LEVEL SECURITY;

ALTER TABLE ONLY public.address
    ADD CONSTRAINT address_pkey PRIMARY KEY (organisation);

ALTER TABLE ONLY public.aggregate
    ADD CONSTRAINT aggregate_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.answered
    ADD CONSTRAINT answered_pkey PRIMARY KEY (event);

ALTER TABLE ONLY public.capacity_view
    ADD CONSTRAINT capacity_view_pkey PRIMARY KEY (place);

ALTER TABLE ONLY public.copy_view
    ADD CONSTRAINT copy_view_pkey PRIMARY KEY (referral, offer);

ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_event_organisation_key UNIQUE (event, organisation);

ALTER TABLE ONLY public.delivery
    ADD CONSTRAINT delivery_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.discarded
    ADD CONSTRAINT discarded_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.due
    ADD CONSTRAINT due_pkey PRIMARY KEY (kind, subject);

ALTER TABLE ONLY public.early
    ADD CONSTRAINT early_pkey PRIMARY KEY (referral, holder, epoch, sequence);

ALTER TABLE ONLY public.erasure_view
    ADD CONSTRAINT erasure_view_pkey PRIMARY KEY (offer);

ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (org, key);

ALTER TABLE ONLY public.last
    ADD CONSTRAINT last_pkey PRIMARY KEY (source, aggregate);

ALTER TABLE ONLY public.life
    ADD CONSTRAINT life_pkey PRIMARY KEY (single);

ALTER TABLE ONLY public.marked
    ADD CONSTRAINT marked_pkey PRIMARY KEY (topic, partition);

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

ALTER TABLE ONLY public."position"
    ADD CONSTRAINT position_pkey PRIMARY KEY (topic, partition);

ALTER TABLE ONLY public.referral_view
    ADD CONSTRAINT referral_view_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_aggregateid_epoch_sequence_key UNIQUE (aggregateid, epoch, sequence);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_id_key UNIQUE (id);

ALTER TABLE ONLY public.said
    ADD CONSTRAINT said_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.suspended
    ADD CONSTRAINT suspended_pkey PRIMARY KEY (organisation);

ALTER TABLE ONLY public.tail
    ADD CONSTRAINT tail_event_key UNIQUE (event);

ALTER TABLE ONLY public.tail_head
    ADD CONSTRAINT tail_head_pkey PRIMARY KEY (single);

ALTER TABLE ONLY public.tail
    ADD CONSTRAINT tail_pkey PRIMARY KEY (number);

CREATE INDEX capacity_view_coordinator_idx ON public.capacity_view USING btree (coordinator);

CREATE INDEX delivery_coordinator_state_idx ON public.delivery USING btree (coordinator, state);

CREATE INDEX delivery_state_created_at_idx ON public.delivery USING btree (state, created_at);

CREATE INDEX due_at_idx ON public.due USING btree (at);

CREATE INDEX early_at_idx ON public.early USING btree (at);

CREATE INDEX idempotency_at_idx ON public.idempotency USING btree (at);

CREATE UNIQUE INDEX parked_source_aggregate_epoch_sequence_offset_idx ON public.parked USING btree (source, aggregate, epoch, sequence, "offset");

CREATE INDEX parked_source_aggregate_number_idx ON public.parked USING btree (source, aggregate, number);

CREATE INDEX referral_view_coordinator_requested_at_idx ON public.referral_view USING btree (coordinator, requested_at);

CREATE INDEX referral_view_coordinator_state_idx ON public.referral_view USING btree (coordinator, state);

CREATE INDEX referral_view_network_idx ON public.referral_view USING btree (network);

CREATE INDEX said_aggregatetype_partition_offset_idx ON public.said USING btree (aggregatetype, partition, "offset");

CREATE INDEX tail_at_idx ON public.tail USING btree (at);

CREATE INDEX tail_coordinator_number_idx ON public.tail USING btree (coordinator, number);

CREATE TRIGGER drops_waits_for BEFORE UPDATE OF state ON public.referral_view FOR EACH ROW WHEN ((new.state <> 'on-hold'::text)) EXECUTE FUNCTION public.drop_waits_for();

CREATE TRIGGER keeps_copy AFTER INSERT OR UPDATE ON public.erasure_view FOR EACH ROW EXECUTE FUNCTION public.keep_copy();

ALTER TABLE public.address ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.capacity_view ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.copy_view ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.delivery ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.early ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.erasure_view ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.idempotency ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.organisation ENABLE ROW LEVEL SECURITY;

CREATE POLICY own ON public.address TO spean_api USING ((organisation = public.current_org())) WITH CHECK ((organisation = public.current_org()));

CREATE POLICY own ON public.capacity_view FOR SELECT TO spean_api USING ((coordinator = public.current_org()));

CREATE POLICY own ON public.copy_view FOR SELECT TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.referral_view r
  WHERE (r.id = copy_view.referral))));

CREATE POLICY own ON public.delivery FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.erasure_view FOR SELECT TO spean_api USING ((EXISTS ( SELECT 1
   FROM public.referral_view r
  WHERE (r.id = erasure_view.referral))));

CREATE POLICY own ON public.idempotency TO spean_api USING ((org = public.current_org())) WITH CHECK ((org = public.current_org()));

CREATE POLICY own ON public.referral_view FOR SELECT TO spean_api USING ((coordinator = public.current_org()));

CREATE POLICY own ON public.suspended FOR SELECT TO spean_api USING ((organisation = public.current_org()));

CREATE POLICY own ON public.tail FOR SELECT TO spean_api USING ((coordinator = public.current_org()));

CREATE POLICY readable ON public.tail_head FOR SELECT TO spean_api USING ((public.current_org() IS NOT NULL));

ALTER TABLE public.referral_view ENABLE ROW LEVEL SECURITY;

CREATE POLICY service ON public.address TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.capacity_view TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.copy_view TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.delivery TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.early TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.erasure_view TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.idempotency TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.organisation TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.referral_view TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.suspended TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.tail TO spean_worker USING (true) WITH CHECK (true);

CREATE POLICY service ON public.tail_head TO spean_worker USING (true) WITH CHECK (true);

ALTER TABLE public.suspended ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tail ENABLE ROW LEVEL SECURITY;

ALTER TABLE public.tail_head ENABLE ROW LEVEL SECURITY;

CREATE POLICY watched ON public.delivery FOR SELECT TO spean_api USING ((coordinator = public.current_org()));

GRANT CREATE ON SCHEMA public TO notify_owner;

REVOKE ALL ON FUNCTION public.current_org() FROM PUBLIC;
GRANT ALL ON FUNCTION public.current_org() TO spean_api;
GRANT ALL ON FUNCTION public.current_org() TO spean_worker;

REVOKE ALL ON FUNCTION public.drop_waits_for() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) TO spean_api;
GRANT ALL ON FUNCTION public.due_clear(p_kind text, p_subject uuid) TO spean_worker;

REVOKE ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) TO spean_api;
GRANT ALL ON FUNCTION public.due_set(p_kind text, p_subject uuid, p_at timestamp with time zone, p_traceparent text) TO spean_worker;

REVOKE ALL ON FUNCTION public.keep_copy() FROM PUBLIC;

REVOKE ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) FROM PUBLIC;
GRANT ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) TO spean_api;
GRANT ALL ON FUNCTION public.say(p_id uuid, p_topic text, p_aggregate uuid, p_type text, p_payload text, p_time timestamp with time zone, p_correlation uuid, p_causation uuid, p_traceparent text) TO spean_worker;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.address TO spean_worker;
GRANT SELECT,INSERT,UPDATE ON TABLE public.address TO spean_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.aggregate TO spean_worker;

GRANT SELECT,INSERT ON TABLE public.answered TO spean_worker;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.capacity_view TO spean_worker;
GRANT SELECT ON TABLE public.capacity_view TO spean_api;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.copy_view TO spean_worker;
GRANT SELECT ON TABLE public.copy_view TO spean_api;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.delivery TO spean_worker;
GRANT SELECT ON TABLE public.delivery TO spean_api;

GRANT SELECT,INSERT ON TABLE public.discarded TO spean_worker;

GRANT USAGE ON SEQUENCE public.discarded_number_seq TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.due TO spean_worker;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.early TO spean_worker;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.erasure_view TO spean_worker;
GRANT SELECT ON TABLE public.erasure_view TO spean_api;

GRANT SELECT,INSERT ON TABLE public.idempotency TO spean_api;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.idempotency TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.last TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.life TO spean_worker;

GRANT SELECT,INSERT,UPDATE ON TABLE public.marked TO spean_worker;

GRANT SELECT,INSERT,DELETE,TRUNCATE ON TABLE public.organisation TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.outbox TO spean_worker;

GRANT USAGE ON SEQUENCE public.outbox_number_seq TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.parked TO spean_worker;

GRANT USAGE ON SEQUENCE public.parked_number_seq TO spean_worker;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public."position" TO spean_worker;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.referral_view TO spean_worker;
GRANT SELECT ON TABLE public.referral_view TO spean_api;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE public.said TO spean_worker;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.suspended TO spean_worker;
GRANT SELECT ON TABLE public.suspended TO spean_api;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.tail TO spean_worker;
GRANT SELECT ON TABLE public.tail TO spean_api;

GRANT SELECT,INSERT,DELETE,TRUNCATE,UPDATE ON TABLE public.tail_head TO spean_worker;
GRANT SELECT ON TABLE public.tail_head TO spean_api;
