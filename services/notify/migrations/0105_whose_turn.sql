-- Whose turn it is with what is on hold. Empty for what was put on hold before this column was, and by instances that do not
-- know it.
alter table referral_view add column waits_for text check (waits_for in ('sender', 'coordinator'));

-- While an upgrade rolls on, they also end what was on hold.
create function drop_waits_for() returns trigger language plpgsql as $$
begin
    new.waits_for := null;
    return new;
end $$;
revoke execute on function drop_waits_for() from public;
create trigger drops_waits_for before update of state on referral_view for each row when (new.state <> 'on-hold')
    execute function drop_waits_for();
