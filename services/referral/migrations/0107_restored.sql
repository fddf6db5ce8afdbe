-- A coordinator is told of what the network had to take over from the log, for its database was restored from a backup.
alter table referral drop constraint referral_escalated_check;
alter table referral add constraint referral_escalated_check
    check (escalated in ('no-candidate', 'deadline-passed', 'not-ready', 'not-arrived', 'sharing-stopped',
                         'organisation-suspended', 'no-outcome', 'arrival-unverified', 'restored'));
