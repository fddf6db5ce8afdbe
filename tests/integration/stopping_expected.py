"""What the rules of stopping say of every form in every state, written down without the services' code; and the page that
tells it to people (docs/stopping.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from tests.integration.stopping_forms import FORMS, Form
from tests.integration.stopping_scene import Stage

PAGE = Path(__file__).parents[2] / "docs" / "stopping.md"
# Who may be asked for a place now; what the house that has accepted may read now.
SAME, NEXT, NOBODY = "this house", "the next house", "nobody"
WHOLE, LESS, EMPTY, CLOSED = "whole", "less", "empty", "closed"
_ONE_HOUSE = (NEXT, EMPTY)
_EVERYTHING = (NOBODY, EMPTY)
# Of every form that only shuts the gate: (who may be asked, what may be read).
GATE = {
    "sharing": _EVERYTHING, "house": _ONE_HOUSE, "class": _EVERYTHING, "needs": (NOBODY, LESS), "health": (SAME, LESS),
    "referral": (NOBODY, WHOLE), "provision": (SAME, EMPTY), "never-house": _ONE_HOUSE, "never-type": _EVERYTHING,
    "never-police": _ONE_HOUSE, "never-official": _ONE_HOUSE, "expired": _EVERYTHING, "of-age": _EVERYTHING,
    "lapsed": _EVERYTHING, "basis-ended": _EVERYTHING, "agreement-ended": _ONE_HOUSE, "agreement-over": _ONE_HOUSE,
    "corridor": _ONE_HOUSE, "rule": (SAME, LESS), "key-store": _EVERYTHING,
}  # fmt: skip
BEFORE = {Stage.NOT_YET, Stage.REQUESTED}
OPEN = {Stage.SENT, Stage.SEEN}
HELD = {Stage.ACCEPTED, Stage.READY, Stage.MISSING}
ARRIVED = {Stage.UNVERIFIED, Stage.ARRIVED}
# States that a coordinator reads as one; in every row they come to the same.
COLUMNS: dict[str, tuple[Stage, ...]] = {
    "Nobody asked yet": (Stage.NOT_YET, Stage.REQUESTED), "Offered": (Stage.SENT, Stage.SEEN),
    "Accepted": (Stage.ACCEPTED,), "Ready": (Stage.READY,), "Missing": (Stage.MISSING,),
    "Arrived": (Stage.UNVERIFIED, Stage.ARRIVED), "Completed": (Stage.COMPLETED,),
    "Nobody can take it": (Stage.UNROUTABLE,), "On hold": (Stage.ON_HOLD,), "Cancelled": (Stage.CANCELLED,),
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What became of one hand-off; empty where there is no such thing. `at_once`: when the request had returned, before
    anything was carried. `told`: who got word, in the order of the alphabet."""

    stop: str = "done"
    offer_at_once: str = ""
    packet_at_once: str = ""
    referral: str = "as before"
    whose: str = ""
    offer: str = ""
    bed: str = ""
    code: str = ""
    packet: str = ""
    copies: str = ""
    told: tuple[str, ...] = ()


def expected(key: str, stage: Stage) -> Seen:
    """By the rules, whatever the services do."""
    if key == "key-store":
        return _while_nobody_is_read(_gate_shuts(*GATE[key], stage), stage)
    if key in GATE:
        return _gate_shuts(*GATE[key], stage)
    if key in {"service", "cancel"}:
        return _ends(stage, by_person=key == "service")
    if key == "receiver":
        return _house_is_shut_out(stage)
    unchanged = _gate_shuts(SAME, WHOLE, stage)
    if key == "sender":
        return _is_the_coordinators(unchanged, stage)
    if key == "erase":
        return _erased(unchanged, stage)
    assert key == "holder", key
    return _while_nobody_is_read(unchanged, stage)


def _gate_shuts(asked: str, packet: str, stage: Stage) -> Seen:
    """Before acceptance the offer goes on, to whom it may; afterwards place, code and stay remain."""
    copies = {"copies": "asked to erase", "told": ("the house",)} if packet != WHOLE else {}
    if stage in BEFORE:
        return _asked_next(asked)
    if stage in OPEN:
        if asked == SAME:
            return Seen(offer_at_once="open", offer="as before")
        taken_back = Seen(offer_at_once="unanswerable", offer="withdrawn")
        if asked == NEXT:
            return replace(taken_back, told=("the next house",))
        return replace(taken_back, referral="on-hold", whose="sender")
    if stage is Stage.ACCEPTED:
        return Seen(packet_at_once=packet, referral="ready", offer="as before", bed="kept", packet=packet)
    if stage in HELD | ARRIVED:
        whose = "coordinator" if stage is Stage.MISSING else ""
        stays = Seen(packet_at_once=packet, whose=whose, offer="as before", bed="kept", code="works", packet=packet)
        return replace(stays, **copies)  # type: ignore[arg-type]
    if stage is Stage.UNROUTABLE:
        free = Seen(whose="coordinator", offer="as before")
        return replace(free, referral="on-hold", whose="sender") if asked == NOBODY else free
    if stage is Stage.ON_HOLD:
        return Seen(whose="sender", offer="as before")
    over = Seen(packet_at_once=CLOSED, offer="as before", bed="free", packet=CLOSED)
    return replace(over, **copies) if stage is Stage.COMPLETED else over  # type: ignore[arg-type]


def _asked_next(asked: str) -> Seen:
    if asked == NOBODY:
        return Seen(referral="on-hold", whose="sender")
    return Seen(referral="offered", told=("the house" if asked == SAME else "the next house",))


def _ends(stage: Stage, *, by_person: bool) -> Seen:
    """Before arrival it is cancelled and the place is free; after arrival no place is freed by anybody but the house."""
    if stage in BEFORE:
        return Seen(referral="cancelled")
    if stage in OPEN:
        return Seen(offer_at_once="unanswerable", referral="cancelled", offer="withdrawn")
    if stage in HELD:
        read = stage is not Stage.ACCEPTED
        return Seen(
            packet_at_once=CLOSED, referral="cancelled", offer="withdrawn", bed="free", packet=CLOSED,
            code="works" if read else "", copies="asked to erase" if read else "", told=("the house",) if read else (),
        )  # fmt: skip
    if stage in ARRIVED:
        stays = _gate_shuts(NOBODY, EMPTY if by_person else WHOLE, stage)
        return replace(stays, told=(*stays.told, "the house, to speak with the person"))
    if stage in {Stage.UNROUTABLE, Stage.ON_HOLD}:
        return Seen(referral="cancelled", offer="as before")
    over = _gate_shuts(NOBODY, EMPTY if by_person else WHOLE, stage)
    return over if by_person else replace(over, stop="state")


def _house_is_shut_out(stage: Stage) -> Seen:
    """What it was offered goes to the next; what it has accepted waits for the coordinator, and nobody is moved."""
    told = {"whose": "coordinator", "told": ("coordinator",)}
    if stage in HELD | ARRIVED:
        code = "" if stage is Stage.ACCEPTED else "works"
        stays = Seen(packet_at_once=CLOSED, offer="as before", bed="kept", code=code, packet=CLOSED)
        return replace(stays, referral="on-hold" if stage in HELD else "as before", **told)  # type: ignore[arg-type]
    return _gate_shuts(NEXT, WHOLE, stage)


def _is_the_coordinators(seen: Seen, stage: Stage) -> Seen:
    """The hand-offs of a sender who is shut out pass to the coordinator; their people lose nothing."""
    if stage in {Stage.COMPLETED, Stage.CANCELLED}:
        return seen
    return replace(seen, whose="coordinator", told=tuple(sorted({*seen.told, "coordinator"})))


def _erased(seen: Seen, stage: Stage) -> Seen:
    """Not while a hand-off is under way: it is cancelled first. Then everything is shut, and copies are asked for."""
    if stage not in {Stage.COMPLETED, Stage.CANCELLED}:
        return replace(seen, stop="handoff-live")
    return _gate_shuts(NOBODY, EMPTY, stage)


def _while_nobody_is_read(seen: Seen, stage: Stage) -> Seen:
    """As long as it lasts; then it is as it would have been."""
    at_once = replace(seen, offer_at_once="unanswerable") if stage in OPEN else seen
    return replace(at_once, packet_at_once=CLOSED) if seen.packet_at_once else at_once


# --- in words ---------------------------------------------------------------------------------------------------------

_READS = {WHOLE: "packet as before", LESS: "packet says less", EMPTY: "packet empty", CLOSED: "packet closed"}
_BECOMES = {"on-hold": "waits for the sender", "cancelled": "cancelled"}
REFUSED = {"handoff-live": "refused: cancel it first", "state": "refused: it has ended"}


def short(seen: Seen, stage: Stage) -> str:
    """A cell of the table."""
    if seen.stop != "done":
        return REFUSED[seen.stop]
    if stage in BEFORE:
        words = [_BECOMES.get(seen.referral) or ("next house asked" if "the next house" in seen.told else "goes on")]
    elif stage in OPEN:
        words = _of_open(seen)
    elif seen.bed == "kept":
        words = ["bed stays", _READS[seen.packet]]
    elif stage in HELD:
        words = ["cancelled, bed freed"]
    else:
        words = [] if seen.referral == "as before" else [_BECOMES[seen.referral]]
    if "the house, to speak with the person" in seen.told:
        words.append("house speaks with the person")
    if "coordinator" in seen.told:
        words.append("coordinator’s")
    if seen.copies:
        words.append("copies asked back")
    return ", ".join(words) or "–"


def _of_open(seen: Seen) -> list[str]:
    if seen.offer == "as before":
        return ["stays open"] if seen.offer_at_once == "open" else ["unanswerable meanwhile"]
    after = _BECOMES.get(seen.referral, "next house asked")
    return ["taken back", after]


def page(found: dict[tuple[str, Stage], Seen]) -> str:
    """docs/stopping.md. `found`: what is expected, or what was seen."""
    head = ["Who or what stops", *COLUMNS]
    lines = [_INTRODUCTION, _row(head), _row(["---"] * len(head))]
    lines += [_row([form.name, *(_cell(form, stages, found) for stages in COLUMNS.values())]) for form in FORMS]
    lines += ["", _MEANING, _row(_FULL_HEAD), _row(["---"] * len(_FULL_HEAD))]
    lines += [_row([column, words, *_facts(seen)]) for (column, words), seen in _distinct(found).items()]
    return "\n".join([*lines, ""])


def _cell(form: Form, stages: tuple[Stage, ...], found: dict[tuple[str, Stage], Seen]) -> str:
    words = {short(found[form.key, stage], stage) for stage in stages}
    return " / ".join(sorted(words))


def _distinct(found: dict[tuple[str, Stage], Seen]) -> dict[tuple[str, str], Seen]:
    """What every cell says, each once, column by column."""
    every: dict[tuple[str, str], Seen] = {}
    for column, stages in COLUMNS.items():
        for form in FORMS:
            seen = found[form.key, stages[-1]]
            if seen.stop == "done":
                every.setdefault((column, short(seen, stages[-1])), seen)
    return every


def _facts(seen: Seen) -> list[str]:
    told = ", ".join(seen.told)
    return [
        one or "–"
        for one in (seen.offer_at_once, seen.packet_at_once, seen.referral, seen.whose, seen.offer, seen.bed, seen.code,
                    seen.packet, seen.copies, told)
    ]  # fmt: skip


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


_FULL_HEAD = [
    "Where it stood", "Said above", "Offer, at once", "Packet, at once", "Becomes", "Whose turn", "Offer", "Bed",
    "Hand-over code", "Packet", "Copies", "Who gets word",
]  # fmt: skip
_INTRODUCTION = """\
# Stopping

<!-- Generated: `python -m tests.integration.stopping_played`, which plays every cell on the real services. -->

What happens when somebody stops, in every form that there is and in every state that a hand-off can be in. Two rules
stand behind the whole table:

- **When the request returns, the gate is shut**: an open offer can be neither read nor accepted, and a packet shows no more
  than the person allows now. That is so before anything is carried, with the bus standing still, and also where the network
  does not answer. What ends by its date ends by the clock on the wall, whether anybody has looked or not.
- **Withdrawn sharing never costs a bed.** Once a house has accepted, the place, the hand-over code and the stay remain,
  whatever may still be told. Only who ends the *service* before arrival gives the place back.

Who holds a copy of what may not be told any more is asked to erase it, and answers. *Waits for the sender*: only the person
can open it again, so whoever is with them asks anew, or cancels. A house that is asked, or asked for its copies, gets an
e-mail that says nothing but that something waits.
"""
_MEANING = """\
“–”: nothing changes. In *nobody asked yet* are also hand-offs that the network does not know of yet. *The next house* is
another one that may be asked. An official who is never to know shuts their whole organisation out, for no machine knows who
reads there. That an erasure is refused while somebody is being handed on keeps the door from closing in front of them. A
code works on after a cancellation, for somebody may be at that door with it; what the house records then counts.

## In full

*At once* is what was seen when the request had returned and nothing had been carried yet; everything behind it, when all
had come to rest. “As before”: what it was when somebody stopped. While the key store or the holder is silent, nothing is read at all:
an open offer is unanswerable and a packet is closed at once, whatever stands here.
"""
