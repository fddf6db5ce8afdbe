-- What is due at once belongs to the trace of what caused it. Older code goes on calling due_set with three arguments.
alter table due add column traceparent text;
drop function due_set(text, uuid, timestamptz);
create function due_set(p_kind text, p_subject uuid, p_at timestamptz, p_traceparent text default null)
returns void language sql security definer set search_path = public, pg_temp as $$
    insert into due (kind, subject, at, traceparent) values (p_kind, p_subject, p_at, p_traceparent)
    on conflict (kind, subject) do update set at = excluded.at, claimed_until = '-infinity', tries = 0,
        traceparent = excluded.traceparent
$$;
revoke execute on function due_set(text, uuid, timestamptz, text) from public;
grant execute on function due_set(text, uuid, timestamptz, text) to spean_api, spean_worker;
