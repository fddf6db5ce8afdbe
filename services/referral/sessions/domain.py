"""Signing in as rules: what a password must be, how long a session lives, how long somebody waits after wrong tries."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from spean.comparable import comparable
from spean.problem import Refusal

# A worker who talks with somebody for half an hour finds the page still open; a phone that is left behind does not stay
# open for long (a page that moves by itself keeps it open: an inbox that signs itself out misses the night's request).
# What was typed is a draft on the server, so an ended session loses nothing. No shift is longer than 12 h.
IDLE = timedelta(minutes=30)
ABSOLUTE = timedelta(hours=12)
# A page writes down that its session is in use; more often than this would be a write for every page.
SEEN_EVERY = timedelta(minutes=1)
# Between two steps: to find the phone, or to touch the key.
STEP_FOR = timedelta(minutes=5)
CODE_TRIES = 5
# Challenges are given to anybody; beyond so many the oldest go.
CHALLENGES_MOST = 10_000

PASSWORD = range(12, 257)  # characters after NFC
# RFC 6238: 30 s a step; one step to either side, for a clock that is a little wrong.
TIME_STEP_S = 30
STEPS_ASIDE = (-1, 0, 1)
# Fewer different characters than this, and it is one key held down.
_DIFFERENT_LEAST = 5
# What of the usual lists is long enough for us, as it is compared: casefolded, letters and digits only.
_LISTED = """
password1234 password12345 password123456 passwordpassword passw0rd1234 mypassword123 changeme1234 changemechangeme
changeme12345 welcome12345 welcome123456 letmeinletmein letmein12345 administrator administrator1 administrator123
admin1234567 adminadmin12 adminadminadmin qwertyuiop12 qwertyuiop123 qwertyuiop1234567890 qwertyqwerty qwerty123456
qwertyuiopasdfgh qwertyuiopasdfghjkl asdfghjkl123 asdfghjkl1234 zxcvbnmasdfghjkl 1q2w3e4r5t6y 1q2w3e4r5t6y7u8i
1qaz2wsx3edc 1qaz2wsx3edc4rfv qazwsxedcrfv zaq12wsxcde3 123456789012 1234567890123 12345678901234 123456789012345
1234567890123456 12345678901234567890 123456123456 123123123123 012345678901 0123456789012 987654321098 abcdefghijkl
abcdefghijklm abcdefghijklmnop abcdefghijklmnopqrstuvwxyz abcd12345678 abc123456789 abcdefg12345 iloveyou1234
iloveyouiloveyou iloveyouforever ihateyou1234 trustno1trustno1 sunshine1234 princess1234 football1234 monkeymonkey
dragondragon superman1234 starwars1234 whatever1234 internet1234 computer1234 secretsecret secret123456 test12345678
testtesttest default12345 correcthorsebatterystaple thisismypassword thequickbrownfox spean1234567 speanspeanspean
referral1234 cambodia1234 phnompenh1234 thailand1234 vietnam12345 myanmar12345 mekong123456
"""
_COMMON = frozenset(_LISTED.split())


@dataclass(frozen=True, slots=True)
class Limit:
    """So many tries are free; then each wrong one doubles the wait, from 1 s up to `most`; a pause of `forget` ends it."""

    free: int
    most: timedelta
    forget: timedelta

    def wait(self, failures: int) -> timedelta:
        """How long nothing is tried after that many failures in a row."""
        over = failures - self.free
        return timedelta(0) if over <= 0 else min(timedelta(seconds=2 ** min(over - 1, 20)), self.most)


_DAY, _QUARTER = timedelta(days=1), timedelta(minutes=15)
# `pair`: one name from one address. `name`: one name from everywhere; its wait stays short, because any stranger can cause
# it. `device`: a browser in which this person has signed in before, which is asked instead of these two and `address`, so
# a stranger's tries delay nobody there. `code`: the second step of one person, which only who knows the password can try.
# `ask`: lost factors reported from one address.
LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "pair": Limit(5, _QUARTER, _DAY),
        "name": Limit(20, timedelta(minutes=1), _DAY),
        "address": Limit(50, _QUARTER, timedelta(hours=1)),
        "device": Limit(5, _QUARTER, _DAY),
        "code": Limit(5, timedelta(hours=1), _DAY),
        "ask": Limit(5, _DAY, _DAY),
    }
)


class TooManyTries(Refusal):
    """Nothing is tried for this name, from here, for `wait` (problem `too-many-tries`)."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__("too-many-tries")
        self.wait = wait


def worth_noting(failures: int) -> bool:
    """Is this number of failures a line in the history? Each doubling from five: a stranger's thousand tries are eight
    lines."""
    return failures >= 5 and failures % 5 == 0 and (failures // 5).bit_count() == 1


def normal_password(typed: str) -> str:
    """A password as it is hashed and verified: NFC, nothing cut off. Raises ValueError for half of a surrogate pair."""
    password = unicodedata.normalize("NFC", typed)
    password.encode()
    return password


def new_password(typed: str, sign_in_name: str) -> str:
    """The password as it is hashed. Raises Refusal `password`; its rule says why: `too-short`, `too-long`, `common`,
    `has-name`."""
    try:
        password = normal_password(typed)
    except ValueError:
        raise Refusal("password", rule="common") from None
    if len(password) not in PASSWORD:
        raise Refusal("password", rule="too-short" if len(password) < PASSWORD.start else "too-long")
    folded = comparable(password)
    letters = "".join(one for one in folded if one.isalnum())
    if letters in _COMMON or len(set(folded)) < _DIFFERENT_LEAST:
        raise Refusal("password", rule="common")
    if sign_in_name in folded:
        raise Refusal("password", rule="has-name")
    return password


def time_step(now: datetime) -> int:
    """The RFC 6238 time step at `now`."""
    return int(now.timestamp()) // TIME_STEP_S


def plain_code(typed: str) -> str:
    """A code as it is compared: digits of any script, without the spaces that people put in. Empty for anything else."""
    digits = "".join(typed.split())
    if len(digits) != 6 or not all(one.isdecimal() for one in digits):
        return ""
    return "".join(str(unicodedata.decimal(one)) for one in digits)
