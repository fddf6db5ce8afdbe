"""What was ended stays ended: rules and bases, by their ids, in the key store as well as in the holder's database. Neither is
ever edited or begun again, so an id that is kept there only ever shuts.

An ending waits for nobody. It is in the key store before it commits in the holder's database; where the key store is
silent, the clock writes it there once it answers.
"""

from __future__ import annotations

import logging
from uuid import UUID

from services.intake.keystore.store import AGAIN, KeyStore, Silent
from spean.clock import clear_due, set_due
from spean.db import Database, Tx

log = logging.getLogger(__name__)
# Kind of due row: an ending that the key store has not been told of. Its subject is the rule or the basis.
KEEP = "ending-keep"


async def remember(tx: Tx, keys: KeyStore, id_: UUID) -> None:
    """A rule or a basis is over in this transaction. Where that fails after all, it is over at the next start: shut too much,
    never too little."""
    if not await _kept(keys, id_):
        await set_due(tx, KEEP, id_, tx.now)


async def keep(db: Database, keys: KeyStore, id_: UUID) -> None:
    """The clock: an ending is not in the key store yet."""
    kept = await _kept(keys, id_)
    async with db.transaction("ending.kept") as tx:
        if kept:
            await clear_due(tx, KEEP, id_)
        else:
            await set_due(tx, KEEP, id_, tx.now + AGAIN)


async def _kept(keys: KeyStore, id_: UUID) -> bool:
    try:
        await keys.write_ended(id_)
    except Silent:
        log.warning("the key store is silent: an ending that it is to keep is not there yet")
        return False
    return True
