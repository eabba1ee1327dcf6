"""`/webhooks`: subscribers who are told of events by HTTP."""

import asyncio
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import Field

from router.operations import webhooks as operation
from router.operations.backing import Backing
from router.operations.webhooks import Webhook
from router.web.api.frame import Document, Route, Shown, Text, WebhooksManage, WebhooksRead
from router.web.api.problem import answers

Name = Annotated[str, Path(max_length=64, pattern="^[A-Za-z0-9._-]+$")]


class PostedWebhook(Document):
    """A subscriber."""

    url: Text = Field(max_length=2000, description="With TLS, and no redirect.")
    kinds: list[Text] = Field(default=[], max_length=100, description="Kinds of events; none: all.")
    name: Text | None = Field(default=None, max_length=64, description="By default the host of the URL.")


class Replay(Document):
    """From where a webhook is told again."""

    after: Text = Field(
        max_length=64, description="What came after this cursor; `beginning`: all that is kept; `now`: nothing before."
    )


class ShownWebhook(Shown):
    """A subscriber, without its secret."""

    name: str
    url: str
    kinds: list[str]
    state: Literal["working", "failing", "paused"]
    cursor: str = Field(description="The last event that it was told, or that is none of its kinds.")
    made_by: str
    made_at: datetime
    delivered: int
    delivered_at: datetime | None
    missed: int = Field(description="Events that were pruned before it was told of them.")
    failures: int
    fault: str | None
    fault_since: datetime | None
    next_try_at: datetime | None
    paused_at: datetime | None
    paused_by: str | None


class NewWebhook(ShownWebhook):
    """A subscriber with its secret, which is shown this once."""

    secret: str


class WebhookList(Shown):
    """All subscribers, by name."""

    webhooks: list[ShownWebhook]


def routes(backing: Backing) -> APIRouter:
    """Make the routes."""
    router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=Route)

    @router.get("", name="list", summary="List webhooks", responses=answers())
    async def list_webhooks(_: WebhooksRead) -> WebhookList:
        """Scope `webhooks:read`. With how far each has come, and what is wrong with it."""
        return WebhookList(webhooks=list(map(_shown, await operation.list_all(backing.database))))

    @router.post("", status_code=201, summary="Add a webhook", responses=answers(400, 409, 413))
    async def add(body: PostedWebhook, staff: WebhooksManage) -> NewWebhook:
        """Scope `webhooks:manage`. It is told what happens from now on. None of this machine is added here."""
        database, vault = backing.database, await asyncio.to_thread(backing.open_vault)
        name, secret = await operation.add(database, vault, body.url, body.kinds, body.name, staff.name, here=False)
        found = _shown(await operation.find(database, name))
        return NewWebhook(**found.model_dump(), secret=secret)

    @router.get("/{name}", summary="Show a webhook", responses=answers(404))
    async def show(name: Name, _: WebhooksRead) -> ShownWebhook:
        """Scope `webhooks:read`."""
        return _shown(await operation.find(backing.database, name))

    @router.delete("/{name}", status_code=204, summary="Remove a webhook", responses=answers(404))
    async def remove(name: Name, staff: WebhooksManage) -> Response:
        """Scope `webhooks:manage`. It is told nothing any more."""
        await operation.remove(backing.database, name, staff.name)
        return Response(status_code=204)

    @router.post("/{name}/pause", summary="Pause a webhook", responses=answers(404))
    async def pause(name: Name, staff: WebhooksManage) -> ShownWebhook:
        """Scope `webhooks:manage`. What happens waits for it, as long as events are kept."""
        return _shown(await operation.pause(backing.database, name, staff.name))

    @router.post("/{name}/resume", summary="Resume a webhook", responses=answers(404))
    async def resume(name: Name, staff: WebhooksManage) -> ShownWebhook:
        """Scope `webhooks:manage`. It is told at once from where it stands."""
        return _shown(await operation.resume(backing.database, name, staff.name))

    @router.post("/{name}/replay", summary="Tell a webhook again", responses=answers(400, 404, 413))
    async def replay(name: Name, body: Replay, staff: WebhooksManage) -> ShownWebhook:
        """Scope `webhooks:manage`. What came after an event; or pass over what it cannot take."""
        return _shown(await operation.replay(backing.database, name, operation.place_of(body.after), staff.name))

    return router


def _shown(one: Webhook) -> ShownWebhook:
    columns = {name: getattr(one, name) for name in ShownWebhook.model_fields if name not in ("cursor", "kinds")}
    return ShownWebhook(**columns, cursor=str(one.place), kinds=list(one.kinds))
