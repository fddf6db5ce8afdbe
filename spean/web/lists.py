"""Lists and choices that stay light, however many organisations a network has: a page shows some, in the order of their
names, and a part of a name finds the others. The macros `search`, `further` and `pick` of `web/form.html` show them.

    part = lists.part([(one.id, (one.name,)) for one in every], q=q, after=after)

Whoever lists names reads all of an installation's, which are few thousand at most, and everything else only of the rows
that a page shows.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from fastapi import Query

from spean.names import fits, place_of
from spean.web.forms import Form

K = TypeVar("K", bound=Hashable)
# Rows of a list, lines of a choice. With more a page is too heavy for a poor line (a test weighs them).
MOST = 40
# Fewer are looked through without a search.
_FEW = 10
# A name that is typed to be found; longer ones find nothing more.
TYPED_MOST = 200
Typed = Annotated[str, Query(max_length=TYPED_MOST)]


@dataclass(frozen=True, slots=True)
class Part(Generic[K]):
    """One page of a list. `q`: what was searched for; `many`: how many fit it, of `every`; `after`: the last one here, where
    more follow."""

    ids: Sequence[K]
    q: str
    many: int
    every: int
    after: K | None

    @property
    def searched(self) -> bool:
        """Is a search of use here?"""
        return bool(self.q) or self.every > _FEW


@dataclass(frozen=True, slots=True)
class Choices(Generic[K]):
    """What a form offers: at most `MOST` that fit what was searched for, behind what was chosen before. `many`: how many
    fit, of `every`."""

    lines: Sequence[tuple[K, str]]
    q: str
    many: int
    every: int

    @property
    def searched(self) -> bool:
        return self.every > MOST


def part(
    named: Iterable[tuple[K, tuple[str, ...]]], *, q: str = "", after: K | None = None, ordered: bool = False
) -> Part[K]:
    """The page behind the one that ends with the key `after`. `named`: a key, with the names that it stands in order by
    (unless it is `ordered` otherwise) and is found by. What is added meanwhile shows nothing twice and leaves nothing out."""
    every = list(named)
    if not ordered:
        every.sort(key=lambda one: ([place_of(name) for name in one[1]], str(one[0])))
    found = [key for key, names in every if fits(q, *names)]
    begin = found.index(after) + 1 if after is not None and after in found else 0
    shown = found[begin : begin + MOST]
    return Part(shown, q, len(found), len(every), shown[-1] if begin + MOST < len(found) else None)


def choices(
    named: Iterable[tuple[K, str]], form: Form, field: str, *, chosen: Collection[str] = (),
    usually: Collection[K] | None = None,
) -> Choices[K]:  # fmt: skip
    """What can be chosen at this field of a form. `chosen`: what stands there before anything was sent; `usually`: of more
    than fit a page, those to offer before anything is searched for."""
    known = dict(named)
    q = form.one(typed_in(field))[:TYPED_MOST]
    offered = set(known) if usually is None or q or len(known) <= MOST else set(usually)
    found = part([(id_, (name,)) for id_, name in known.items() if id_ in offered], q=q)
    kept = {*form.all(field), *chosen}
    ids = [id_ for id_ in known if str(id_) in kept and id_ not in found.ids]
    return Choices([(id_, known[id_]) for id_ in (*ids, *found.ids)], q, found.many, len(known))


def narrows(form: Form, field: str) -> bool:
    """Was the form sent to find other choices? Yes where the button for it was pressed, or nothing is chosen, after a name was
    typed; with the Enter key a browser presses the first button of a form, also to send it."""
    typed, before = form.one(typed_in(field)), form.one(f"{field}_shown")
    return typed != before and (bool(form.one(f"{field}_find")) or not form.all(field))


def typed_in(field: str) -> str:
    """The field where a part of a name is typed, to narrow the choices of another."""
    return f"{field}_name"
