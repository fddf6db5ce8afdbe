"""The release before `referral.held.v2`: this tree, copied, without that version. It is real code: it says version 1, and
what says version 2 it cannot read."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.faults.cluster import ROOT

_CODE = ("schemas", "spean", "services", "tests")
# What the release that added the version has added, or what uses it since: file, text, what stood there before.
_ADDED = (
    ("schemas/registry.py", '    "referral.held.v2": (e.ReferralHeldV2, REFERRALS),\n', ""),
    (
        "schemas/versions.py",
        "    Step(e.ReferralHeldV1, e.ReferralHeldV2, up=_who_is_waited_for, down=_held_without_saying_for_whom),\n", "",
    ),
    (
        "services/referral/referrals/decisions.py",
        "e.ReferralHeldV2(reason=reason, waits_for=waits_for)", "e.ReferralHeldV1(reason=reason)",
    ),
    ("services/intake/handoffs/domain.py", "referral.held.v2", "referral.held.v1"),
    ("services/notify/dashboards/handlers.py", "referral.held.v2", "referral.held.v1"),
    ("services/notify/dashboards/handlers.py", "said.waits_for, event.time", "None, event.time"),
)  # fmt: skip


def older_tree(folder: Path) -> Path:
    """Make it in `folder` and return that. Raises AssertionError where this tree is not what it was."""
    for name in _CODE:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, added, before in _ADDED:
        text = (folder / name).read_text(encoding="utf-8")
        assert text.count(added) == 1, f"{name} has another version by now: say here how it was before"
        (folder / name).write_text(text.replace(added, before), encoding="utf-8")
    return folder
