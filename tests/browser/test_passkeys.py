"""Passkeys in Chromium, with its virtual authenticator: added, signed in with, removed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, CDPSession, Page, expect

from router.operations import audit_log
from router.operations.backing import Backing
from router.profile import Profiles
from router.repository.database import Database
from router.settings import Settings
from tests.servers.ports import free_port
from tests.support.browser import NARROW, WIDE, browsing, check_accessible, shown
from tests.support.pages import ServedConsole, serving


@pytest_asyncio.fixture(loop_scope="session")
async def named(opened: Database, tmp_path: Path) -> AsyncIterator[ServedConsole]:
    """A console that knows its own address."""
    port = free_port()
    settings = Settings(profiles=tmp_path, console_url=f"http://localhost:{port}")
    async with serving(opened, backing=Backing(lambda: Profiles((), ()), settings), port=port) as served:
        yield served


class Device:
    """Chromium's virtual authenticator, which is in one page."""

    def __init__(self, session: CDPSession, authenticator: str) -> None:
        self._session = session
        self._authenticator = {"authenticatorId": authenticator}

    @classmethod
    async def plugged_into(cls, page: Page) -> "Device":
        session = await page.context.new_cdp_session(page)
        await session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        added = await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        return cls(session, added["authenticatorId"])

    async def verify(self, does: bool) -> None:
        """Whether it recognizes the person from now on."""
        await self._session.send("WebAuthn.setUserVerified", {**self._authenticator, "isUserVerified": does})

    async def count(self, used: int) -> None:
        """Count from here on, as a copy that was made earlier does, or one that was used elsewhere meanwhile."""
        found = await self._session.send("WebAuthn.getCredentials", self._authenticator)
        for one in found["credentials"]:
            await self._session.send(
                "WebAuthn.removeCredential", {**self._authenticator, "credentialId": one["credentialId"]}
            )
            await self._session.send(
                "WebAuthn.addCredential", {**self._authenticator, "credential": {**one, "signCount": used}}
            )


async def sign_out(page: Page) -> None:
    await page.get_by_text("ann", exact=True).first.click()
    await page.get_by_role("button", name="Sign out").click()


async def test_a_passkey_is_added_and_signs_in(chromium: Browser, named: ServedConsole) -> None:
    await named.add("ann")
    async with browsing(chromium, named) as browse:
        page = await browse(as_="ann")
        device = await Device.plugged_into(page)
        await page.goto("/account")
        await check_accessible(page)
        await page.get_by_label("Name it").fill("Laptop")
        await device.verify(False)
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_role("alert").filter(has_text="gave no passkey")).to_be_visible()
        await device.verify(True)
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_text("The passkey is there")).to_be_visible()
        await expect(page.get_by_role("rowheader", name="Laptop")).to_be_visible()
        await check_accessible(page)
        await page.get_by_label("Name it").fill("Laptop again")
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_role("alert").filter(has_text="has a passkey for you already")).to_be_visible()
        await sign_out(page)
        await check_accessible(page)
        await page.goto("/sign-in?to=/account")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        await expect(page.get_by_text("by a passkey")).to_be_visible()
        await shown(page, "account-passkey-wide-light")
        await sign_out(page)
        # A copy that was made of it counts from before.
        await device.count(0)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("alert").filter(has_text="there may be a copy of it")).to_be_visible()
        await check_accessible(page)
        await device.count(100)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page).to_have_url(f"{named.origin}/well")
        await page.goto("/account")
        await page.get_by_role("button", name="Remove the passkey Laptop").click()
        await expect(page.get_by_text("The passkey is removed here")).to_be_visible()
        await sign_out(page)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("alert").filter(has_text="not good here")).to_be_visible()
        done = [one.action for one in await audit_log.list_before(named.database)][::-1]
        assert [one for one in done if "passkey" in one or "sign" in one][-7:] == [
            "signed-in", "signed-out", "sign-in-refused", "signed-in", "passkey-removed", "signed-out",
            "sign-in-refused",
        ]  # fmt: skip


async def test_without_javascript_or_at_another_address_there_is_a_way(
    chromium: Browser, named: ServedConsole, console: ServedConsole
) -> None:
    await named.add("ann")
    async with browsing(chromium, named) as browse:
        page = await browse(as_="ann", java_script_enabled=False)
        await page.goto("/account")
        await page.get_by_label("Name it").fill("Laptop")
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_role("alert")).to_have_text("Passkeys take JavaScript, and a browser that knows them.")
        page = await browse(java_script_enabled=False)
        await page.goto("/sign-in")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("alert")).to_have_text("Passkeys take JavaScript, and a browser that knows them.")
        await expect(page.get_by_label("Password")).to_be_visible()
    async with browsing(chromium, console) as browse:  # whose address is another one, by its settings
        page = await browse(as_="ann")
        await page.goto("/account")
        await expect(page.get_by_role("link", name="http://localhost:8025")).to_be_visible()
        await check_accessible(page)
        page = await browse()
        await page.goto("/sign-in")
        await expect(page.get_by_role("button", name="Sign in with a passkey")).to_have_count(0)


async def test_on_a_phone_and_in_the_dark(chromium: Browser, named: ServedConsole) -> None:
    await named.add("ann")
    async with browsing(chromium, named) as browse:
        for size, viewport in (("wide", WIDE), ("narrow", NARROW)):
            for scheme in ("light", "dark"):
                page = await browse(as_="ann", viewport=viewport, color_scheme=scheme)
                await Device.plugged_into(page)
                await page.goto("/account")
                await page.get_by_label("Name it").fill(f"{size} and {scheme}")
                await page.get_by_role("button", name="Add a passkey").click()
                await expect(page.get_by_text("The passkey is there")).to_be_visible()
                await check_accessible(page)
                await shown(page, f"account-{size}-{scheme}")
                page = await browse(viewport=viewport, color_scheme=scheme)
                await page.goto("/sign-in")
                await check_accessible(page)
                await shown(page, f"sign-in-{size}-{scheme}")
