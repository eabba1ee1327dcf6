"""Mailbox.settle: flag, move, delete; once more is no error, and only these copies are touched."""

from collections.abc import Iterable, Sequence

import pytest

from tests.conformance.kinds import every_settling, every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, fetched, message, subjects
from transports.base import After, Listed, Settlement
from transports.errors import Missing


def settlements(copies: Iterable[Listed], *actions: str) -> Sequence[Settlement]:
    return [Settlement(copy.place, After.parse(action)) for copy, action in zip(copies, actions, strict=True)]


@every_way()
async def test_keep(post: Post) -> None:
    post.put(message("one"), message("two"))

    async with post.open() as account:
        box = account.folder("INBOX")
        await box.settle(settlements(await all_listed(box), "keep", "keep"))
        await box.settle([])
        assert await subjects(box) == ["one", "two"]
    assert post.flags() == [set(), set()]


@every_way()
async def test_delete(post: Post) -> None:
    post.put(message("one"), message("two"), message("three"))

    async with post.open() as account:
        box = account.folder("INBOX")
        copies = await all_listed(box)
        done = settlements(copies[:2], "delete", "delete")
        await box.settle(done)
        assert await fetched(box, [copy.place for copy in copies[:2]]) == []
        await box.settle(done)
        assert await subjects(box) == ["three"]
    # A kind may delete only when the account is closed (POP3's QUIT).
    assert post.contents() == [message("three")]


@every_way("keyword")  # that is: there are flags
async def test_delete_spares_what_a_person_has_marked(post: Post) -> None:
    post.put(message("ours"))
    post.put(message("theirs"), flags=["\\Deleted"])

    async with post.open() as account:
        box = account.folder("INBOX")
        await box.settle(settlements((await all_listed(box))[:1], "delete"))
    assert post.flags() == [{"\\Deleted"}]


@every_settling("seen", "keyword:Tracked")
async def test_flags(post: Post, action: str) -> None:
    flag = {"seen": "\\Seen", "keyword:Tracked": "Tracked"}[action]
    post.put(message("one"), message("two"), flags=["\\Flagged"])
    post.put(message("three"))

    async with post.open() as account:
        box = account.folder("INBOX")
        done = settlements((await all_listed(box))[:2], action, action)
        await box.settle(done)
        await box.settle(done)
        # It is no news to the one who did it.
        assert len(await all_listed(box)) == 3
    assert post.flags() == [{"\\Flagged", flag}, {"\\Flagged", flag}, set()]


@pytest.mark.parametrize(
    ("folder", "as_imap"), [("Done/2026", "Done/2026"), ("Erledigt/für Büro", "Erledigt/f&APw-r B&APw-ro")]
)
@every_way("move")
async def test_move_makes_the_folder(post: Post, folder: str, as_imap: str) -> None:
    post.put(message("one"), message("two"), message("three"))

    async with post.open() as account:
        box = account.folder("INBOX")
        copies = await all_listed(box)
        done = settlements(copies[:2], f"move:{folder}", f"move:{folder}")
        await box.settle(done[:1])
        await box.settle(done)
        assert await subjects(box) == ["three"]
        assert await subjects(account.folder(folder)) == ["one", "two"]
    assert post.contents(as_imap) == [message("one"), message("two")]


@every_way("move")
async def test_what_lies_where_it_would_be_moved_to_stays(post: Post) -> None:
    post.put(message("one"), folder="Done")

    async with post.open() as account:
        box = account.folder("Done")
        copies = await all_listed(box)
        await box.settle(settlements(copies, "move:Done"))
        assert [copy.place for copy in await all_listed(box)] == [copy.place for copy in copies]


@every_way("seen", "keyword", "move")
async def test_each_its_own(post: Post) -> None:
    contents = [message(f"number {number}") for number in range(7)]
    post.put(*contents)
    actions = ["delete", "keep", "move:Done", "seen", "keyword:Tracked", "move:Done", "delete"]

    async with post.open() as account:
        box = account.folder("INBOX")
        done = settlements(await all_listed(box), *actions)
        await box.settle(done)
        await box.settle(done)
    assert post.contents() == [contents[1], contents[3], contents[4]]
    assert post.flags() == [set(), {"\\Seen"}, {"Tracked"}]
    assert post.contents("Done") == [contents[2], contents[5]]


@every_settling("keep", "seen", "keyword:Tracked", "move:Done", "delete")
async def test_what_is_gone_is_no_error(post: Post, action: str) -> None:
    post.put(message("gone"), message("there"), message("untouched"))

    async with post.open() as account:
        box = account.folder("INBOX")
        copies = await all_listed(box)
        post.remove(0)
        await box.settle(settlements(copies[:1], action))
        await box.settle(settlements(copies[:2], action, action))
        left = await subjects(box)
    assert left == (["untouched"] if action in ("delete", "move:Done") else ["there", "untouched"])
    assert post.flags()[-1] == set()


@every_way("folders", "validity")
async def test_places_of_before_the_folder_was_made_anew_touch_nothing(post: Post) -> None:
    post.put(message("old"), folder="Box")
    async with post.open() as account:
        box = account.folder("Box")
        (old,) = await all_listed(box)
    post.make_anew("Box")
    post.put(message("new"), folder="Box")

    async with post.open() as account:
        box = account.folder("Box")
        for action in ("delete", "seen", "move:Done"):
            await box.settle(settlements([old], action))
        assert await subjects(box) == ["new"]
    assert post.flags("Box") == [set()]


@every_way("folders")
async def test_another_folder_of_the_same_places_is_not_touched(post: Post) -> None:
    post.put(message("in the box"), folder="Box")
    post.put(message("in the inbox"))

    async with post.open() as account:
        inbox, box = account.folder("INBOX"), account.folder("Box")
        (copy,) = await all_listed(box)
        await all_listed(inbox)
        await box.settle(settlements([copy], "delete"))
        assert await subjects(box) == []
        assert await subjects(inbox) == ["in the inbox"]


@every_way("folders")
async def test_settling_in_a_folder_that_is_missing(post: Post) -> None:
    post.put(message("one"), folder="Box")
    async with post.open() as account:
        copies = await all_listed(account.folder("Box"))
    post.drop("Box")

    async with post.open() as account:
        with pytest.raises(Missing, match="Box"):
            await account.folder("Box").settle(settlements(copies, "seen"))
