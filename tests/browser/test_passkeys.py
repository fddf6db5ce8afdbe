"""Passkeys in a real browser, with its own virtual authenticator: set up from an invite, sign in, add, remove."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from playwright.async_api import Browser, CDPSession, Page, expect

from schemas.rights import StaffRole
from services.referral.sessions import store
from tests.browser.visiting import at_browser
from tests.builders import World
from tests.integration.staff import PASSWORD, Member, desk_of, hired, invited, member

pytestmark = pytest.mark.browser
SIGN_IN, ACCOUNT = "/referral/pages/sign-in", "/referral/pages/account"


def at_home(world: World) -> str:
    """The address at which browsers have passkeys: a name, not a number."""
    return desk_of(world.made).origins[0]


@asynccontextmanager
async def with_device(world: World, browser: Browser, **device: Any) -> AsyncIterator[tuple[Page, CDPSession, str]]:
    """A page of a browser whose device keeps passkeys and knows its owner."""
    async with at_browser(browser, world.made, None) as page:
        cdp = await page.context.new_cdp_session(page)
        await cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True, **device,
        }  # fmt: skip
        made = await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        yield page, cdp, made["authenticatorId"]


async def set_up(world: World, page: Page) -> Member:
    """From an invite, with a passkey alone."""
    person = await hired(world.made, world.sender.id, StaffRole.RECEIVER)
    opener = await invited(world.made, person)
    await page.goto(f"{at_home(world)}/referral/pages/set-up/{opener}")
    await page.get_by_role("button", name="Set up a passkey").click()
    await page.wait_for_url("**/referral/pages/inbox")
    return Member(desk_of(world.made), person)


async def test_an_invite_becomes_a_passkey_that_signs_in_alone(world: World, browser: Browser) -> None:
    async with with_device(world, browser) as (page, cdp, device):
        who = await set_up(world, page)
        (kept,) = (await cdp.send("WebAuthn.getCredentials", {"authenticatorId": device}))["credentials"]
        assert kept["rpId"] == "localhost"
        assert kept["isResidentCredential"]
        cookies = {one["name"]: one for one in await page.context.cookies(at_home(world))}
        session = cookies["__Host-spean"]
        assert (session["httpOnly"], session["secure"], session["sameSite"]) == (True, True, "Lax")
        await page.goto(f"{at_home(world)}{ACCOUNT}")
        await page.get_by_role("button", name="Sign out", exact=True).click()
        await expect(page.get_by_role("heading", name="You are signed out")).to_be_visible()
        await page.goto(f"{at_home(world)}/referral/pages/arrivals")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await page.wait_for_url("**/referral/pages/arrivals")
        async with who.desk.db.transaction("test") as tx:
            (passkey,) = await store.passkeys(tx, who.id)
        assert passkey.used_at is not None
        assert passkey.sign_count > 0


async def test_a_device_that_does_not_check_its_owner_signs_nobody_in(world: World, browser: Browser) -> None:
    async with with_device(world, browser) as (page, cdp, device):
        await set_up(world, page)
        await page.goto("about:blank")  # a page that is open would go to the sign-in by itself
        await page.context.clear_cookies()
        await cdp.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": False})
        await page.goto(at_home(world) + SIGN_IN)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.locator("form[data-passkey] [role=alert]")).to_have_text(
            "That did not work. Try again, or use another way."
        )
        await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_enabled()
        await cdp.send("WebAuthn.setUserVerified", {"authenticatorId": device, "isUserVerified": True})
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await page.wait_for_url("**/referral/pages/inbox")


async def test_a_passkey_is_added_beside_a_password_and_removed(world: World, browser: Browser) -> None:
    who = await member(world.made, world.sender.id, StaffRole.RECEIVER)
    await who.forget_codes()
    async with with_device(world, browser) as (page, cdp, device):
        await page.goto(at_home(world) + SIGN_IN)
        await page.get_by_label("Sign-in name").fill(who.person.sign_in_name)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Go on").click()
        await page.get_by_label("Code").fill(who.code())
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url("**/referral/pages/inbox")
        await page.goto(at_home(world) + ACCOUNT)
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_text("The passkey is added.")).to_be_visible()
        assert len((await cdp.send("WebAuthn.getCredentials", {"authenticatorId": device}))["credentials"]) == 1
        await page.get_by_role("button", name="Remove this passkey").click()
        await expect(page.get_by_text("The passkey is removed.")).to_be_visible()


async def test_a_passkey_that_was_removed_is_refused_in_words(world: World, browser: Browser) -> None:
    async with with_device(world, browser) as (page, _, _device):
        who = await set_up(world, page)
        await page.goto("about:blank")  # a page that is open would go to the sign-in by itself
        await page.context.clear_cookies()
        async with who.desk.db.transaction("test") as tx:
            await store.drop_factors(tx, who.id)
        await page.goto(at_home(world) + SIGN_IN)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.locator("form[data-passkey] [role=alert]")).to_have_text(
            "The passkey was not accepted. Try again, or sign in another way."
        )


async def test_where_there_are_no_passkeys_the_page_says_where_there_are(world: World, browser: Browser) -> None:
    async with at_browser(browser, world.made, None) as page:
        await page.goto(world.made.url + SIGN_IN)  # an address that is a number
        await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
        await expect(page.get_by_text("Passkeys work at this address only:")).to_be_visible()
        await expect(page.get_by_label("Password")).to_be_visible()
    async with at_browser(browser, world.made, None, javascript=False) as page:
        await page.goto(at_home(world) + SIGN_IN)
        await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
        await expect(page.get_by_role("button", name="Go on")).to_be_visible()
