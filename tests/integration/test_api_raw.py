"""A received email as it came, by the API: fetched from its mailbox, for whose token says so, and noted."""

from tests.integration.test_api import NOBODY, check_problem
from tests.integration.test_api_emails import written
from tests.servers.dovecot import Dovecot
from tests.support.api import NewApi
from tests.support.crm import Crm
from tests.support.letters import letter
from tests.support.profiles import Profile


async def test_an_email_as_it_came(
    new_api: NewApi, crm: Crm, incoming: Profile, dovecot: Dovecot, mailbox: str
) -> None:
    await crm.owner(mailbox, "all")
    mail = letter("karl@kunde.test", mailbox, "Offer", "Chairs ä\n")
    dovecot.deliver(mailbox, mail)
    api = await new_api(incoming(owners=[mailbox], start="all", after="keep"))
    await crm.wait_for_emails(1)
    email_id = await crm.sql.fetchval("SELECT id FROM crm.email WHERE direction = 'in'")
    noted = "SELECT by, action FROM router.audit_log WHERE email_id = $1"

    reader = await api.token_of("reader", "emails:read")
    check_problem(await api.get(f"/emails/{email_id}/raw", token=reader), 403)
    assert not await crm.admin.fetch(noted, email_id)
    found = await api.get(f"/emails/{email_id}/raw")
    assert (found.status, found.content.endswith(mail)) == (200, True)
    assert found.headers["Content-Type"] == "message/rfc822"
    assert found.headers["Cache-Control"] == "no-store"
    assert found.headers["Content-Disposition"].startswith("attachment")
    assert [tuple(row) for row in await crm.admin.fetch(noted, email_id)] == [("tests", "source-saved")]

    sent = (await api.post("/emails", written())).json["id"]
    assert "the CRM wrote it" in check_problem(await api.get(f"/emails/{sent}/raw"), 404)
    check_problem(await api.get(f"/emails/{NOBODY}/raw"), 404)
    await crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", email_id)
    assert "private" in check_problem(await api.get(f"/emails/{email_id}/raw"), 409)
    assert len(await crm.admin.fetch(noted, email_id)) == 1
