-- What belongs to a party as one (its hand-over code, whereabouts, kept details) is sealed under a key of the party's own,
-- which is kept once for each member, sealed under theirs: it can be read as long as one of them can, and no longer.
alter table handoff_member add column sealed_key bytea;
