"""Emails that are claimed as a relay of a profile does, without a router that runs."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from router.model import Outgoing
from router.model.token import new_token
from router.repository.database import Database
from router.repository.outgoing import claim, outgoing, routes
from router.repository.outgoing.claim import Ask, Claim, Offer
from router.repository.outgoing.routes import Route

PROFILE = "relay"


async def carry(database: Database, profile: str = PROFILE) -> None:
    """Let a profile carry what every approved owner sends, as routers do; and make ready what is due."""
    carried = [
        Route(one.owner_id, profile, None, (one.mailbox or "").rpartition("@")[2])
        if one.approved and one.mailbox
        else Route(one.owner_id, None, "nobody carries it", "")
        for one in await routes.senders(database)
    ]
    await routes.write(database, uuid4(), timedelta(seconds=5), carried, [profile])
    await routes.find_strays(database)
    while await routes.align(database):
        pass
    while await claim.make_ready(database):
        pass


def ask(count: int, profile: str = PROFILE, **more: object) -> Ask:
    """What a relay asks for that has so many free connections."""
    values: dict[str, object] = {"bulk": count} | more
    return Ask(profile, [Offer(uuid4(), new_token()) for _ in range(count)], **values)  # type: ignore[arg-type]


async def claim_only(database: Database, process_id: UUID, count: int, profile: str = PROFILE) -> Sequence[Claim]:
    """Claim so many emails at most, of all approved owners."""
    await carry(database, profile)
    return (await claim.claim(database, process_id, ask(count, profile))).claims


async def claim_some(database: Database, process_id: UUID, count: int, profile: str = PROFILE) -> list[Outgoing]:
    """Claim so many emails at most, of all approved owners, and read them."""
    claims = await claim_only(database, process_id, count, profile)
    emails = [one.email for one in claims if isinstance(one.email, Outgoing)]
    assert len(emails) == len(claims)
    for one, email in zip(claims, emails, strict=True):
        if not one.known:
            await outgoing.make_known(database, email)
    return emails
