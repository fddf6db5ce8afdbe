-- Whose referral it is: no other holder is believed about it. Empty where the network did not say so yet.
alter table referral_view add column holder text;

-- What a holder said about a referral before the network was heard about it: between topics there is no order. It takes
-- effect once it is known that the referral is that holder's.
create table early (
    referral uuid not null,
    holder text not null,
    epoch integer not null,
    sequence bigint not null,
    headers text not null,
    value bytea not null,
    at timestamptz not null,
    primary key (referral, holder, epoch, sequence)
);
create index on early (at);

-- Copies that are to be erased, in place of erasure_view: by referral as well, or a holder could say what became of
-- another's, whose offer it names.
create table copy_view (
    referral uuid not null,
    offer uuid not null,
    state text not null,
    answer_by timestamptz,
    primary key (referral, offer)
);
insert into copy_view (referral, offer, state, answer_by) select referral, offer, state, answer_by from erasure_view;

do $$ declare t text; begin
    foreach t in array array['early', 'copy_view']
    loop
        execute format('alter table %I enable row level security', t);
        execute format('alter table %I force row level security', t);
        execute format('create policy service on %I to spean_worker using (true) with check (true)', t);
        execute format('grant select, insert, update, delete, truncate on %I to spean_worker', t);
    end loop;
end $$;
create policy own on copy_view for select to spean_api
    using (exists (select 1 from referral_view r where r.id = copy_view.referral));
grant select on copy_view to spean_api;

-- Instances from before this table write into the old one while an upgrade rolls on. Nobody reads it any more.
create function keep_copy() returns trigger language plpgsql as $$
begin
    insert into copy_view (referral, offer, state, answer_by) values (new.referral, new.offer, new.state, new.answer_by)
    on conflict (referral, offer) do update set state = excluded.state, answer_by = excluded.answer_by;
    return new;
end $$;
revoke execute on function keep_copy() from public;
create trigger keeps_copy after insert or update on erasure_view for each row execute function keep_copy();
