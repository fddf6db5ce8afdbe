"""What pages are built from: form tokens, forms, where a visitor may be led."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.vocabulary import DeclineReason
from services.referral.referrals.api import Arrival, Decline
from spean.problem import Refusal
from spean.web import csrf, forms
from spean.web.forms import Incomplete
from spean.web.pages import local
from spean.web.static import assets

SECRET = b"s" * 32


def test_a_token_is_one_sessions_and_another_each_time() -> None:
    one, other = csrf.token(SECRET, "a"), csrf.token(SECRET, "a")
    assert one != other
    assert csrf.fits(SECRET, "a", one)
    assert csrf.fits(SECRET, "a", other)
    assert not csrf.fits(SECRET, "b", one)
    assert not csrf.fits(b"t" * 32, "a", one)


@given(st.text(max_size=200))
def test_nothing_else_is_a_token(given_: str) -> None:
    assert not csrf.fits(SECRET, "a", given_)


@pytest.mark.parametrize(
    "path", ["/intake/pages/entries/new", "/referral/pages/inbox?done=accepted", "/notify/pages", "/referral/pages"]
)
def test_a_page_of_ours_may_be_led_to(path: str) -> None:
    assert local(path) == path


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "https://evil.example/referral/pages/x", "/referral/pages/../../x", "/referral/offers",
     "/referral/pages\\@evil.example", "/referral/pages/x#y", "/referral/pages//evil.example/..", "javascript:alert(1)",
     "/other/pages/x", "", None, "/referral/pages/x\n"],
)  # fmt: skip
def test_nowhere_else(path: str | None) -> None:
    assert local(path) is None


def test_what_was_typed_is_read_or_said_to_be_wrong() -> None:
    form = forms.parsed(b"reason=no_capacity&csrf=x&key=y&note=a%0D%0Ab&note=")
    assert forms.read(Decline, {"reason": form.some("reason")}).reason is DeclineReason.NO_CAPACITY
    assert form.all("note") == ["a\nb"]
    assert form.kept() == [("reason", "no_capacity"), ("note", "a\nb"), ("note", "")]
    with pytest.raises(Incomplete) as missing:
        forms.read(Decline, {"reason": form.some("nothing")})
    assert missing.value.errors == {"reason": forms.SAID["missing"]}
    with pytest.raises(Incomplete) as wrong:
        forms.read(Arrival, {"code": "12 x"})
    assert list(wrong.value.errors) == ["code"]


@pytest.mark.parametrize(
    "body", [b"a=%00", b"a=%ff", "a=é".encode(), b"&".join(b"a=1" for _ in range(501))],
    ids=["NUL", "not UTF-8", "not ASCII", "too many"],
)  # fmt: skip
def test_a_form_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        forms.parsed(body)
    assert refused.value.code == "unreadable"


def test_files_are_named_by_what_is_in_them() -> None:
    css = assets()["app.css"]
    assert css.address == f"/static/{css.digest}/app.css"
    assert css.packed is not None
    assert len(css.packed) <= 10_000  # brotli, bytes: the budget for all of the style
    font = assets()["noto-sans-khmer.woff2"]
    assert font.address.encode() in assets()["font-km.css"].body
