"""What the property's judge reads out of a page, a mail, an answer: whatever it did not find there it would never judge."""

from __future__ import annotations

from email.message import EmailMessage

import httpx
import pytest

from services.intake.cases.fields import PACKET_FIELDS
from spean.web.labels import FIELDS
from tests.integration import surfaces


@pytest.mark.parametrize("packed", ["7bit", "quoted-printable", "base64"])
def test_a_mail_is_read_however_it_is_packed(packed: str) -> None:
    mail = EmailMessage()
    mail["Subject"] = "សួស្តី zq100001qname"
    mail.set_content("zq100001qphone\n", cte=packed)
    mail.add_alternative("<p>zq100001qaccount</p>", subtype="html", cte=packed)
    read = surfaces.read_mail(mail.as_bytes())
    assert all(f"zq100001q{name}" in read for name in ("name", "phone", "account"))


def test_a_code_is_found_wherever_it_stands_but_in_what_a_house_says_of_itself() -> None:
    told = {"rows": [{"who": {"sex": "female", "needs": None}}], "eligibility": {"languages": ["khm"]}}
    assert surfaces.codes_in(httpx.Response(200, json=told)) == {"sex"}
    assert surfaces.codes_in(httpx.Response(200, text="female")) == set()


def test_every_heading_of_a_packets_page_is_known() -> None:
    assert {FIELDS[name]: name for name in PACKET_FIELDS} == surfaces.HEADINGS
    page = '<section class="panel"><dt>Name</dt><dd>X</dd></section><section class="panel"><p>Nothing</p></section>'
    assert surfaces.people_on(page) == [{"name"}, set()]


def test_an_offers_page_is_read_person_by_person() -> None:
    page = '<ul class="needs">\n<li>18–59 years</li>\n<li>female</li></ul><ul class="needs"><li>no special needs written down</li></ul>'
    assert surfaces.needs_on(page) == [{"age_band", "sex"}, set()]
