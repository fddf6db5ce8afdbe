"""Use cases of passkeys (WebAuthn): one alone signs in, for it is something that one has and, checked by the device,
something that one is or knows.

The challenge of each ceremony waits on the server, for five minutes, for one answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import webauthn
from webauthn.helpers import base64url_to_bytes, options_to_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from services.referral.people import store as people
from services.referral.people.domain import Person, What
from services.referral.sessions import store
from services.referral.sessions.desk import Desk
from services.referral.sessions.domain import STEP_FOR
from services.referral.sessions.factors import ISSUER, expect_fresh, invited, renewed
from services.referral.sessions.handlers import Opened, open_session
from services.referral.sessions.store import Passkey, Step
from spean.crypto import new_opener, opener_digest
from spean.db import Tx
from spean.ids import opaque_id
from spean.problem import Refusal
from spean.web.visitor import Visitor

_CEREMONY_MS = int(STEP_FOR.total_seconds() * 1000)
# More than anybody has devices.
PASSKEYS_MOST = 20
# What a malformed answer of a browser may raise in the library, beside its own errors.
_NOT_AN_ANSWER = (WebAuthnException, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError)

Options = dict[str, Any]


# --- a new one --------------------------------------------------------------------------------------------------------


async def offer_to_invited(desk: Desk, opener: str) -> tuple[str, Options]:
    """The opener of the step, and the options for `navigator.credentials.create`. Raises Refusal `link-gone`."""
    async with desk.db.transaction("set-up.passkey-options") as tx:
        person, _ = await invited(tx, desk, opener)
        return await _creation(tx, desk, person)


async def set_up(desk: Desk, opener: str, step_opener: str, answer: Mapping[str, Any], *, before: str = "") -> Opened:
    """A passkey from an invite, and signed in with it. Raises Refusal `link-gone`, `step-gone`, `passkey`."""
    step = await _use(desk, "new-passkey", step_opener)
    async with desk.db.transaction("set-up.passkey") as tx:
        person, _ = await invited(tx, desk, opener)
        await people.lock(tx, person.id)
        await invited(tx, desk, opener, use=True)
        await _take(tx, desk, person.id, step, answer)
        await people.note(tx, person.id, person.id, What.SET_UP, how="passkey")
        return await open_session(tx, desk, person.id, "passkey", before=before)


async def offer(desk: Desk, who: Visitor) -> tuple[str, Options]:
    """The same for somebody who is signed in. Raises Refusal `sign-in-again`, `state` for one too many."""
    async with desk.db.transaction("passkey.options") as tx:
        await expect_fresh(tx, who)
        return await _creation(tx, desk, await people.get(tx, who.person))


async def add(desk: Desk, who: Visitor, step_opener: str, answer: Mapping[str, Any]) -> Opened:
    """Raises Refusal `sign-in-again`, `step-gone`, `passkey`."""
    step = await _use(desk, "new-passkey", step_opener)
    async with desk.db.transaction("passkey.add") as tx:
        await people.lock(tx, who.person)
        await expect_fresh(tx, who)
        await _take(tx, desk, who.person, step, answer)
        await people.note(tx, who.person, who.person, What.PASSKEY_ADDED)
        return await renewed(tx, desk, who)


async def _creation(tx: Tx, desk: Desk, person: Person) -> tuple[str, Options]:
    known = await store.passkeys(tx, person.id)
    if len(known) >= PASSKEYS_MOST:
        raise Refusal("state")
    options = webauthn.generate_registration_options(
        rp_id=desk.rp, rp_name=ISSUER, user_name=person.sign_in_name, user_id=person.id.bytes,
        user_display_name=person.name, timeout=_CEREMONY_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=one.credential) for one in known],
    )  # fmt: skip
    opener, digest = new_opener()
    await store.insert_step(tx, digest, "new-passkey", person.id, options.challenge, tx.now + STEP_FOR)
    return opener, json.loads(options_to_json(options))


async def _use(desk: Desk, kind: str, step_opener: str) -> Step:
    """In a transaction of its own: a wrong answer uses a challenge up too. Raises Refusal `step-gone`."""
    digest = opener_digest(step_opener)
    async with desk.db.transaction("passkey.challenge-used") as tx:
        step = await store.use_step(tx, kind, digest) if digest else None
    if step is None:
        raise Refusal("step-gone")
    return step


async def _take(tx: Tx, desk: Desk, person: UUID, step: Step, answer: Mapping[str, Any]) -> None:
    if step.person != person:
        raise Refusal("step-gone")
    try:
        made = webauthn.verify_registration_response(
            credential=dict(answer), expected_challenge=step.value, expected_rp_id=desk.rp,
            expected_origin=list(desk.origins), require_user_verification=True,
        )  # fmt: skip
    except _NOT_AN_ANSWER:
        raise Refusal("passkey") from None
    passkey = Passkey(
        opaque_id(), made.credential_id, person, made.credential_public_key, made.sign_count, tx.now, None
    )
    if not await store.insert_passkey(tx, passkey):
        raise Refusal("passkey")


# --- signing in -----------------------------------------------------------------------------------------------------


async def challenge(desk: Desk) -> tuple[str, Options]:
    """The opener of the step, and the options for `navigator.credentials.get`: any passkey of ours that the device has; who
    it is comes with the answer."""
    options = webauthn.generate_authentication_options(
        rp_id=desk.rp, timeout=_CEREMONY_MS, user_verification=UserVerificationRequirement.REQUIRED
    )
    opener, digest = new_opener()
    async with desk.db.transaction("sign-in.challenge") as tx:
        await store.forget_ended(tx)
        await store.insert_step(tx, digest, "passkey", None, options.challenge, tx.now + STEP_FOR)
        await store.trim_challenges(tx)
    return opener, json.loads(options_to_json(options))


async def sign_in(desk: Desk, step_opener: str, answer: Mapping[str, Any], *, before: str = "") -> Opened:
    """Raises Refusal `step-gone`, `passkey` (the same whatever is wrong: unknown, another's, copied, not verified)."""
    step = await _use(desk, "passkey", step_opener)
    try:
        credential = base64url_to_bytes(answer["rawId"])
        handle = answer["response"].get("userHandle")
        claimed = base64url_to_bytes(handle) if handle is not None else None
    except _NOT_AN_ANSWER:
        raise Refusal("passkey") from None
    async with desk.db.transaction("sign-in.passkey") as tx:
        known = await store.lock_passkey(tx, credential)
        if known is None or claimed not in {None, known.person.bytes} or not await people.may_stop(tx, known.person):
            raise Refusal("passkey")
        try:
            checked = webauthn.verify_authentication_response(
                credential=dict(answer), expected_challenge=step.value, expected_rp_id=desk.rp,
                expected_origin=list(desk.origins), credential_public_key=known.public_key,
                credential_current_sign_count=known.sign_count, require_user_verification=True,
            )  # fmt: skip
        except _NOT_AN_ANSWER:
            raise Refusal("passkey") from None
        await store.passkey_used(tx, credential, checked.new_sign_count)
        return await open_session(tx, desk, known.person, "passkey", before=before)
