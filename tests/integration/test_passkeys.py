"""Passkeys, on the database: whose is good for what, once; and what a browser may say in vain."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from router.model.viewer import Grant, StaffRole
from router.operations import audit_log, passkeys, people, sign_in
from router.operations.backing import Refused
from router.operations.passkeys import Site, site_of
from router.operations.sign_in import Barred, Client, SignedIn
from router.repository.database import Database
from router.settings import Settings
from tests.support.authenticator import PRESENT, VERIFIED, Authenticator
from tests.support.crm import Crm

SITE = Site("localhost", "http://localhost:8025")
HERE = Client("192.0.2.7", "Firefox on Linux")


@pytest.fixture
async def opened(database: str) -> AsyncIterator[Database]:
    async with Database(database, connections=4) as shared:
        yield shared


async def signed_in(database: Database, name: str) -> SignedIn:
    """Add a person who is signed in."""
    secret = await people.add(database, name, [Grant(StaffRole.ADMINISTER)])
    person_id, _ = await people.use_link(database, secret, "", None, None)
    session, _ = await sign_in.begin(database, person_id, name, HERE)
    found = await sign_in.recognize(database, session, None)
    assert found is not None
    return found


async def with_passkey(database: Database, who: SignedIn, name: str = "Laptop") -> Authenticator:
    """Add a passkey."""
    authenticator = Authenticator(SITE.origin)
    options = await passkeys.begin_to_add(database, SITE, who)
    await passkeys.add(database, SITE, who, name, authenticator.create(options), HERE)
    return authenticator


async def come_in(database: Database, authenticator: Authenticator, **changes: Any) -> str:
    """Sign in; returns whose session it is."""
    options = await passkeys.begin(database, SITE, HERE)
    session, _ = await passkeys.finish(database, SITE, authenticator.get(options, **changes), HERE)
    found = await sign_in.recognize(database, session, None)
    assert found is not None
    assert found.way == "passkey"
    return found.viewer.name


async def actions(database: Database) -> list[str]:
    return [one.action for one in await audit_log.list_before(database)][::-1]


async def test_a_passkey_is_added_used_and_removed(opened: Database) -> None:
    ann, ben = await signed_in(opened, "ann"), await signed_in(opened, "ben")
    laptop, key = await with_passkey(opened, ann), await with_passkey(opened, ann, "  a  key \n")
    bens = await with_passkey(opened, ben, "")
    assert [await come_in(opened, one) for one in (laptop, bens, key, laptop)] == ["ann", "ben", "ann", "ann"]
    mine = (await passkeys.list_mine(opened, ann)).passkeys
    assert [one.name for one in mine] == ["Laptop", "a key"]
    assert all(one.used_at for one in mine)
    # Nobody removes another's.
    assert not await passkeys.remove(opened, ben, mine[0].number, HERE)
    assert await passkeys.remove(opened, ann, mine[0].number, HERE)
    with pytest.raises(Refused, match="not good here"):
        await come_in(opened, laptop)
    assert await come_in(opened, key) == "ann"
    done = await actions(opened)
    assert done.count("passkey-added") == 3
    assert done.count("passkey-removed") == 1
    assert done[-2:] == ["sign-in-refused", "signed-in"]


async def test_an_old_session_adds_none(crm: Crm, opened: Database) -> None:
    ann = await signed_in(opened, "ann")
    session, _ = await sign_in.begin(opened, ann.viewer.id, "ann", HERE)
    await crm.admin.execute("UPDATE router.person_session SET made_at = now() - interval '31 minutes'")
    old = await sign_in.recognize(opened, session, None)
    assert old is not None
    with pytest.raises(Refused, match="sign out and in again"):
        await passkeys.begin_to_add(opened, SITE, old)


async def test_an_administrator_removes_all_by_a_reset(opened: Database) -> None:
    laptop = await with_passkey(opened, await signed_in(opened, "ann"))
    assert next(one.person.passkeys for one in await people.list_all(opened)) == 1
    await people.reset(opened, "ann")
    with pytest.raises(Refused, match="not good here"):
        await come_in(opened, laptop)


async def test_who_is_disabled_stays_outside(opened: Database) -> None:
    await signed_in(opened, "root")
    laptop = await with_passkey(opened, await signed_in(opened, "ann"))
    await people.disable(opened, "ann")
    with pytest.raises(Refused, match="is disabled"):
        await come_in(opened, laptop)


async def test_whose_role_follows_groups_signs_in_at_the_provider(crm: Crm, opened: Database) -> None:
    ann = await signed_in(opened, "ann")
    laptop = await with_passkey(opened, ann)
    options = await passkeys.begin_to_add(opened, SITE, ann)
    await crm.admin.execute("UPDATE router.person SET follows_groups = true")
    with pytest.raises(Refused, match="sign in there"):
        await come_in(opened, laptop)
    with pytest.raises(Refused, match="groups"):
        await passkeys.begin_to_add(opened, SITE, ann)
    with pytest.raises(Refused, match="no more"):
        await passkeys.add(opened, SITE, ann, "", Authenticator(SITE.origin).create(options), HERE)


async def test_a_copy_is_known_by_its_count_and_stays_outside(opened: Database) -> None:
    laptop = await with_passkey(opened, await signed_in(opened, "ann"))
    laptop.count = 7
    assert await come_in(opened, laptop) == "ann"
    for count in (6, 7, -1):
        laptop.count = count
        with capture_logs() as logs, pytest.raises(Refused, match="there may be a copy"):
            await come_in(opened, laptop)
        assert logs[-1]["event"] == "a passkey may have been copied"
    assert (await actions(opened))[-1] == "sign-in-refused"
    laptop.count = 8
    assert await come_in(opened, laptop) == "ann"
    # Many authenticators do not count.
    phone = await with_passkey(opened, await signed_in(opened, "ben"))
    for _ in range(2):
        phone.count = -1
        assert await come_in(opened, phone) == "ben"


async def test_what_was_signed_is_good_once_and_for_minutes(crm: Crm, opened: Database) -> None:
    ann = await signed_in(opened, "ann")
    laptop = await with_passkey(opened, ann)
    signed = laptop.get(await passkeys.begin(opened, SITE, HERE))
    await passkeys.finish(opened, SITE, signed, HERE)
    with pytest.raises(Refused, match="done already"):
        await passkeys.finish(opened, SITE, signed, HERE)
    signed = laptop.get(await passkeys.begin(opened, SITE, HERE))
    await crm.admin.execute("UPDATE router.passkey_challenge SET made_at = now() - interval '5 minutes 1 second'")
    with pytest.raises(Refused, match="more than five minutes"):
        await passkeys.finish(opened, SITE, signed, HERE)
    # Old ones go by themselves.
    await passkeys.begin(opened, SITE, HERE)
    assert await crm.admin.fetchval("SELECT count(*) FROM router.passkey_challenge") == 1
    # What one was asked to add is not what signs another in, nor is it another person's.
    options = await passkeys.begin_to_add(opened, SITE, ann)
    with pytest.raises(Refused, match="done already"):
        await passkeys.finish(opened, SITE, laptop.get(options), HERE)
    ben = await signed_in(opened, "ben")
    with pytest.raises(Refused, match="done already"):
        await passkeys.add(opened, SITE, ben, "", Authenticator(SITE.origin).create(options), HERE)
    own = await passkeys.begin(opened, SITE, HERE)
    with pytest.raises(Refused, match="done already"):
        await passkeys.finish(opened, SITE, laptop.get(own, challenge="AAAA"), HERE)


def _set(**values: Any) -> Callable[[Authenticator], None]:
    def change(authenticator: Authenticator) -> None:
        for name, value in values.items():
            setattr(authenticator, name, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set(origin="http://localhost:8026"),
        _set(origin="https://localhost:8025"),
        _set(origin="http://localhost.evil.example:8025"),
        _set(host="evil.example"),
        _set(flags=PRESENT),
        _set(flags=VERIFIED),
    ],
    ids=["port", "scheme", "site", "host", "not verified", "not present"],
)
async def test_what_another_site_or_an_unverified_person_signs_is_not_good(
    opened: Database, change: Callable[[Authenticator], None]
) -> None:
    ann = await signed_in(opened, "ann")
    laptop = await with_passkey(opened, ann)
    change(laptop)
    with pytest.raises(Refused, match="not good here"):
        await come_in(opened, laptop)
    new = Authenticator(SITE.origin)
    change(new)
    options = await passkeys.begin_to_add(opened, SITE, ann)
    with pytest.raises(Refused, match="no passkey that can be used"):
        await passkeys.add(opened, SITE, ann, "", new.create(options), HERE)


async def test_another_key_kind_or_person_is_not_good(opened: Database) -> None:
    ann, ben = await signed_in(opened, "ann"), await signed_in(opened, "ben")
    laptop, bens = await with_passkey(opened, ann), await with_passkey(opened, ben)
    for change in (
        {"id": laptop.id},  # ben's key says that it is ann's
        {"handle": laptop.handle},  # and that it is her passkey
    ):
        other = await with_passkey(opened, ben)
        _set(**change)(other)
        with pytest.raises(Refused, match="not good here"):
            await come_in(opened, other)
    with pytest.raises(Refused, match="not good here"):
        await come_in(opened, laptop, type="webauthn.create")
    bens.handle = None  # it need not say whose it is
    assert await come_in(opened, bens) == "ben"
    # The same passkey is not added twice, nor to another person.
    options = await passkeys.begin_to_add(opened, SITE, ben)
    with pytest.raises(Refused, match="there already"):
        await passkeys.add(opened, SITE, ben, "", laptop.create(options), HERE)


@pytest.mark.parametrize(
    "credential",
    ["x", "null", "[]", "{}", '{"response": []}', '{"response": {"clientDataJSON": 7}}', "[" * 60_000, "\ud800"],
)
async def test_nonsense_is_refused_in_words(opened: Database, credential: str) -> None:
    with pytest.raises(Refused, match="try it again"):
        await passkeys.finish(opened, SITE, credential, HERE)


async def test_nonsense_beside_a_challenge_is_refused_in_words(opened: Database) -> None:
    ann = await signed_in(opened, "ann")
    laptop = await with_passkey(opened, ann)
    for name in ("authenticatorData", "signature", "userHandle"):
        for value in (None, 7, "", "!", "AAAA", "o2NmbXRk" * 4000):
            said = json.loads(laptop.get(await passkeys.begin(opened, SITE, HERE)))
            said["response"][name] = value
            if name == "userHandle" and value is None:
                continue
            with pytest.raises(Refused, match="not good here"):
                await passkeys.finish(opened, SITE, json.dumps(said), HERE)
    for value in (None, 7, "", "!", "AAAA", "o2NmbXRk" * 4000):
        said = json.loads(Authenticator(SITE.origin).create(await passkeys.begin_to_add(opened, SITE, ann)))
        said["response"]["attestationObject"] = value
        with pytest.raises(Refused, match="no passkey"):
            await passkeys.add(opened, SITE, ann, "", json.dumps(said), HERE)


async def test_who_asks_again_and_again_waits_and_nobody_has_very_many(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = await signed_in(opened, "ann")
    laptop = await with_passkey(opened, ann)
    monkeypatch.setattr(sign_in, "_OF_WAY", 3)
    for _ in range(5):
        await come_in(opened, laptop)
    for _ in range(3):
        await passkeys.begin(opened, SITE, HERE)
    with pytest.raises(Barred, match="attempts to sign in"):
        await passkeys.begin(opened, SITE, HERE)
    await passkeys.begin(opened, SITE, Client("203.0.113.9", "another program"))
    monkeypatch.setattr(passkeys, "MOST", 1)
    with pytest.raises(Refused, match="remove one first"):
        await passkeys.begin_to_add(opened, SITE, ann)


@pytest.mark.parametrize(
    ("url", "site"),
    [
        (None, Site("localhost", "http://localhost:8025")),
        ("http://127.0.0.1:9000/x", Site("localhost", "http://localhost:9000")),
        ("http://localhost", Site("localhost", "http://localhost")),
        ("https://crm.example.com/mail", Site("crm.example.com", "https://crm.example.com")),
        ("https://crm.example.com:8443", Site("crm.example.com", "https://crm.example.com:8443")),
        ("http://crm.example.com", None),
        ("https://192.0.2.1", None),
        ("https://[2001:db8::1]/", None),
    ],
)
def test_passkeys_work_at_a_name_and_over_tls(url: str | None, site: Site | None) -> None:
    assert site_of(Settings(console_url=url)) == site
