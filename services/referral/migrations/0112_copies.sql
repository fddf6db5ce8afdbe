-- Copies that a holder has asked an organisation to erase, as its inbox and the coordinator see them: until it has answered.
-- What it answers is between it and the holder.
create table held_copy (
    offer uuid primary key references offer,
    referral uuid not null references referral,
    organisation uuid not null,
    asked_at timestamptz not null,
    answer_by timestamptz not null,
    answered_at timestamptz
);
create index on held_copy (referral);
create index on held_copy (organisation, answer_by) where answered_at is null;
alter table held_copy enable row level security;
alter table held_copy force row level security;
create policy service on held_copy to spean_worker using (true) with check (true);
create policy own on held_copy for select to spean_api using (organisation = current_org());
grant select, insert, update on held_copy to spean_worker;
grant select on held_copy to spean_api;

-- Who ended a stay of whose house nothing was heard.
alter table referral add column closed_by text;
