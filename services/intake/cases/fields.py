"""Which fields a person's record may have, and the data category that each belongs to.

The one table: bodies, the gate and need-to-know rules all use these names. `placement` fields are about the receiver's
side and are filled by the hand-off, not by the sender.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from schemas.vocabulary import DataCategory

_C = DataCategory
CATEGORY_OF: Mapping[str, DataCategory] = MappingProxyType(
    {
        "age_band": _C.FUNCTIONAL_NEEDS,
        "sex": _C.FUNCTIONAL_NEEDS,
        "needs": _C.FUNCTIONAL_NEEDS,
        "languages": _C.FUNCTIONAL_NEEDS,
        "safety_notes": _C.SAFETY,
        "name": _C.IDENTITY,
        "age_years": _C.IDENTITY,
        "citizenship": _C.IDENTITY,
        "phone": _C.CONTACT,
        "contact_notes": _C.CONTACT,
        "family_notes": _C.FAMILY,
        "health_notes": _C.HEALTH,
        "account": _C.ACCOUNT,
        "exploitation": _C.ACCOUNT,
        "means_of_control": _C.ACCOUNT,
        "recruiter_notes": _C.ALLEGED_OFFENDER,
        "legal_notes": _C.LEGAL_STATUS,
        "documents": _C.DOCUMENTS_PHOTO,
        "receiver": _C.PLACEMENT,
        "arrival": _C.PLACEMENT,
        "address": _C.PLACEMENT,
    }
)
# Fixed coarse bands are all that an offer may show (privacy: stages).
OFFER_FIELDS = ("age_band", "sex", "needs", "languages")
PACKET_FIELDS = tuple(name for name, category in CATEGORY_OF.items() if category is not _C.PLACEMENT)
PLACEMENT_FIELDS = tuple(name for name, category in CATEGORY_OF.items() if category is _C.PLACEMENT)
