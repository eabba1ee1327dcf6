"""What waits, failed or is unknown is listed, shown, tried again, canceled and released by commands."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from router.operations import outbox as operation
from router.operations.outbox import Meant, Selection
from router.repository.database import Database
from tests.support.command import Said, type_command
from tests.support.crm import Crm
from tests.support.maildirs import make_maildir
from tests.support.unsent import KARL, ULLA, ended

PROFILE = '[incoming.disk]\ntransport = "maildir"\npath = "{path}/{{mailbox}}"\nowners = ["*@in.test"]\n'
OTTO = "otto@in.test"


Ask = Callable[..., Awaitable[Said]]


@pytest.fixture
def ask(database: str, tmp_path: Path) -> Ask:
    """`await ask("list")`: what `email-router outbox list` says, with nobody at a terminal."""

    async def ask(*arguments: str, answer: str = "") -> Said:
        return await type_command(database, "outbox", *arguments, answer=answer, profiles=tmp_path)

    return ask


async def status(crm: Crm, email_id: UUID) -> str:
    """Return the status of an email."""
    [row] = await crm.rows("SELECT status FROM crm.email WHERE id = $1", email_id)
    return str(row["status"])


@pytest.fixture
async def owners(crm: Crm) -> None:
    await crm.owner(ULLA)
    await crm.owner(OTTO)


@pytest.mark.usefixtures("owners")
async def test_each_state_is_listed_with_why_it_waits(crm: Crm, ask: Ask) -> None:
    failed, unknown = await ended(crm, "failed"), await ended(crm, "unknown", state="unknown")
    given_up = await ended(crm, "failed", owner=OTTO, state="given_up")
    pending = await crm.send(ULLA, [KARL], "Offer", "Chairs")

    everything = (await ask("list", "--json")).json
    assert [one["email"] for one in everything["emails"]] == [str(one) for one in (unknown, failed, given_up, pending)]
    assert everything["emails"][-1]["waits_for"] == "turn"
    for arguments, expected in (
        (["--state", "pending"], [pending]),
        (["--state", "sending"], []),
        (["--state", "failed"], [failed, given_up]),
        (["--state", "given_up"], [given_up]),
        (["--state", "failed", "--owner", OTTO], [given_up]),
        (["--profile", "relay"], [unknown, failed, given_up]),
        (["--since", "2100-01-01"], []),
    ):
        listed = (await ask("list", "--json", *arguments)).json["emails"]
        assert [one["email"] for one in listed] == [str(one) for one in expected], arguments
    assert "3 more; --limit shows them" in (await ask("list", "--limit", "1")).out
    assert "its turn comes" in (await ask("list", "--state", "pending")).out


@pytest.mark.usefixtures("owners")
async def test_an_email_is_shown_by_either_id_and_without_its_body(crm: Crm, ask: Ask) -> None:
    failed = await ended(crm, "failed")
    by_id = await ask("show", str(failed))
    assert by_id.out == (await ask("show", f"<{failed}@in.test>")).out
    for words in ("relay at smtp.test:25", f"{KARL}: refused 5.1.1 no such user", "attempt 1,"):
        assert words in by_id.out
    assert "Chairs" not in by_id.out
    [tried] = (await ask("show", str(failed), "--json")).json["tries"]
    assert tried["replies"][0]["recipients"] == [KARL]
    unheard = await ask("show", "nobody@in.test")
    assert unheard.status == 2
    assert "there is no outgoing email" in unheard.err


@pytest.mark.usefixtures("owners")
async def test_attempts_are_counted_on_after_a_retry(crm: Crm, ask: Ask) -> None:
    failed = await ended(crm, "failed")
    await crm.admin.execute(
        "INSERT INTO router.attempt (id, email_id, number, process_id, profile, outcome, claimed_at)"
        " SELECT $2, email_id, 1, process_id, profile, 'sent', claimed_at + interval '1 hour' FROM router.attempt"
        " WHERE email_id = $1",
        failed, uuid4(),
    )  # fmt: skip
    said = (await ask("show", str(failed))).out
    assert "attempt 1, " in said
    assert "attempt 2, not begun, relay: sent" in said


@pytest.mark.usefixtures("owners")
async def test_what_failed_is_retried_and_what_waits_is_due_now(crm: Crm, ask: Ask) -> None:
    failed, unknown = await ended(crm, "failed"), await ended(crm, "unknown", state="unknown")
    waiting = await crm.send(ULLA, [KARL], "Offer", "Chairs")
    later = await crm.send(ULLA, [KARL], "Offer", "Chairs")
    await crm.admin.execute("UPDATE router.outbox SET next_at = now() + interval '1 h', ready = false")
    await crm.sql.execute("UPDATE crm.email SET send_after = now() + interval '1 h' WHERE id = $1", later)

    said = await ask("retry", *map(str, (failed, unknown, waiting, later)))
    assert said.status == 1
    assert await status(crm, failed) == "pending_send"
    assert f"{unknown}: not done: it is unknown" in said.out
    assert f"{later}: not done: it is to be sent later" in said.out
    rows = await crm.admin.fetch("SELECT email_id FROM router.outbox WHERE ready AND next_at <= now()")
    assert {row["email_id"] for row in rows} == {failed, waiting}


@pytest.mark.usefixtures("owners")
async def test_all_are_ruled_on_only_after_a_yes(crm: Crm, ask: Ask) -> None:
    failed = [await ended(crm, "failed") for _ in range(3)]
    others = await ended(crm, "failed", owner=OTTO)
    refused = await ask("retry", "--all", "--owner", ULLA, answer="n\n")
    assert refused.status == 1
    assert await status(crm, failed[0]) == "failed"
    assert (await ask("retry", "--all", "--owner", ULLA, answer="y\n")).out.endswith("3 pending_send\n")
    assert (await ask("cancel", "--all", "--yes")).out.endswith("3 canceled\n")
    assert [await status(crm, one) for one in (*failed, others)] == ["canceled"] * 3 + ["failed"]
    assert (await ask("cancel", "--all", str(others))).status == 2
    assert (await ask("retry", "--all", "--state", "unknown")).status == 2


@pytest.mark.usefixtures("owners")
async def test_an_unknown_email_is_released_as_a_person_says(crm: Crm, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text(PROFILE.format(path=tmp_path))
    sent, failed, again = [await ended(crm, "unknown", state="unknown") for _ in range(3)]
    asked = await ask("release", str(sent), "--as", "sent", "--by", "Ann", answer="n\n")
    assert f"{sent}: unknown, last tried" in asked.err
    assert await status(crm, sent) == "unknown"
    for email_id, said, becomes in (
        (sent, "sent", "sent"),
        (failed, "failed", "failed"),
        (again, "resend", "pending_send"),
    ):
        assert (await ask("release", str(email_id), "--as", said, "--by", "Ann", "--yes")).status == 0
        assert await status(crm, email_id) == becomes
    [row] = await crm.rows("SELECT status_reason FROM crm.email WHERE id = $1", sent)
    assert row["status_reason"] == "Ann says that it was sent"
    assert (await ask("release", str(sent), "--as", "resend", "--yes")).status == 1


@pytest.mark.usefixtures("owners")
async def test_what_lies_in_the_sent_folder_is_sent_again_only_by_force(crm: Crm, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text(PROFILE.format(path=tmp_path))
    unknown = await ended(crm, "unknown", state="unknown")
    make_maildir(tmp_path / ULLA)
    make_maildir(tmp_path / ULLA / ".Sent")
    mail = f"Message-ID: <{unknown}@in.test>\nSubject: Offer\n\nChairs\n"
    (tmp_path / ULLA / ".Sent/cur/1.1.test:2,S").write_text(mail)

    refused = await ask("release", str(unknown), "--as", "resend", "--yes")
    assert refused.status == 1
    assert f"it lies in the Sent folder of {ULLA}, so it was sent" in refused.out
    assert await status(crm, unknown) == "unknown"
    assert (await ask("release", str(unknown), "--as", "resend", "--yes", "--force")).status == 0
    assert await status(crm, unknown) == "pending_send"


@pytest.mark.usefixtures("owners")
async def test_what_the_crm_refuses_keeps_no_other_from_being_retried(crm: Crm, database: str) -> None:
    odd, good = await ended(crm, "failed"), await ended(crm, "failed")
    await crm.admin.execute(
        "CREATE FUNCTION public.odd() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF NEW.id = '{odd}' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$; "
        "CREATE TRIGGER odd BEFORE UPDATE ON crm.email FOR EACH ROW EXECUTE FUNCTION public.odd()"
    )
    async with Database(database) as pool:
        done = {one.entry.email_id: one async for one in operation.retry(pool, Meant("failed", Selection()))}
    assert done[good].fault is None
    assert "not this one" in (done[odd].fault or "")
    assert await status(crm, good) == "pending_send"


async def test_show_tells_of_a_pending_email_which_addresses_bounced(crm: Crm, ask: Ask) -> None:
    await crm.owner(ULLA)
    await crm.admin.execute(
        "INSERT INTO crm.address_state VALUES ($1, 'bounced', '5.1.1', 'no such user', now(), now(), 1, 0)", KARL
    )
    email_id = await crm.send(ULLA, [KARL, "ann@kunde.test"], "Offer", "Chairs")
    said = await ask("show", str(email_id))
    assert f"{KARL}: bounced (5.1.1 no such user)" in said.out
    assert "ann@kunde.test" not in said.out
    await crm.sql.execute("UPDATE crm.email SET send_anyway = true WHERE id = $1", email_id)
    assert KARL not in (await ask("show", str(email_id))).out


@pytest.mark.usefixtures("owners")
async def test_a_page_goes_on_where_the_one_before_ended_and_what_is_put_off_waits(crm: Crm, database: str) -> None:
    failed = [await ended(crm, "failed") for _ in range(3)]
    pending = await crm.send(ULLA, [KARL], "Offer", "Chairs")
    async with Database(database) as router:
        first, goes_on = await operation.list_page(router, "failed", Selection(), None, 2)
        rest, end = await operation.list_page(router, "failed", Selection(), goes_on, 2)
        assert ([one.email_id for one in [*first, *rest]], end) == (failed, None)
        assert await operation.count_unsent(router) == {"unknown": 0, "failed": 3}
        until = datetime.now(UTC) + timedelta(days=1)
        [ruled] = [one async for one in operation.put_off(router, await operation.find(router, [str(pending)]), until)]
        assert ruled.fault is None
        [entry] = await operation.find(router, [str(pending)])
        assert (entry.send_after, entry.waits_for) == (until, "send_after")
        # What is not pending any more cannot be put off, and is told.
        [ruled] = [one async for one in operation.put_off(router, await operation.find(router, [str(failed[0])]), None)]
        assert ruled.fault == "it is failed"
