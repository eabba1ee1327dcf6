"""A mailbox that is restored from a backup with its UIDVALIDITY: UIDs are used again, and no mail is lost for it."""

from collections.abc import Iterator

import pytest

from tests.servers.dovecot import Dovecot
from tests.servers.tls import Tls
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter


@pytest.fixture
def own_dovecot(tls: Tls) -> Iterator[Dovecot]:
    """One to be stopped."""
    server = Dovecot(tls)
    yield server
    server.close()


async def test_t64_mail_with_a_uid_that_other_mail_had_is_promoted_and_nothing_twice(
    crm: Crm, new_router: NewRouter, incoming: Profile, own_dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "known")
    await crm.record("contact", "Karl", "karl@kunde.test")
    await new_router(incoming(port=own_dovecot.imaps, poll=1))
    await crm.wait_for_sources(1)

    def deliver(subject: str, sender: str = "karl@kunde.test") -> None:
        own_dovecot.deliver(mailbox, letter(sender, mailbox, subject))

    deliver("kept")
    deliver("private", "friend@home.test")
    await crm.wait_for_decisions(2)
    own_dovecot.back_up()
    deliver("lost 1")
    deliver("lost 2")
    await crm.wait_for_decisions(4)
    own_dovecot.go_back()
    deliver("came")
    await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE subject = 'came'")
    # It goes on from there.
    deliver("later")
    await crm.wait_for(1, "SELECT count(*) FROM crm.email WHERE subject = 'later'")

    emails = await crm.rows("SELECT subject FROM crm.email ORDER BY subject")
    assert [email["subject"] for email in emails] == ["came", "kept", "later", "lost 1", "lost 2"]
    assert await crm.dispositions() == {"promoted": 5, "duplicate": 1, "ignored": 2}
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.event WHERE kind = 'promoted'") == 5
    assert await crm.admin.fetchval("SELECT count(*) FROM router.decision WHERE place = '3'") == 2


async def test_what_was_left_to_settle_does_not_hit_the_mail_that_has_its_uid_now(
    crm: Crm, new_router: NewRouter, incoming: Profile, own_dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    router = await new_router(incoming(port=own_dovecot.imaps, after="delete"))
    await crm.wait_for_sources(1)
    own_dovecot.back_up()
    for subject in ("one", "two"):
        own_dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, subject))
    await crm.wait_for_emails(2)
    await router.stop()
    # Killed before the mail server was told.
    await crm.admin.execute("UPDATE router.decision SET settled_at = NULL")
    own_dovecot.go_back()
    own_dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "has the UID of one"))
    await router.start()
    await crm.wait_for_emails(3)
    await crm.wait_for(0, "SELECT count(*) FROM router.decision WHERE settled_at IS NULL")
    assert own_dovecot.count(mailbox) == 0
