"""Invariants of what it is about: hand-offs, offers, places, views, the gate, and commands that take effect once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import timedelta
from uuid import UUID

from schemas.registry import PREFIX
from schemas.versions import newest
from services.notify.dashboards.handlers import APPLY
from spean.service import Service
from tests.faults.load import Journal
from tests.faults.snapshot import KEYS, Row, Snapshot

Services = Mapping[str, Service]
FINAL = frozenset({"completed", "cancelled"})
# What the holder shows of each state of the network once everything has been taken in.
SHOWN = {"requested": "received"}
# States whose referral has an accepted offer, and in which state its hold is.
HOLDS = {"accepted": "held", "ready": "held", "missing": "held", "in-progress": "staying", "completed": "freed"}
# A due row this late has been forgotten; anything younger may be claimed right now.
LATE = timedelta(seconds=20)
# Event that a command leaves behind, exactly once where it was answered with yes and never where it was refused.
LEAVES = {
    "accept": "offer.accepted", "decline": "offer.declined", "arrive": "referral.arrived",
    "outcome": "referral.completed", "cancel": "handoff.cancelled", "depart": "referral.departed",
}  # fmt: skip


# What an organisation, or a coordinator, is told of.
TOLD = {
    "org.spean.offer.sent.v1", "org.spean.referral.escalated.v1", "org.spean.erasure.requested.v1",
    "org.spean.organisation.asked.v1",
}  # fmt: skip


def _by_id(rows: list[Row], key: str = "id") -> dict[UUID, Row]:
    return {row[key]: row for row in rows}


def handoffs_once(seen: Snapshot, journal: Journal, _: Services) -> Iterator[str]:
    """What was acknowledged exists once at the holder, once in the network, once in the view; nothing else exists, but
    for requests that are in doubt."""
    told = {UUID(one) for one in journal.handoffs}
    at_holder = {row["id"] for row in seen.of("intake", "handoff") if str(row["org"]) in journal.senders}
    for one in told - at_holder:
        yield f"hand-off {one} was acknowledged and is missing"
    if len(at_holder - told) > journal.doubts["handoff"]:
        yield f"hand-offs {at_holder - told} are there, {journal.doubts['handoff']} are in doubt"
    for database, table in (("referral", "referral"), ("notify", "referral_view")):
        there = {row["id"] for row in seen.of(database, table)}
        for one in there ^ {row["id"] for row in seen.of("intake", "handoff")}:
            yield f"hand-off {one} is {'only' if one in there else 'not'} in {database}"
    requested = Counter(row["aggregateid"] for row in seen.of("intake", "said") if "handoff.requested" in row["type"])
    for one, times in requested.items():
        if times != 1:
            yield f"hand-off {one} was requested {times} times"


def states_agree(seen: Snapshot, _: Journal, __: Services) -> Iterator[str]:
    """The holder shows what the network decided, and no acceptance waits for its packet."""
    handoffs = _by_id(seen.of("intake", "handoff"))
    packets = _by_id(seen.of("intake", "packet"), "offer")
    for row in seen.of("referral", "referral"):
        mine = handoffs.get(row["id"])
        if mine is not None and mine["state"] != SHOWN.get(row["state"], row["state"]):
            yield f"referral {row['id']} is {row['state']}, and {mine['state']} at the holder"
        # Ended by the sender's side with the person there: both work on to the outcome, and both know that it is ending.
        if mine is not None and row["state"] == "in-progress" and mine["ending"] != row["ending"]:
            yield f"referral {row['id']} is {'' if row['ending'] else 'not '}ending, and the holder says otherwise"
        if mine is not None and mine["arrival_verified"] != row["arrival_verified"]:
            yield f"the arrival of {row['id']} is verified: {row['arrival_verified']}, at the holder: {mine['arrival_verified']}"
        if row["state"] == "accepted":
            yield f"referral {row['id']} was accepted and never became ready"
        packet = packets.get(row["offer"])
        open_ = packet is not None and packet["ended_at"] is None
        if row["state"] in {"ready", "in-progress", "missing"} and not open_:
            yield f"referral {row['id']} is {row['state']} without a packet"


def views_are_true(seen: Snapshot, _: Journal, __: Services) -> Iterator[str]:
    """Each projection equals what its owner's tables say."""
    views, offers = _by_id(seen.of("notify", "referral_view")), _by_id(seen.of("referral", "offer"))
    asked = Counter(row["referral"] for row in seen.of("referral", "offer"))
    same = ("network", "coordinator", "service_group", "urgency", "area", "places", "requested_at", "deadline", "state",
            "escalated", "arrived_at", "ended_at")  # fmt: skip
    for row in seen.of("referral", "referral"):
        view = views.get(row["id"])
        if view is None:
            continue
        differs = [name for name in same if view[name] != row[name]]
        differs += ["asked"] if view["asked"] != asked[row["id"]] else []
        differs += ["verified"] if view["verified"] != row["arrival_verified"] else []
        if row["state"] in HOLDS and view["answered_at"] != offers[row["offer"]]["answered_at"]:
            differs.append("answered_at")
        if differs:
            yield f"the view of referral {row['id']} differs in {differs}"
    capacity = _by_id(seen.of("notify", "capacity_view"), "place")
    for row in seen.of("referral", "place"):
        view = capacity.get(row["id"])
        free = row["usable"] - row["outside"] - row["held"] - row["staying"]
        if view is None or (view["usable"], view["free"]) != (row["usable"], free):
            yield f"the view of place {row['id']} is not {free} free of {row['usable']}"
    erasures = {row["offer"]: row["state"] for row in seen.of("notify", "copy_view")}
    wanted = {row["offer"]: row["erasure"] for row in seen.of("intake", "packet") if row["erasure"]}
    if erasures != wanted:
        yield f"the view of erasures differs for {dict(erasures.items() ^ wanted.items()).keys()}"


def told_once(seen: Snapshot, _: Journal, services: Services) -> Iterator[str]:
    """Each event is in the tail once, in whichever version it was taken in, and whatever somebody is told of has led to one
    delivery."""
    events = {one.event.id: one.event for one in seen.log if one.topic in services["notify"].reads}
    shorts = Counter(newest(event.type).removeprefix(PREFIX) for event in events.values())
    wanted = Counter({short: count for short, count in shorts.items() if short in APPLY})
    tail = Counter(newest(PREFIX + row["type"]).removeprefix(PREFIX) for row in seen.of("notify", "tail"))
    for short in wanted.keys() | tail.keys():
        if wanted[short] != tail[short]:
            yield f"{short} happened {wanted[short]} times and is in the tail {tail[short]} times"
    numbers = sorted(row["number"] for row in seen.of("notify", "tail"))
    if numbers != list(range(1, len(numbers) + 1)):
        yield "the tail's numbers have holes"
    due = {
        (event.id, getattr(said, "organisation", None) or getattr(said, "coordinator", event.subject))
        for event in events.values()
        if event.type in TOLD and (said := event.data())
    }
    deliveries = Counter((row["event"], row["organisation"]) for row in seen.of("notify", "delivery"))
    for key in due | deliveries.keys():
        if deliveries[key] != (key in due):
            yield f"event {key[0]} has {deliveries[key]} deliveries"


def places_are_counted(seen: Snapshot, _: Journal, __: Services) -> Iterator[str]:
    """A place's counters are its holds; no more is promised than there is."""
    holds: dict[UUID, Counter[str]] = defaultdict(Counter)
    for row in seen.of("referral", "hold"):
        holds[row["place"]][row["state"]] += row["places"]
    for row in seen.of("referral", "place"):
        counted = holds[row["id"]]
        if (row["held"], row["staying"]) != (counted["held"], counted["staying"]):
            yield f"place {row['id']} counts {row['held']} held, {row['staying']} staying; its holds say {dict(counted)}"
        if row["outside"] + counted["held"] + counted["staying"] > row["usable"]:
            yield f"place {row['id']} is booked beyond its {row['usable']}"


def one_offer(seen: Snapshot, _: Journal, __: Services) -> Iterator[str]:
    """One live offer where the state asks for one, none elsewhere; a hold in the state that goes with it."""
    offers: dict[UUID, list[Row]] = defaultdict(list)
    for row in seen.of("referral", "offer"):
        if row["state"] in {"sent", "seen", "accepted"}:
            offers[row["referral"]].append(row)
    holds = _by_id(seen.of("referral", "hold"), "offer")
    offered = _by_id(seen.of("referral", "offer"))
    for row in seen.of("referral", "referral"):
        id_, state = row["id"], row["state"]
        wanted = {"sent", "seen"} if state == "offered" else {"accepted"} if state in HOLDS else set[str]()
        live = offers[id_]
        if len(live) != bool(wanted) or any(one["state"] not in wanted or one["id"] != row["offer"] for one in live):
            yield f"referral {id_} is {state} with offers {[one['state'] for one in live]}"
        kept = [one for one in holds.values() if offered[one["offer"]]["referral"] == id_ and one["state"] != "freed"]
        hold = holds.get(row["offer"])
        if state in HOLDS and (hold is None or (hold["state"], hold["places"]) != (HOLDS[state], row["places"])):
            yield f"referral {id_} is {state}, and its hold is {hold and hold['state']}"
        if len(kept) != (HOLDS.get(state, "freed") != "freed"):
            yield f"referral {id_} is {state} and keeps {len(kept)} holds"


def nothing_waits_unseen(seen: Snapshot, journal: Journal, services: Services) -> Iterator[str]:
    """What is not final has a due row at the right time; nothing that is due was forgotten."""
    due = {name: {(row["kind"], row["subject"]): row["at"] for row in seen.of(name, "due")} for name in services}
    for row in seen.of("referral", "referral"):
        wake, deadline = due["referral"].get(("referral", row["id"])), due["referral"].get(("deadline", row["id"]))
        if wake != row["wake_at"] or (wake is None) != (row["state"] in FINAL):
            yield f"referral {row['id']} is {row['state']} and due at {wake}, not {row['wake_at']}"
        if row["state"] == "in-progress" and not row["arrival_verified"] and row["escalated"] is None:
            limit = row["arrived_at"] + timedelta(seconds=json.loads(row["windows"])["verify_s"])
            if wake is None or wake > limit:
                yield f"the arrival of {row['id']} is unverified, and nobody looks at it before {wake}"
        # A clock that was wrong may have said already that it has passed.
        passed = {row["state"] in FINAL or row["deadline"] < at for at in (seen.at, max(seen.at, journal.told))}
        if (deadline is None) not in passed:
            yield f"referral {row['id']} is {row['state']} with a deadline row at {deadline}"
    for packet in seen.of("intake", "packet"):
        if packet["erasure"] == "requested" and due["intake"].get(("erasure", packet["offer"])) is None:
            yield f"nobody watches the erasure for offer {packet['offer']}"
    for delivery in seen.of("notify", "delivery"):
        if (delivery["state"] == "waiting") != (("delivery", delivery["id"]) in due["notify"]):
            yield f"delivery {delivery['id']} is {delivery['state']}"
    for name, rows in due.items():
        for (kind, subject), at in rows.items():
            if at < seen.at - LATE:
                yield f"{name}: {kind} of {subject} was due at {at}"


def commands_once(seen: Snapshot, journal: Journal, _: Services) -> Iterator[str]:
    """A command that was answered with yes has its effect once; one that was refused has none."""
    happened: Counter[tuple[str, str]] = Counter()
    for event in {one.event.id: one.event for one in seen.log}.values():
        short = event.type.removeprefix("org.spean.").rpartition(".v")[0]
        for about in {event.subject, getattr(event.data(), "offer", event.subject)}:
            happened[short, str(about)] += 1
    for (what, subject), answer in journal.commands.items():
        if what in LEAVES and happened[LEAVES[what], subject] != (answer == "done"):
            yield f"{what} of {subject} was answered {answer} and has happened {happened[LEAVES[what], subject]} times"
    asked_again = Counter(
        subject for (what, subject), answer in journal.commands.items() if "ask-again" in what and answer == "done"
    )
    for row in seen.of("referral", "referral"):
        times = happened["referral.reopened", str(row["id"])]
        if str(row["id"]) in journal.handoffs and times != asked_again[str(row["id"])]:
            yield f"referral {row['id']} was reopened {times} times, asked for {asked_again[str(row['id'])]} times"


def records_once(seen: Snapshot, journal: Journal, _: Services) -> Iterator[str]:
    """The holder has the entries and consents that were acknowledged, each once."""
    mine = {str(row["id"]) for row in seen.of("intake", "entry") if str(row["org"]) in journal.senders}
    for one in journal.entries - mine:
        yield f"entry {one} was acknowledged and is missing"
    if len(mine - journal.entries) > journal.doubts["entry"]:
        yield f"entries {mine - journal.entries} are there, {journal.doubts['entry']} are in doubt"
    consents = Counter(str(row["entry"]) for row in seen.of("intake", "consent"))
    for entry in journal.entries:
        if consents[entry] != journal.consents[entry]:
            yield f"entry {entry} has {consents[entry]} consent records, {journal.consents[entry]} were acknowledged"


def shut_stays_shut(seen: Snapshot, journal: Journal, _: Services) -> Iterator[str]:
    """After a withdrawal was acknowledged no field of the person was allowed to anybody; both fences say so."""
    fences, kept = _by_id(seen.of("intake", "fence"), "entry"), _by_id(seen.of(KEYS, "fence"), "person")
    for entry in journal.stopped:
        fence, copy = fences[UUID(entry)], kept.get(UUID(entry))
        if not (fence["sharing_shut"] or fence["service_shut"]):
            yield f"entry {entry} has withdrawn, and its fence is open"
        names = ("generation", "sharing_shut", "service_shut")
        if copy is None or any(copy[name] != fence[name] for name in names):
            yield f"entry {entry} has another fence in the key store"
    for row in seen.of("intake", "disclosure"):
        at = journal.stopped.get(str(row["entry"]))
        # What a clock that was ahead has written says nothing of before or after.
        if at is not None and at < row["last_at"] <= seen.at and row["allowed"]:
            yield f"entry {row['entry']} had withdrawn at {at}, and {row['allowed']} went out at {row['last_at']}"


TRUTH_RULES = (
    handoffs_once, states_agree, views_are_true, told_once, places_are_counted, one_offer, nothing_waits_unseen,
    commands_once, records_once, shut_stays_shut,
)  # fmt: skip
