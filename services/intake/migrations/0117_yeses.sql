-- For which offer the gate has said yes to whom, as long as that offer may be open at the network: a stop names those that
-- it is about. `offer` is empty where the network asked without saying for which.
create table yes (
    number bigint generated always as identity primary key,
    handoff uuid not null references handoff,
    organisation uuid not null,
    offer uuid,
    unique (handoff, organisation, offer)
);
create index on yes (offer);
alter table yes enable row level security;
alter table yes force row level security;
create policy service on yes to spean_worker using (true) with check (true);
grant select, insert, delete on yes to spean_worker;
create policy own on yes for select to spean_api using (exists (select 1 from handoff h where h.id = yes.handoff));
grant select on yes to spean_api;

-- Who was asked last, of what has not ended.
insert into yes (handoff, organisation)
    select distinct on (a.handoff) a.handoff, a.organisation from asked a join handoff h on h.id = a.handoff
    where h.state not in ('completed', 'cancelled') order by a.handoff, a.at desc;

-- Instances from before this table keep only who was asked, while an upgrade rolls on.
create function keep_yes() returns trigger language plpgsql as $$
begin
    if not exists (select from yes where handoff = new.handoff and organisation = new.organisation) then
        insert into yes (handoff, organisation) values (new.handoff, new.organisation);
    end if;
    return new;
end $$;
revoke execute on function keep_yes() from public;
create trigger keeps_yes after insert or update on asked for each row execute function keep_yes();
