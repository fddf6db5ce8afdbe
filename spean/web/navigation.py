"""Which pages somebody sees in the head of every page, and what is said after something was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.rights import StaffRole
from spean.web.visitor import Visitor
from spean.web.words import N_


@dataclass(frozen=True, slots=True)
class Item:
    """`text` is translated where it is shown."""

    path: str
    text: str


# Who is to have access to what is the organisation's.
ACCESS = Item("/referral/pages/approvals", N_("Access"))
# In the order of the work; the first is where somebody with that role begins.
ITEMS: Mapping[StaffRole, Sequence[Item]] = {
    StaffRole.SENDER: (
        Item("/intake/pages/handoffs", N_("My hand-offs")),
        Item("/intake/pages/entries/new", N_("Somebody was met")),
        Item("/intake/pages/screenings", N_("Screening")),
        Item("/intake/pages/waiting", N_("Waits for us")),
        ACCESS,
    ),
    StaffRole.RECEIVER: (
        Item("/referral/pages/inbox", N_("Inbox")),
        Item("/referral/pages/arrivals", N_("Arrivals and stays")),
        Item("/referral/pages/places", N_("Places")),
        Item("/referral/pages/shift", N_("Shift")),
        ACCESS,
    ),
    StaffRole.COORDINATOR: (
        Item("/notify/pages/dashboard", N_("Network now")),
        Item("/referral/pages/escalations", N_("Needs a person")),
    ),
    StaffRole.ADMINISTRATOR: (
        Item("/referral/pages/admin", N_("Administration")),
        Item("/referral/pages/people", N_("People")),
        Item("/intake/pages/rules", N_("Rules")),
        ACCESS,
    ),
    StaffRole.OFFICER: (
        Item("/intake/pages/rules", N_("Rules")),
        Item("/intake/pages/holds", N_("Legal holds")),
        Item("/intake/pages/audit", N_("Who knew what")),
        ACCESS,
    ),
}
# All that is left to somebody of an organisation that is shut out.
STOP = Item("/intake/pages/stop", N_("Stop for somebody"))
ACCOUNT = Item("/referral/pages/account", N_("My account"))
LEAVE = "/referral/pages/leave"

# What a page says at its top after something was done (`?done=…`): only these, never a text from an address.
DONE: Mapping[str, str] = {
    "saved": N_("Saved."),
    "accepted": N_("Accepted. The places are held for this person."),
    "declined": N_("Declined. The next organisation is being asked."),
    "verified": N_("The code was right. It is the person who was expected."),
    "taken-over": N_("The shift is yours."),
    "arrived": N_("Arrival recorded."),
    "outcome": N_("Outcome recorded. The places are free again."),
    "requested": N_("Sent to the network. Clocks count from now."),
    "cancelled": N_("Cancelled."),
    "withdrawn": N_("Stopped. Nothing more is shared from this moment."),
    "lifted": N_("Lifted. What the person agrees to counts there, too."),
    "never-told": N_("They are never told anything, from this moment."),
    "taken-back": N_("Taken back. It holds from this moment."),
    "taken": N_("It is yours now. Reminders stop for a while."),
    "asked": N_("Asked."),
    "handed-back": N_("Handed back to the sender."),
    "closed": N_("Ended. The places count as taken until the house counts them anew."),
    "hold-put": N_("The hold stands. Nobody erases this record until it ends."),
    "hold-lifted": N_("Lifted. The record can be erased again."),
    "entered": N_("Entry saved."),
    "corrected": N_("Correction saved."),
    "recorded": N_("The decision is recorded."),
    "step": N_("The step is recorded."),
    "marked": N_("Marked. Another person of your organisation has to look at it in time."),
    "decided": N_("Your decision is recorded."),
    "discarded": N_("Discarded. Nothing of it is left."),
    "answered": N_("Thank you. Your answer about the copy is recorded."),
    "departed": N_("Noted: on the way. The house is told."),
    "asked-again": N_("The network is asked again."),
    "all-seen": N_("Nothing is marked as new any more."),
    "erased": N_("Erased."),
    "finished": N_("The session is finished."),
    "session-ended": N_("Signed out there."),
    "password": N_("The password is changed. Everywhere else you are signed out."),
    "authenticator": N_("The new authenticator app counts from now on. Everywhere else you are signed out."),
    "passkey-added": N_("The passkey is added. Everywhere else you are signed out."),
    "passkey-removed": N_("The passkey is removed. Everywhere else you are signed out."),
    "registered": N_("Registered."),
    "joined": N_("Added to the network."),
    "coordinator": N_("The network has another coordinator from now on."),
    "suspended": N_("Suspended. It is shut out from this moment."),
    "reinstated": N_("Reinstated. It may sign in and be asked again."),
    "places-added": N_("Places added. The house keeps their number from now on."),
    "key-added": N_("Key added. Both keys open from now on."),
    "key-revoked": N_("Key revoked. It opens nothing more."),
    "revoked": N_("Shut out. The system opens nothing more."),
    "rules-added": N_("Rules added. They count from now on."),
    "rule-ended": N_("Ended. Nothing more is told by it from this moment."),
    "limit-added": N_("Written down. It counts from now on."),
    "retention-added": N_("Added. It begins in a day; until then it can be taken back."),
    "retention-cancelled": N_("Taken back. The rule never begins."),
    "asked-another": N_("Asked. It opens nothing before somebody else has agreed."),
    "agreed": N_("Agreed. It counts from now on."),
    "refused-access": N_("Refused. It opens nothing."),
    "approved-first": N_("Approved. Another administrator has to approve as well."),
}


def items_for(visitor: Visitor) -> list[Item]:
    if visitor.only_stops:
        return [STOP] if StaffRole.SENDER in visitor.roles else []
    return list(dict.fromkeys(item for role, items in ITEMS.items() if role in visitor.roles for item in items))


def home_of(visitor: Visitor) -> str:
    """Where somebody begins."""
    return next((item.path for item in items_for(visitor)), ACCOUNT.path)
