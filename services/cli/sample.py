"""The sample network, loaded once through the public API, as an administrator would.

Every command has a fixed Idempotency-Key, so a load that died half-way is finished by the next start without anything
being made twice; what came of it is written to `sample.json` in the keys folder as the last step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.vocabulary import OrganisationType
from services.cli import sample_network as table
from services.cli.bootstrap import key_file
from services.cli.client import Partner, kept_key
from services.cli.sample_network import Known
from services.intake.cases.fields import OFFER_FIELDS, PLACEMENT_FIELDS
from spean.crypto import private_file, public_jwk
from spean.idempotency import KEPT_HOURS
from spean.settings import Settings

# Part of every key: a sample with other contents is another edition.
_EDITION = "sample-2"
# A command that died with the process before it may still be ending in the database, for this long at most.
PATIENCE_S = 15.0


class NeverFinished(Exception):
    """A load was begun too long ago to be finished safely. The message says what to do."""


class SampleOrganisation(BaseModel):
    """`client` is its system's id; that system's private key lies in `<keys>/clients/<client>.jwk`. `places`: pool → id."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    name: str
    type: OrganisationType
    country: str
    client: str
    places: dict[str, UUID]


class Sample(BaseModel):
    """What `sample.json` holds. `operator` is the installation that it belongs to; organisations are named by their key."""

    model_config = ConfigDict(frozen=True)

    operator: UUID
    network: UUID
    coordinator: str
    organisations: dict[str, SampleOrganisation]

    @property
    def countries(self) -> set[str]:
        return {one.country for one in self.organisations.values()}


def sample_file(settings: Settings) -> Path:
    return settings.keys / "sample.json"


def kept(settings: Settings) -> Sample | None:
    """The sample network of this keys folder, or None where none was loaded."""
    try:
        return Sample.model_validate_json(sample_file(settings).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


async def load(admin: Partner, settings: Settings, operator: UUID) -> Sample:
    """Load what is missing of the sample network; nothing where it was loaded before. Raises ApiProblem, NeverFinished."""
    before = kept(settings)
    if before is not None and before.operator == operator:
        return before
    sample_file(settings).unlink(missing_ok=True)
    begun = settings.keys / f"sample-begun-{operator}"
    _expect_young(begun)
    found = await _load(admin, settings, operator)
    private_file(sample_file(settings), found.model_dump_json(indent=2).encode())
    begun.unlink()
    return found


def _expect_young(begun: Path) -> None:
    """The services remember answered commands for a while; what was begun longer ago would be made twice."""
    began = float(private_file(begun, str(time.time()).encode()))
    if time.time() - began > (KEPT_HOURS - 1) * 3600:
        raise NeverFinished(
            "loading the sample network was begun days ago and never finished: start with SPEAN_SAMPLE=0 to go on without "
            "the rest of it, or empty the installation with make clean"
        )


async def _load(admin: Partner, settings: Settings, operator: UUID) -> Sample:
    ids = {known.key: await _organisation(admin, settings, known) for known in table.ORGANISATIONS}
    body = {"name": table.NETWORK_NAME, "coordinator": ids[table.COORDINATOR], "sample": True}
    network = (await _post(admin, "/referral/networks", body, "network"))["id"]
    organisations: dict[str, SampleOrganisation] = {}
    for known in table.ORGANISATIONS:
        places = await _places(admin, network, known, ids[known.key])
        organisations[known.key] = SampleOrganisation(
            id=UUID(ids[known.key]), name=f"{known.name} (sample)", type=known.type, country=known.country,
            client=_client(known), places=places,
        )  # fmt: skip
    for name, path, rule in (*_need_to_know(network), *_agreements(ids), *_corridors()):
        await _post(admin, path, rule, name)
    return Sample(operator=operator, network=UUID(network), coordinator=table.COORDINATOR, organisations=organisations)


async def _post(admin: Partner, path: str, body: Mapping[str, Any], name: str) -> Any:
    """One command under a key of its own and for good. Raises ApiProblem."""
    return await admin.post(path, body, key=f"{_EDITION}/{name}")


def _client(known: Known) -> str:
    return f"sample-{known.key}"


async def _organisation(admin: Partner, settings: Settings, known: Known) -> str:
    """An organisation, the system that signs in for it, and its mailbox at a domain that can never exist. Returns its id."""
    body = {
        "name": f"{known.name} (sample)", "type": known.type, "country": known.country,
        "law_enforcement": known.type is OrganisationType.POLICE, "sample": True,
    }  # fmt: skip
    id_: str = (await _post(admin, "/referral/organisations", body, f"organisation/{known.key}"))["id"]
    key = await asyncio.to_thread(kept_key, key_file(settings, _client(known)))
    public = public_jwk(key)
    client = {
        "id": _client(known), "organisation": id_, "public_key": public, "scopes": table.SCOPES[known.type],
    }  # fmt: skip
    await _post(admin, "/referral/clients", client, f"client/{known.key}")
    address = {"organisation": id_, "email": f"{known.key}@sample.invalid"}
    await _post(admin, "/notify/addresses", address, f"address/{known.key}")
    return id_


async def _places(admin: Partner, network: str, known: Known, id_: str) -> dict[str, UUID]:
    """The organisation joins the network with its places. Returns the places' ids by pool."""
    await _post(admin, f"/referral/networks/{network}/members", {"organisation": id_}, f"member/{known.key}")
    made: dict[str, UUID] = {}
    for pool in known.pools:
        body = {
            "organisation": id_, "network": network, "service_types": pool.service_types, "area": pool.area,
            "usable": pool.usable, "eligibility": pool.eligibility,
        }  # fmt: skip
        made[pool.key] = UUID((await _post(admin, "/referral/places", body, f"place/{known.key}/{pool.key}"))["id"])
    return made


Rule = tuple[str, str, dict[str, Any]]


def _need_to_know(network: str) -> Iterator[Rule]:
    """Name, path and body of each rule of this kind, for the sample network only; so below."""
    for group, packet in table.PACKET.items():
        for stage, fields in (("offer", OFFER_FIELDS), ("packet", packet), ("placement", PLACEMENT_FIELDS)):
            body = {"network": network, "group": group, "stage": stage, "fields": fields}
            yield f"need/{group}/{stage}", "/intake/rules/need-to-know", body


def _agreements(ids: Mapping[str, str]) -> Iterator[Rule]:
    """Each sender with each receiver of its own country, and with houses across a border that a corridor crosses; and back."""
    for sender in (known for known in table.ORGANISATIONS if known.type in table.SENDS):
        for receiver in (known for known in table.ORGANISATIONS if known.pools and known is not sender):
            if not _agreed(sender, receiver):
                continue
            for one, other, categories in (
                (sender, receiver, table.GIVEN_TO[receiver.type]),
                (receiver, sender, table.GIVEN_BACK),
            ):
                body = {
                    "sender": ids[one.key], "recipient": ids[other.key], "categories": categories,
                    "purposes": table.PURPOSES,
                }  # fmt: skip
                yield f"agreement/{sender.key}/{one.key}/{other.key}", "/intake/rules/agreements", body


def _agreed(sender: Known, receiver: Known) -> bool:
    if sender.country == receiver.country:
        return True
    low, high = sorted((sender.country, receiver.country))
    across = sender.type is not OrganisationType.POLICE and receiver.type is OrganisationType.SHELTER
    return across and (low, high) in table.CORRIDORS


def _corridors() -> Iterator[Rule]:
    for (one, other), text in table.CORRIDORS.items():
        for begins, ends in ((one, other), (other, one)):
            body = {
                "from_country": begins, "to_country": ends, "categories": table.CROSSING,
                "legal_basis": f"Sample, to be checked by your lawyer: COMMIT memorandum of 2004; {text}",
            }  # fmt: skip
            yield f"corridor/{begins}/{ends}", "/intake/rules/corridors", body
