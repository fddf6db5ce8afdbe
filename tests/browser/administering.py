"""What the tests of the administrator's pages share."""

from __future__ import annotations

from typing import Any

from schemas.rights import StaffRole
from tests.browser.visiting import Screen, Walker
from tests.builders import World

ADMIN, ADMINISTRATOR = "/referral/pages/admin", StaffRole.ADMINISTRATOR
SCRIPT = '<script>alert("x")</script>'


async def rows(world: World, query: str, *values: Any) -> list[dict[str, Any]]:
    async with world.made.services["referral"].db.transaction("test") as tx:
        return [dict(row) for row in await tx.conn.fetch(query, *values)]


def id_of(screen: Screen) -> str:
    return screen.path.split("/")[5]


async def register(administrator: Walker, **other: str | list[str]) -> Screen:
    page = await administrator.get(f"{ADMIN}/organisations/new")
    return await administrator.send(
        page.form("/new"), **{"name": "Teak House", "type": "shelter", "country": "KH", **other}
    )
