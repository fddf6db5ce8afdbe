"""Refusals, and how HTTP says them (RFC 9457): a stable type, what to do next, never a piece of the input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

TYPE_BASE = "https://spean.org/problems/"
MEDIA_TYPE = "application/problem+json"


class Refusal(Exception):
    """A rule says no. `code` is stable and documented in `REFUSALS`; nothing has been changed."""

    def __init__(self, code: str, *, errors: Sequence[Mapping[str, Any]] = (), rule: str | None = None) -> None:
        super().__init__(code)
        self.code, self.errors, self.rule = code, errors, rule


# code → HTTP status and what to do. The one table; `docs/api.md` is checked against it.
REFUSALS: Mapping[str, tuple[HTTPStatus, str]] = {
    "invalid": (HTTPStatus.UNPROCESSABLE_ENTITY, "Some fields are missing or not valid; `errors` says which and why."),
    "not-json": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send the body as application/json in UTF-8."),
    "too-large": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than this operation accepts."),
    "too-slow": (HTTPStatus.REQUEST_TIMEOUT, "The body did not arrive in time. Nothing has been done: send it again."),
    "unreadable": (
        HTTPStatus.BAD_REQUEST,
        "The request could not be read: send one JSON text in UTF-8, without repeated names, NaN or NUL characters.",
    ),
    "head-too-large": (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "Address and headers together are longer than is read here (32 KiB).",
    ),
    "header-twice": (
        HTTPStatus.BAD_REQUEST,
        "A header was sent twice of which there can be only one (such as Authorization, Idempotency-Key, If-Match).",
    ),
    "not-found": (HTTPStatus.NOT_FOUND, "There is no such thing here for your organisation."),
    "no-such-operation": (HTTPStatus.METHOD_NOT_ALLOWED, "This address does not take that method."),
    "no-token": (HTTPStatus.UNAUTHORIZED, "Ask for an access token at /referral/oauth/token and send it as Bearer."),
    "bad-token": (HTTPStatus.UNAUTHORIZED, "The access token is expired, foreign or not valid: ask for a new one."),
    "too-often": (HTTPStatus.TOO_MANY_REQUESTS, "Too many requests: wait as long as Retry-After says, then try again."),
    "scope": (HTTPStatus.FORBIDDEN, "Your credentials do not carry the scope that this operation needs."),
    "bad-client": (
        HTTPStatus.UNAUTHORIZED,
        "The client assertion was not accepted: check key, audience, times and jti.",
    ),
    "bad-grant": (HTTPStatus.BAD_REQUEST, "Use grant_type=client_credentials with a private_key_jwt assertion."),
    "key-missing": (HTTPStatus.BAD_REQUEST, "Send an Idempotency-Key header (1–200 characters, new for each command)."),
    "key-reused": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "This Idempotency-Key was used for another request: use a new one.",
    ),
    "key-running": (
        HTTPStatus.CONFLICT,
        "The same command is being carried out: ask again in a moment with the same key.",
    ),
    "version-missing": (HTTPStatus.PRECONDITION_REQUIRED, "Send If-Match with the ETag that you last read."),
    "version-unreadable": (
        HTTPStatus.BAD_REQUEST,
        'Send If-Match with exactly one ETag, as you last read it, such as "v3".',
    ),
    "version": (HTTPStatus.PRECONDITION_FAILED, "It has changed since you read it: read it again, then decide."),
    "state": (HTTPStatus.CONFLICT, "This is not possible in its present state: read it again."),
    "no-longer-available": (HTTPStatus.CONFLICT, "This referral is no longer available. Nothing is asked of you."),
    "erased": (HTTPStatus.GONE, "This person's record was erased: nothing of it can be read or used any more."),
    "statement": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The statement does not count (`rule` says why): read what is asked about the copy, and sign that.",
    ),
    "handoff-live": (
        HTTPStatus.CONFLICT,
        "A hand-off of this person is under way: cancel it, or end the service, and wait until it has ended; then erase.",
    ),
    "legal-hold": (
        HTTPStatus.CONFLICT,
        "A legal hold stands: nobody may erase this person until it ends, or an officer of your organisation lifts it.",
    ),
    "place-gone": (HTTPStatus.CONFLICT, "There is no free place left here: correct the numbers or decline as full."),
    "places-in-use": (HTTPStatus.CONFLICT, "More places are promised or occupied than that: free them first."),
    "holder-silent": (HTTPStatus.SERVICE_UNAVAILABLE, "The holder does not answer. Nothing has changed: try again."),
    "busy": (HTTPStatus.SERVICE_UNAVAILABLE, "The service is busy or restarting. Nothing has changed: try again."),
    "service-consent": (
        HTTPStatus.CONFLICT,
        "The person has not agreed to the service: talk it through and record it.",
    ),
    "sharing-consent": (HTTPStatus.CONFLICT, "The person has not agreed to share what this needs."),
    "guardian": (HTTPStatus.CONFLICT, "A person under 18 needs a guardian's consent beside their own agreement."),
    "guardian-suspected": (
        HTTPStatus.CONFLICT,
        "Somebody who may have recruited or exploited the person cannot agree for them: find another guardian, or let two "
        "people assess the best interests of the person.",
    ),
    "guardian-self": (HTTPStatus.CONFLICT, "Nobody is their own guardian: it takes somebody else."),
    "determination": (
        HTTPStatus.CONFLICT,
        "For a person under 18 this service needs the determination of a panel of at least three people.",
    ),
    "not-a-minor": (HTTPStatus.CONFLICT, "This is for people under 18: an adult decides alone."),
    "person-stopped": (
        HTTPStatus.CONFLICT,
        "The person has said stop. Only a legal obligation that is justified anew goes beyond that.",
    ),
    "same-person": (
        HTTPStatus.CONFLICT,
        "Somebody else has to look at this: you have proposed or decided it already, or nobody can tell (see `acting_for`).",
    ),
    "decision-missing": (
        HTTPStatus.CONFLICT,
        "This service needs a decision of the person's own (`rule` names it): talk it through and record it.",
    ),
    "family-unchecked": (
        HTTPStatus.CONFLICT,
        "Family contact is off until a second person has checked its risk.",
    ),
    "case-closed": (HTTPStatus.CONFLICT, "The case is closed: open it again before asking for a service."),
    "party": (HTTPStatus.CONFLICT, "Every member of the party needs an open case of your organisation."),
    "consent-contradictory": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "This cannot be meant: a yes to nothing, or one recipient both named and excluded; `errors` says which.",
    ),
    "recipient-unknown": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "No agreement names this organisation, so nothing could go there: look at its id.",
    ),
    "notice-unknown": (HTTPStatus.UNPROCESSABLE_ENTITY, "There is no notice of this version and language."),
    "notice-language": (
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The notice is in another language; where there is none in the person's, an interpreter speaks the English one.",
    ),
    "notice-expired": (
        HTTPStatus.CONFLICT,
        "This notice is out of force: read the one that replaced it, then ask again.",
    ),
    "consent-dates": (HTTPStatus.UNPROCESSABLE_ENTITY, "A consent ends after it begins, and begins no later than now."),
    "need-by-past": (HTTPStatus.UNPROCESSABLE_ENTITY, "The time by which it is needed has passed already."),
    "unknown-area": (HTTPStatus.UNPROCESSABLE_ENTITY, "This is no ISO 3166-2 province of a country that we know."),
    "unknown-network": (HTTPStatus.UNPROCESSABLE_ENTITY, "Your organisation is not part of that network."),
    "not-allowed-now": (HTTPStatus.CONFLICT, "This may not be shared with that organisation now."),
    "code-wrong": (
        HTTPStatus.CONFLICT,
        "The hand-over code is not right: ask the person again, or confirm without it.",
    ),
    "code-locked": (HTTPStatus.CONFLICT, "Too many tries with a wrong code: confirm the arrival without it."),
    "coordinates-network": (
        HTTPStatus.CONFLICT,
        "This organisation coordinates a network: name another coordinator there first, then suspend it.",
    ),
    "coordinator-unfit": (
        HTTPStatus.CONFLICT,
        "Only a member of the network that is not suspended can coordinate it: choose another.",
    ),
    "two-keys": (
        HTTPStatus.CONFLICT,
        "A system has two keys at most, while it changes from one to the other: revoke one first.",
    ),
    "suspended-lately": (
        HTTPStatus.CONFLICT,
        "Tokens from before the suspension may still be alive: reinstate it when it has lasted six minutes.",
    ),
    "duplicate": (HTTPStatus.CONFLICT, "There is one already: read it instead."),
    "suspended": (HTTPStatus.FORBIDDEN, "Your organisation is suspended: speak to the network's administrator."),
    "no-session": (HTTPStatus.UNAUTHORIZED, "You are not signed in (any more): sign in to go on."),
    "stale-form": (
        HTTPStatus.CONFLICT,
        "This form is older than your session. Nothing has been done, and nothing is lost: send it again.",
    ),
    "cross-site": (HTTPStatus.FORBIDDEN, "This form did not come from a page of this service: nothing has been done."),
    "sign-in-wrong": (HTTPStatus.FORBIDDEN, "Name, password or code is not right: look at each and try again."),
    "too-many-tries": (HTTPStatus.TOO_MANY_REQUESTS, "Too many wrong tries. Nothing is locked: wait, then try again."),
    "step-gone": (HTTPStatus.GONE, "That took too long, or was tried too often: begin signing in again."),
    "sign-in-again": (HTTPStatus.FORBIDDEN, "For this you must have signed in within the last minutes: sign in again."),
    "link-gone": (HTTPStatus.GONE, "This link was used or has ended: ask who sent it for a new one."),
    "password": (HTTPStatus.UNPROCESSABLE_ENTITY, "Choose another password: at least 12 characters, hard to guess."),
    "passkey": (HTTPStatus.FORBIDDEN, "The passkey was not accepted: try again, or sign in another way."),
    "last-way-in": (HTTPStatus.CONFLICT, "This is the only way left to sign in: add another one first."),
    "name-taken": (HTTPStatus.CONFLICT, "Somebody has this sign-in name already: choose another one."),
    "administrator-elsewhere": (
        HTTPStatus.FORBIDDEN,
        "Only people of your own organisation can be made administrators or data-protection officers.",
    ),
    "last-administrator": (HTTPStatus.CONFLICT, "The network needs an administrator: make another one first."),
    "two-administrators": (
        HTTPStatus.CONFLICT,
        "Two different administrators have to approve this, and the person cannot be one of them.",
    ),
    "fault": (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "A fault of ours. Nothing was half done: try again, then tell the operator.",
    ),
}


# RFC 6750, section 3.
_CHALLENGES = {
    "no-token": "Bearer",
    "bad-client": "Bearer",
    "no-session": "Bearer",
    "bad-token": 'Bearer error="invalid_token"',
    "scope": 'Bearer error="insufficient_scope"',
}


def response(code: str, *, errors: Sequence[Mapping[str, Any]] = (), rule: str | None = None,
             headers: Mapping[str, str] | None = None, more: Mapping[str, str] | None = None) -> JSONResponse:  # fmt: skip
    """The problem document for a code of `REFUSALS`; `more`: further members of it."""
    status, detail = REFUSALS[code]
    body: dict[str, Any] = {
        "type": TYPE_BASE + code,
        "title": code.replace("-", " ").capitalize(),
        "status": int(status),
        "detail": detail,
        **(more or {}),
    }
    if errors:
        body["errors"] = list(errors)
    if rule:
        body["rule"] = rule
    usual = {"Retry-After": "2"} if status == HTTPStatus.SERVICE_UNAVAILABLE or code == "key-running" else {}
    if code in _CHALLENGES:
        usual["WWW-Authenticate"] = _CHALLENGES[code]
    return JSONResponse(body, status, media_type=MEDIA_TYPE, headers={**usual, **(headers or {})})
