"""Signing in by a provider, in a browser: there, back, and out again."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from router.operations.backing import Backing
from router.profile import Profiles
from router.repository.database import Database
from tests.servers.authorization import AuthorizationServer
from tests.servers.ports import free_port
from tests.support.browser import NARROW, browsing, check_accessible, shown
from tests.support.pages import ServedConsole, serving
from tests.support.signing_in import USER, running_provider, settings_of


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[AuthorizationServer]:
    with running_provider(tmp_path) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def signing(provider: AuthorizationServer, opened: Database, tmp_path: Path) -> AsyncIterator[ServedConsole]:
    """A console that signs people in there."""
    port = free_port()
    backing = Backing(lambda: Profiles((), ()), settings_of(provider, tmp_path, port))
    async with serving(opened, backing=backing, port=port) as served:
        yield served


async def test_one_signs_in_by_a_provider_and_out_again(chromium: Browser, signing: ServedConsole) -> None:
    await signing.add(USER)
    async with browsing(chromium, signing) as browse:
        page = await browse()
        await page.goto("/account")
        await check_accessible(page)
        await shown(page, "sign-in-provider-wide-light")
        await page.get_by_role("link", name="Sign in with Office").click()
        await page.get_by_label("Mailbox").fill("nobody@in.test")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("alert")).to_contain_text("nobody@in.test, who has no account here")
        await check_accessible(page)
        await page.get_by_role("link", name="Sign in with Office").click()
        await page.get_by_label("Mailbox").fill(USER)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("heading", name="Your account")).to_be_visible()
        assert page.url == f"{signing.origin}/account"
        await expect(page.get_by_text("by Office")).to_be_visible()
        await check_accessible(page)
        names = {one["name"] for one in await page.context.cookies() if one["domain"] == "localhost"}
        assert names == {"__Host-email-router", "__Host-email-router-device", "__Host-email-router-zone"}
        # What lies in the history brings nobody in again.
        await page.get_by_text(USER, exact=True).first.click()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="You have signed out")).to_be_visible()
        await check_accessible(page)
        await page.get_by_role("link", name="Sign out of Office").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.url == f"{signing.origin}/sign-in"


async def test_in_the_dark_and_on_a_phone(
    chromium: Browser, signing: ServedConsole, provider: AuthorizationServer
) -> None:
    async with browsing(chromium, signing) as browse:
        page = await browse(viewport=NARROW, color_scheme="dark")
        await page.goto("/sign-in?to=/queue")
        await check_accessible(page)
        await shown(page, "sign-in-provider-narrow-dark")
        provider.stop()
        await page.keyboard.press("Tab")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert")).to_contain_text("Office does not answer now")
        await check_accessible(page)
        await shown(page, "sign-in-provider-away-narrow-dark")
