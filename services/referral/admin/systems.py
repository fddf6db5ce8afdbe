"""Systems of partners, which sign in with keys: registered, given a second key, shut out. The private half of a key never
comes here; who pastes it by mistake is told so, and it is not shown again."""

from __future__ import annotations

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import Response
from pydantic import Field

from schemas.rights import SCOPES
from services.referral.admin.desk import ROOM, Administrator, AdministratorSent
from services.referral.partners import api, handlers
from services.referral.partners import store as partners
from services.referral.partners.store import System, SystemKey, Use
from spean.http import Body
from spean.problem import Refusal
from spean.web import forms, lists
from spean.web.forms import Form, Incomplete
from spean.web.lists import Typed
from spean.web.pages import At, Sent, page_router
from spean.web.words import N_

LIST, APPROVALS = "/referral/pages/admin/systems", "/referral/pages/approvals"
_EVERYWHERE = frozenset({"referral:admin", "intake:rules", "notify:admin"})
router = page_router("administrator's pages")
NO_KEY = N_("This is no public key of the kind Ed25519, written as a JWK: look at the example.")
PRIVATE = N_(
    "This is a private key. It must never leave its system: have a new pair made there, and paste the public half only."
)
HAS_IT = N_("The system has this key already, or had it: a new pair is needed.")
NAME_TAKEN = N_("There is a system of this name already, or was one: choose another.")


class SystemForm(Body):
    id: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,80}$")]
    scopes: Annotated[frozenset[str], Field(min_length=1)]


@router.get("/admin/systems")
async def list_systems(at: Administrator, q: Typed = "", after: str | None = None) -> Response:
    """By organisation, found by its name or by the system's."""
    async with at.door.db.transaction("admin.systems") as tx:
        names = [(id_, (name, id_)) for id_, name in await partners.names_of_systems(tx)]
        part = lists.part(names, q=q, after=after)
        found = await partners.systems(tx, lists.MOST, part.ids)
    return at.page(f"{ROOM}/systems.html", systems=found, part=part)


def _scopes(at: At, organisation: UUID) -> dict[str, str]:
    """What a system may be given here: what reaches everybody's work, at the administrator's own organisation only, as with
    people."""
    return {name: text for name, text in SCOPES.items() if name not in _EVERYWHERE or organisation == at.who.org}


async def _employer(at: At, organisation: UUID) -> dict[str, Any]:
    """Raises Refusal `not-found`."""
    async with at.door.db.transaction("admin.organisation") as tx:
        return {"one": await partners.organisation(tx, organisation), "scopes": _scopes(at, organisation)}


@router.get("/admin/organisations/{organisation}/systems/new")
async def new_system(organisation: UUID, at: Administrator) -> Response:
    return at.page(f"{ROOM}/system_new.html", **await _employer(at, organisation))


@router.post("/admin/organisations/{organisation}/systems/new")
async def register(organisation: UUID, sent: AdministratorSent) -> Response:
    """A second click adds nothing more."""
    form = sent.form
    try:
        errors: dict[str, str] = {}
        key = _key(form, errors)
        try:
            given = forms.read(SystemForm, {"id": form.some("id"), "scopes": form.all("scopes")})
        except Incomplete as error:
            raise Incomplete({**error.errors, **errors}) from None
        if not given.scopes <= _scopes(sent, organisation).keys():
            errors["scopes"] = forms.SAID["enum"]
        if errors:
            raise Incomplete(errors)
        body = api.ClientBody(id=given.id, organisation=organisation, public_key=key, scopes=given.scopes)
        made = await api.register_client(body, sent.command())
    except Incomplete as error:
        return await _again(sent, organisation, error)
    except Refusal as refusal:
        about, said = {"invalid": "public_key", "duplicate": "id"}, {"invalid": NO_KEY, "duplicate": NAME_TAKEN}
        return await _again(sent, organisation, forms.at_field(refusal, about, said))
    if json.loads(bytes(made.body))["approval"] is not None:
        return sent.see(APPROVALS, done="asked-another")
    return sent.see(f"{LIST}/{given.id}", done="registered")


async def _again(sent: Sent, organisation: UUID, error: Incomplete) -> Response:
    return sent.again(f"{ROOM}/system_new.html", error, _safe(sent.form), **await _employer(sent, organisation))


def _key(form: Form, errors: dict[str, str]) -> dict[str, str]:
    """What was pasted as a JWK; what is wrong with it goes into `errors`."""
    try:
        pasted = json.loads(form.one("public_key")) if form.one("public_key") else None
    except (ValueError, RecursionError):
        pasted = {}
    if pasted is None:
        errors["public_key"] = forms.SAID["missing"]
    elif isinstance(pasted, dict) and {"d", "priv"} & pasted.keys():
        errors["public_key"] = PRIVATE
    elif isinstance(pasted, dict) and pasted and all(isinstance(value, str) for value in pasted.values()):
        return pasted
    else:
        errors["public_key"] = NO_KEY
    return {}


def _safe(form: Form) -> Form:
    """The form without a private key that was pasted by mistake, in whatever shape."""
    if not any(secret in form.one("public_key") for secret in ('"d"', '"priv"')):
        return form
    return Form({name: values for name, values in form.values.items() if name != "public_key"})


# --- one system -------------------------------------------------------------------------------------------------------


async def _one(at: At, client: str) -> dict[str, Any]:
    """Raises Refusal `not-found`."""
    async with at.door.db.transaction("admin.system") as tx:
        some = await partners.systems(tx, 1, [client])
    if not some:
        raise Refusal("not-found")
    found = some[0]
    alive = [key for key in found.keys if key.revoked_at is None]
    signing = [key for key in alive if key.use is Use.SIGNING]
    return {
        "system": found, "alive": alive, "room": len(signing) < handlers.KEYS_MOST, "scopes": SCOPES,
        "kept": client == handlers.OPERATOR_CLIENT,
    }  # fmt: skip


@router.get("/admin/systems/{client}")
async def one_system(client: str, at: Administrator) -> Response:
    return at.page(f"{ROOM}/system.html", **await _one(at, client))


@router.post("/admin/systems/{client}/keys")
async def add_key(client: str, sent: AdministratorSent) -> Response:
    """The second key beside the first: both open from now on."""
    try:
        errors: dict[str, str] = {}
        key = _key(sent.form, errors)
        if errors:
            raise Incomplete(errors)
        made = await api.add_key(client, api.KeyBody(public_key=key), sent.command())
    except Incomplete as error:
        return sent.again(f"{ROOM}/system.html", error, _safe(sent.form), **await _one(sent, client))
    except Refusal as refusal:
        about = {"invalid": "public_key", "duplicate": "public_key"}
        wrong = forms.at_field(refusal, about, {"invalid": NO_KEY, "duplicate": HAS_IT})
        return sent.again(f"{ROOM}/system.html", wrong, _safe(sent.form), **await _one(sent, client))
    if json.loads(bytes(made.body))["approval"] is not None:
        return sent.see(APPROVALS, done="asked-another")
    return sent.see(f"{LIST}/{client}", done="key-added")


@router.get("/admin/systems/{client}/keys/{thumbprint}/revoke")
async def before_revoking_key(client: str, thumbprint: str, at: Administrator) -> Response:
    shown = await _one(at, client)
    system: System = shown["system"]
    key: SystemKey | None = next((key for key in system.keys if key.thumbprint == thumbprint), None)
    if key is None or key.revoked_at is not None:
        raise Refusal("not-found")
    return at.page(f"{ROOM}/revoke.html", key=key, **shown)


@router.post("/admin/systems/{client}/keys/{thumbprint}/revoke")
async def revoke_key(client: str, thumbprint: str, sent: AdministratorSent) -> Response:
    await api.revoke_key(client, thumbprint, sent.command())
    return sent.see(f"{LIST}/{client}", done="key-revoked")


@router.get("/admin/systems/{client}/revoke")
async def before_revoking(client: str, at: Administrator) -> Response:
    return at.page(f"{ROOM}/revoke.html", key=None, **await _one(at, client))


@router.post("/admin/systems/{client}/revoke")
async def revoke(client: str, sent: AdministratorSent) -> Response:
    await api.revoke_client(client, sent.command())
    return sent.see(f"{LIST}/{client}", done="revoked")
