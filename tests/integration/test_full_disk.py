"""A database whose disk is full: it is told as what it is, and mail comes in when there is room again."""

from datetime import timedelta
from pathlib import Path

from router.operations import status
from router.repository.database import Database
from tests.servers.dovecot import Dovecot
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile
from tests.support.router_process import NewRouter

FULL = """
CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE 'could not extend file "base/5/16397": No space left on device' USING ERRCODE = '53100';
END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON crm.email FOR EACH ROW EXECUTE FUNCTION public.full_disk();
"""


async def test_a_full_disk_is_told_by_status_and_no_mail_is_lost(
    crm: Crm, new_router: NewRouter, incoming: Profile, dovecot: Dovecot, mailbox: str, database: str, tmp_path: Path
) -> None:
    await crm.owner(mailbox, "all")
    await new_router(incoming())
    await crm.wait_for_sources(1)
    await crm.admin.execute(FULL)
    dovecot.deliver(mailbox, letter("karl@kunde.test", mailbox, "Hello"))
    await crm.wait_for(1, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
    async with Database(database) as opened:
        report = await status.read(opened, timedelta(seconds=10), tmp_path)
    [words] = [one.words for one in report.faults if one.part == "source"]
    assert words == (
        'the disk of the database is full: could not extend file "base/5/16397": No space left on device '
        "(SQLSTATE 53100)"
    )
    await crm.admin.execute("DROP TRIGGER full_disk ON crm.email")
    await crm.wait_for_emails(1)
    await crm.wait_for(0, "SELECT count(*) FROM router.source WHERE fault IS NOT NULL")
