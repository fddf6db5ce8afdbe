-- A coordinator sees since when something waits for a person, and how far the referrals of a day have come.
alter table referral_view add column escalated_at timestamptz;
alter table referral_view add column ready_at timestamptz;
create index on referral_view (coordinator, requested_at);
