-- Whose turn it is with a hand-off that is on hold, as the network says it (`referral.held.v2`).
-- Version 1 did not say so: a hand-off that still stood at an offer waited for a coordinator.
alter table handoff add column waits_for text check (waits_for in ('sender', 'coordinator'));
grant update (waits_for) on handoff to spean_api;

-- Instances from before this column know nothing of it while an upgrade rolls on: what they leave out is put in here.
create function keep_waits_for() returns trigger language plpgsql as $$
begin
    new.waits_for := case when new.state = 'on-hold' then
        coalesce(new.waits_for, case when new.offer is null then 'sender' else 'coordinator' end) end;
    return new;
end $$;
revoke execute on function keep_waits_for() from public;
create trigger keeps_waits_for before insert or update of state, waits_for on handoff
    for each row execute function keep_waits_for();

update handoff set waits_for = null where state = 'on-hold';

alter table handoff add constraint on_hold_for_somebody check ((state = 'on-hold') = (waits_for is not null));
