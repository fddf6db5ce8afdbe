-- `ending`: the sender, or the person by ending the service, has ended it, and a house has the person all the same.
-- `arrival_verified`: whether it is certain that who arrived is who was awaited, as the network last said.
alter table handoff add column ending boolean not null default false;
alter table handoff add column arrival_verified boolean;
alter table handoff add constraint ends_with_the_person_there check (not ending or state in ('in-progress', 'completed'));
grant update (ending) on handoff to spean_api;
