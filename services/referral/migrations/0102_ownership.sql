-- Since when an organisation is suspended; who made sure of an arrival without the hand-over code, and the reason for
-- which a coordinator is told of one that nobody has made sure of.
alter table organisation add column suspended_at timestamptz;
update organisation set suspended_at = now() where status = 'suspended';
-- Not the other way round: code from before this migration suspends without it.
alter table organisation add constraint suspended_since check (suspended_at is null or status = 'suspended');

alter table referral add column arrival_checked_by text;
alter table referral add constraint checked_where_verified check (arrival_checked_by is null or arrival_verified);
alter table referral drop constraint referral_escalated_check;
alter table referral add constraint referral_escalated_check
    check (escalated in ('no-candidate', 'deadline-passed', 'not-ready', 'not-arrived', 'sharing-stopped',
                         'organisation-suspended', 'no-outcome', 'arrival-unverified'));
