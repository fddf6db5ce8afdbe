"""What the administrator's pages have in common: who may, and how long a list may be."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from services.referral.partners.api import SCOPE
from spean.web.pages import At, Sent, at_with, sent_with

ROOM = "referral/admin"
# More than a list on a page is good for; whoever has more searches.
ORGANISATIONS_MOST = 10_000
Administrator = Annotated[At, Depends(at_with(SCOPE))]
AdministratorSent = Annotated[Sent, Depends(sent_with(SCOPE))]
