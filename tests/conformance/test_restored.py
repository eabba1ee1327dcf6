"""A mailbox that is restored from a backup with the same UIDVALIDITY: what comes then has UIDs that others had."""

import pytest

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, fetched, message, subjects
from transports.base import After, Settlement
from transports.errors import CursorLost


@every_way("validity", fixture="own_post")
@pytest.mark.parametrize("came", [1, 2])
async def test_what_comes_after_the_restoration_is_listed(own_post: Post, came: int) -> None:
    post = own_post
    post.put(message("kept"))
    post.server.back_up()
    post.put(message("lost 1"), message("lost 2"), flags=["\\Seen"])
    async with post.open() as account:
        box = account.folder("INBOX")
        before = await all_listed(box)
        # One more than comes now, or as many: then only the flags that were set as well tell the difference.
        await box.settle([Settlement(listed.place, After("seen")) for listed in before])
    async with post.open() as account:
        cursor = (await account.folder("INBOX").list(None, 10)).cursor
    post.server.go_back()
    post.put(*(message(f"came {number}") for number in range(came)))

    async with post.open() as account:
        box = account.folder("INBOX")
        with pytest.raises(CursorLost, match="INBOX"):
            await box.list(cursor, 10)
        after = await all_listed(box)
        assert await subjects(box) == ["kept", *(f"came {number}" for number in range(came))]
        # UIDs are used again; places are not.
        assert {listed.place for listed in before}.isdisjoint(listed.place for listed in after)
        assert await fetched(box, [listed.place for listed in before]) == []
        await box.settle([Settlement(listed.place, After("delete")) for listed in before])
        cursor = (await box.list(None, 10)).cursor
    assert len(post.contents()) == 1 + came

    post.put(message("later"))
    async with post.open() as account:
        assert await subjects(account.folder("INBOX"), cursor) == ["later"]


@every_way("validity", fixture="own_post")
async def test_a_server_that_was_only_restarted_goes_on(own_post: Post) -> None:
    post = own_post
    post.put(message("old"))
    async with post.open() as account:
        cursor = (await account.folder("INBOX").list(None, 10)).cursor
    post.server.restart()
    post.put(message("new"))
    async with post.open() as account:
        assert await subjects(account.folder("INBOX"), cursor) == ["new"]
