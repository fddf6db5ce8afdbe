"""From nothing to the first accepted referral: what is done, and what is next. Pure: each step is read off the facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.referral.admin.store import Facts
from spean.web.words import N_

ADMIN = "/referral/pages/admin"
PEOPLE = "/referral/pages/people/new"
RULES = "/intake/pages/rules/usual"


@dataclass(frozen=True, slots=True)
class Step:
    """`done`: None where it is not known now. `say` is the link's text to `path`; none where nothing is to be clicked."""

    text: str
    hint: str
    done: bool | None
    path: str = ""
    say: str = ""


def steps(facts: Facts, network: UUID | None, organisations: int, *, rules: bool | None) -> list[Step]:
    """In the order of the work. `organisations`: how many there are beside the one that runs the installation; `rules`:
    does a holder say that somebody of this network may be handed to somebody of it?"""
    here = f"{ADMIN}/networks/{network}" if network else f"{ADMIN}/networks"
    people = N_("Add a person")
    return [
        Step(N_("Your own account"), N_("Make a second administrator soon (spean administrator NAME): somebody else has to agree to whatever opens records."),
             facts.administrators > 0, PEOPLE, people),
        Step(N_("The organisation that coordinates"), N_("It is told when nobody takes a person in time."),
             organisations > 0, f"{ADMIN}/organisations/new", N_("Register an organisation")),
        Step(N_("A network"), N_("Organisations that refer people to each other, and how long each answer may take."),
             network is not None, f"{ADMIN}/networks/new", N_("Found a network")),
        Step(N_("Its members: one that meets people, one that receives them"),
             N_("Register each organisation, then add it to the network."), facts.members > 2 or bool(facts.senders and facts.places), here,
             N_("Add members")),
        Step(N_("Somebody who sends"), N_("Register them and give them their link in person."), facts.senders > 0, PEOPLE,
             people),
        Step(N_("Somebody at the house"), N_("Register them and give them their link in person."), facts.receivers > 0,
             PEOPLE, people),
        Step(N_("Somebody who coordinates"), N_("Register them and give them their link in person."),
             facts.coordinators > 0, PEOPLE, people),
        Step(N_("All three have set up how they sign in"), N_("Each with the link, on a phone or computer of their own."),
             bool(facts.senders_in and facts.receivers_in and facts.coordinators_in), "/referral/pages/people",
             N_("See who has")),
        Step(N_("A place at the house"), N_("How many people it can take, and whom."), facts.places > 0,
             f"{ADMIN}/places", N_("Add places")),
        Step(N_("The rules: who may be told what"),
             N_("A data-protection officer reviews and adds them. Give that role to somebody of your own organisation, also to yourself; another administrator agrees, and whoever gets it signs in again."),
             rules, RULES, N_("Review the rules")),
        Step(N_("The first hand-off is asked for"), N_("Whoever sends signs in, records a made-up person and asks."),
             facts.referrals > 0),
        Step(N_("The house accepts it"), N_("Whoever receives signs in, opens the inbox and accepts."),
             facts.accepted > 0),
    ]  # fmt: skip


def next_of(all_steps: Sequence[Step]) -> Step | None:
    """The first that is not done."""
    return next((step for step in all_steps if not step.done), None)
