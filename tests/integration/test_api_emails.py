"""Emails by the API: sent as the CRM's own are, once for each key, and told with what became of them."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from router.repository.api import posted
from router.repository.database import Database
from tests.integration.test_api import check_problem
from tests.support.api import Api
from tests.support.crm import Crm

LATER = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def written(**more: object) -> dict[str, Any]:
    """An email that waits until tomorrow, unless it is said otherwise."""
    return {
        "from": "staff@in.test",
        "to": ["Karl Kunde <Karl@Kunde.test>"],
        "subject": "The prices",
        "text": "Dear Karl",
        "send_after": LATER,
    } | more


async def test_an_email_is_sent_and_its_outcome_told(api: Api, crm: Crm) -> None:
    karl = await crm.record("contact", "Karl", "karl@kunde.test")
    for name in ("One", "Two"):
        await crm.record("contact", name, "both@kunde.test")
    content = bytes(range(256))
    answered = await api.post(
        "/emails",
        written(
            cc=["both@kunde.test"],
            bcc=['"Berta \\"B\\" Büro" <berta@büro.test>'],
            reply_to=["answers@in.test"],
            html="<p>Dear Karl</p>",
            regarding_id=str(karl),
            send_after=None,
            attachments=[
                {"name": "prices.bin", "type": "application/x-prices", "content": base64.b64encode(content).decode()}
            ],
        ),
    )
    assert answered.status == 201
    made = answered.json
    assert (made["direction"], made["subject"], made["regarding_id"]) == ("out", "The prices", str(karl))
    assert [(one["role"], one["address"], one["name"], one["record_id"]) for one in made["parties"]] == [
        ("from", "staff@in.test", "", str(await crm.admin.fetchval("SELECT record_id FROM crm.owner"))),
        ("to", "karl@kunde.test", "Karl Kunde", str(karl)),
        ("cc", "both@kunde.test", "", None),
        ("bcc", "berta@büro.test", 'Berta "B" Büro', None),
        ("reply_to", "answers@in.test", "", None),
    ]
    await crm.wait_for_status(UUID(made["id"]), "sent")
    told = (await api.get(f"/emails/{made['id']}")).json
    assert told["status"] == "sent"
    assert told["sent_at"]
    assert [(one["address"], one["state"]) for one in told["deliveries"]] == [
        ("berta@büro.test", "accepted"),
        ("both@kunde.test", "accepted"),
        ("karl@kunde.test", "accepted"),
    ]
    [row] = await crm.rows(
        "SELECT filename, media_type, size, content FROM crm.attachment JOIN crm.blob USING (sha256)"
    )
    assert tuple(row) == ("prices.bin", "application/x-prices", 256, content)


async def test_what_cannot_be_sent_is_refused_in_words_and_leaves_nothing(api: Api, crm: Crm) -> None:
    for wrong, words in (
        ({"to": []}, "has no recipients"),
        ({"from": "nobody@in.test"}, "its from party is no owner's mailbox"),
        ({"to": ["Karl"]}, "has no address that mail can be sent to"),
        ({"to": ["Karl <karl@kunde.test>, Bob <bob@kunde.test>"]}, "each address is a text of its own"),
        ({"cc": ['"Karl" <karl@kunde.test>, "Bob" <bob@kunde.test>']}, "each address is a text of its own"),
        ({"reply_to": ["x"]}, "answers to email"),
        ({"subject": "a\0b"}, ""),
        ({"text": "\ud800"}, ""),
        ({"send_after": "1960-01-01T00:00:00Z"}, "send_after"),
        ({"send_after": "2027-01-01T00:00:00"}, "send_after"),
        # Times that are none in UTC: the year 0, and the year 10000.
        ({"send_after": "0001-01-01T00:00:00+14:00"}, "send_after: it is too near to the beginning"),
        ({"send_after": "9999-12-31T23:59:59-12:00"}, "send_after: it is too near to the beginning"),
        ({"attachments": [{"name": "a", "content": "%%%"}]}, "attachments.0.content is not Base64"),
    ):
        answered = await api.post("/emails", written(**wrong), headers={"Idempotency-Key": "one"})
        assert words in check_problem(answered, 422), wrong
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 0
    assert await crm.admin.fetchval("SELECT count(*) FROM router.posted_email") == 0
    assert (await api.post("/emails", written(), headers={"Idempotency-Key": "one"})).status == 201


async def test_the_same_request_again_makes_no_other_email(api: Api, crm: Crm, database: str) -> None:
    key = {"Idempotency-Key": "4711"}
    first = await api.post("/emails", written(), headers=key)
    again = await api.post("/emails", dict(reversed(written(cc=[]).items())), headers=key)
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    other = await api.post("/emails", written(subject="Other prices"), headers=key)
    assert "was used for another email" in check_problem(other, 422)
    # Another program's key is another.
    theirs = await api.token_of("other", "emails:send")
    assert (await api.post("/emails", written(), headers=key, token=theirs)).status == 201
    assert (await api.post("/emails", written())).status == 201
    assert (await api.post("/emails", written())).status == 201
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 4
    await crm.sql.execute("DELETE FROM crm.email WHERE id = $1", UUID(first.json["id"]))
    check_problem(await api.post("/emails", written(), headers=key), 404)
    check_problem(await api.post("/emails", written(), headers={"Idempotency-Key": "x" * 256}), 422)

    await crm.admin.execute("UPDATE router.posted_email SET at = now() - interval '6 days 23 hours'")
    async with Database(database, connections=1) as ours:
        assert await posted.forget_old(ours) == 0
        await crm.admin.execute("UPDATE router.posted_email SET at = now() - interval '7 days 1 hour'")
    await crm.wait_for(0, "SELECT count(*) FROM router.posted_email")  # the running router's upkeep
    assert (await api.post("/emails", written(), headers=key)).status == 201


async def test_two_requests_with_one_key_at_once_make_one_email(api: Api, crm: Crm) -> None:
    for number in range(5):
        key = {"Idempotency-Key": f"number-{number}"}
        answers = await asyncio.gather(*(api.post("/emails", written(), headers=key) for _ in range(6)))
        assert sorted(one.status for one in answers) == [200] * 5 + [201]
        assert len({one.json["id"] for one in answers}) == 1
    assert await crm.admin.fetchval("SELECT count(*) FROM crm.email") == 5


async def test_a_pending_email_is_canceled_and_an_unknown_one_released(api: Api, crm: Crm) -> None:
    made = (await api.post("/emails", written())).json
    assert (made["status"], made["waits_for"]) == ("pending_send", "send_after")
    canceled = await api.post(f"/emails/{made['id']}/cancel")
    assert (canceled.status, canceled.json["status"]) == (200, "canceled")
    assert canceled.json["status_reason"] == "canceled by tests"
    assert "it is canceled" in check_problem(await api.post(f"/emails/{made['id']}/cancel"), 409)
    nobody = uuid4()
    check_problem(await api.post(f"/emails/{nobody}/cancel"), 404)
    check_problem(await api.post(f"/emails/{nobody}/release", {"as": "sent"}), 404)
    check_problem(await api.post(f"/emails/{made['id']}/release", {"as": "sent"}), 409)
    check_problem(await api.post(f"/emails/{made['id']}/release", {"as": "lost"}), 422)
    sender = await api.token_of("sender", "emails:send")
    unread = (await api.post("/emails", written())).json["id"]
    canceled = await api.post(f"/emails/{unread}/cancel", token=sender)
    assert (canceled.status, canceled.json["status"]) == (200, "canceled")
    assert (canceled.json["subject"], canceled.json["parties"]) == (None, [])

    for as_, status in (("sent", "sent"), ("failed", "failed"), ("resend", "pending_send")):
        made = (await api.post("/emails", written())).json
        for step in ("sending", "unknown"):
            await crm.admin.execute("UPDATE crm.email SET status = $2 WHERE id = $1", UUID(made["id"]), step)
        await crm.admin.execute("DELETE FROM router.outbox WHERE email_id = $1", UUID(made["id"]))
        released = await api.post(f"/emails/{made['id']}/release", {"as": as_})
        assert (released.status, released.json["status"]) == (200, status), released.json


async def test_a_private_email_is_told_without_what_it_says(api: Api, crm: Crm) -> None:
    made = (await api.post("/emails", written())).json
    await crm.sql.execute("UPDATE crm.email SET private = true WHERE id = $1", UUID(made["id"]))
    told = (await api.get(f"/emails/{made['id']}")).json
    assert (told["private"], told["status"], told["subject"], told["parties"]) == (True, "pending_send", None, [])


async def test_a_trigger_of_the_crms_refuses_in_its_own_words(api: Api, crm: Crm) -> None:
    await crm.admin.execute(
        """
        CREATE FUNCTION crm.no_prices() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'no prices today' USING HINT = 'Ask the boss.';
        END $$;
        CREATE TRIGGER no_prices BEFORE INSERT ON crm.email FOR EACH ROW
            WHEN (NEW.subject = 'The prices') EXECUTE FUNCTION crm.no_prices();
        """
    )
    assert check_problem(await api.post("/emails", written()), 422) == "no prices today. Ask the boss."
    assert (await api.post("/emails", written(subject="Chairs"))).status == 201
