"""What stands in that which is no plain answer: a sealed packet, the packet's page, a mail. What is found goes to the judge."""

from __future__ import annotations

import base64
import email
import email.policy
import html
import re
import time
from uuid import UUID

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from spean.sealing import About, PrivateKey, open_sealed
from spean.web.visitor import COOKIE

# Headings of the packet's page, as somebody reads them, and the field that stands under each.
HEADINGS = {
    "Age group": "age_band", "Sex": "sex", "Needs": "needs", "Languages": "languages", "Safety": "safety_notes",
    "Name": "name", "Age in years": "age_years", "Citizenship": "citizenship", "Phone": "phone",
    "Safe ways of contact": "contact_notes", "Family": "family_notes", "Health": "health_notes",
    "What happened": "account", "Kind of exploitation": "exploitation", "Means of control": "means_of_control",
    "Who did it": "recruiter_notes", "Legal situation": "legal_notes", "Documents": "documents",
}  # fmt: skip# What an offer's page says of those whom the property meets; all else there is how old they are.
WORDS = {"female": "sex", "Khmer": "languages", "interpreter": "needs", "An interpreter": "needs"}
NO_NEEDS = "no special needs written down"
# What says something of a person in a word of a list, and so carries no mark.
CODES = frozenset({"age_band", "age_years", "sex", "needs", "languages", "citizenship"})


def codes_in(answer: httpx.Response) -> set[str]:
    """Which of these are anywhere in an answer, but in what a house says of whom it takes in."""
    if "json" not in answer.headers.get("content-type", "") or not answer.content:
        return set()
    found, left = set[str](), [answer.json()]
    while left:
        one = left.pop()
        if isinstance(one, dict):
            found |= {name for name in CODES.intersection(one) if one[name] is not None}
            left += [value for name, value in one.items() if name != "eligibility"]
        elif isinstance(one, list):
            left += one
    return found


async def opened(seals: PrivateKey | None, organisation: str, offer: str, dataref: str, content: bytes) -> bytes:
    """A packet as it was before it was sealed for an organisation's key, and by whom it says it was: raises Unopened where it
    was not sealed. Without a key it is as it came."""
    if seals is None:
        return content
    async with httpx.AsyncClient(timeout=30) as anybody:
        keys = (await anybody.get(f"{dataref.rpartition('/packets/')[0]}/.well-known/jwks.json")).json()["keys"]
    signers = {
        one["kid"]: Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(f"{one['x']}==")) for one in keys
    }
    about = About(UUID(offer), UUID(organisation))
    return open_sealed(content, {seals.public.id: seals}, signers, about, time.time())


async def page_of(offer: str, dataref: str, ticket: str) -> httpx.Response:
    """The packet's page, as a browser gets it with a ticket that was not used before."""
    url = f"{dataref.rpartition('/packets/')[0]}/pages/packets/{offer}"
    async with httpx.AsyncClient(timeout=30, headers={"Accept-Language": "en"}) as browser:
        let_in = await browser.post(url, data={"ticket": ticket})
        cookie = let_in.headers.get("set-cookie", "").partition(";")[0]
        return await browser.get(url, headers={"Cookie": cookie}) if let_in.status_code == 303 else let_in


async def shown_to(cookie: str, url: str) -> httpx.Response:
    """A page, as somebody gets it who has signed in."""
    async with httpx.AsyncClient(timeout=30) as browser:
        return await browser.get(url, headers={"Accept-Language": "en", "Cookie": f"{COOKIE}={cookie}"})


def needs_on(page: str) -> list[set[str]]:
    """Which fields of each person are shown on an offer's page."""
    lists = re.findall(r'<ul class="needs">(.*?)</ul>', page, re.DOTALL)
    return [
        {WORDS.get(word, "age_band") for word in re.findall(r"<li>(.*?)</li>", one) if word != NO_NEEDS}
        for one in lists
    ]


def people_on(page: str) -> list[set[str]]:
    """Which fields of each person are shown there. Raises KeyError for a heading that nobody knows."""
    sections = re.findall(r'<section class="panel">(.*?)</section>', page, re.DOTALL)
    return [{HEADINGS[html.unescape(one)] for one in re.findall(r"<dt>(.*?)</dt>", section)} for section in sections]


def read_mail(content: bytes) -> str:
    """All that somebody reads of a mail: its head, and every part of it, however it was packed."""
    mail = email.message_from_bytes(content, policy=email.policy.default)
    parts = [one.get_payload(decode=True) or b"" for one in mail.walk() if not one.is_multipart()]
    return "\n".join(
        [*(f"{name}: {value}" for name, value in mail.items()), *(one.decode(errors="replace") for one in parts)]
    )
