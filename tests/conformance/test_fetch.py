"""Mailbox.fetch: the bytes as the server has them, in the order asked for, and nothing is marked."""

from dataclasses import replace

from tests.conformance.kinds import every_way
from tests.conformance.post import Post
from tests.conformance.reading import all_listed, fetched, message
from transports.base import Part

ODD = {
    "answers of a server": b"Subject: a * b (:-) {5}\r\n\r\n* 1 FETCH (UID 1 BODY[] {5}\r\n)\r\nA1 OK {9}\r\n+ ok\r\n",
    "8 bit": b"From: J\xfcrgen <a@out.test>\r\nSubject: gr\xc3\xbc\xc3\x9fe \xff\r\n\r\n" + bytes(range(128, 256)),
    "NUL": b"Subject: nul\r\n\r\nbefore\x00after\r\n",
    "long lines": b"Subject: " + b"s" * 20_000 + b"\r\n\r\n" + b"l" * 200_000 + b"\r\n" + b"m" * 70_000,
    "no end of line": b"Subject: end\r\n\r\nno end of line",
    "no body": b"Subject: nothing follows\r\n\r\n",
    "no header": b"\r\nonly text\r\n",
    "bare CR": b"Subject: cr\r\n\r\none\rtwo\r\r\n",
    "quotes and braces": b'Subject: "\\"{12}\r\nX: {3+}\r\n\r\n~{10}\r\n"\\',
}


@every_way()
async def test_whole_messages_and_headers(post: Post) -> None:
    contents = [message(f"number {number}") for number in range(12)]
    post.put(*contents)

    async with post.open() as account:
        box = account.folder("INBOX")
        listed = await all_listed(box)
        places = [one.place for one in listed]
        wholes = await fetched(box, places)
        assert [copy.content for copy in wholes] == contents
        assert [(copy.place, copy.received_at) for copy in wholes] == [(one.place, one.received_at) for one in listed]
        heads = await fetched(box, places, "headers")
        assert [copy.content for copy in heads] == [
            content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for content in contents
        ]
        assert [copy.place for copy in heads] == places
        assert {(copy.sender, copy.recipients, copy.fault) for copy in wholes + heads} == {(None, (), None)}
    assert post.flags() == [set()] * 12


@every_way()
async def test_the_order_asked_for(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(9)))

    async with post.open() as account:
        box = account.folder("INBOX")
        places = [listed.place for listed in await all_listed(box)]
        for order in (places[::-1], [places[number] for number in (4, 8, 0, 5, 1)]):
            assert [copy.place for copy in await fetched(box, order)] == order
        assert await fetched(box, []) == []


@every_way("live")
async def test_what_is_gone_or_never_was_is_left_out(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(4)))

    async with post.open() as account:
        box = account.folder("INBOX")
        places = [listed.place for listed in await all_listed(box)]
        post.remove(1, 2)
        elsewhere = [replace(places[0], validity="1"), replace(places[0], id="4000000000")]
        parts: tuple[Part, ...] = ("whole", "headers")
        for part in parts:
            copies = await fetched(box, [*places, *elsewhere], part)
            assert [copy.place for copy in copies] == [places[0], places[3]]


@every_way()
async def test_what_is_gone_by_the_next_connection_is_left_out(post: Post) -> None:
    post.put(*(message(f"number {number}") for number in range(4)))
    async with post.open() as account:
        places = [listed.place for listed in await all_listed(account.folder("INBOX"))]
    post.remove(1, 2)

    async with post.open() as account:
        box = account.folder("INBOX")
        elsewhere = [replace(places[0], validity="1"), replace(places[0], id="999")]
        assert [copy.place for copy in await fetched(box, [*places, *elsewhere])] == [places[0], places[3]]


@every_way()
async def test_a_reader_that_stops_in_the_middle_disturbs_nothing(post: Post) -> None:
    contents = [message(f"number {number}", 300_000) for number in range(20)]
    post.put(*contents)

    async with post.open() as account:
        box = account.folder("INBOX")
        places = [listed.place for listed in await all_listed(box)]
        async for copy in box.fetch(places, "whole"):
            assert copy.content == contents[0]
            break
        assert [copy.content for copy in await fetched(box, places[-2:])] == contents[-2:]


@every_way()
async def test_odd_messages_come_as_the_server_has_them(post: Post) -> None:
    taken = [name for name, content in ODD.items() if post.try_to_put(content)]
    assert {"answers of a server", "8 bit", "long lines"}.issubset(taken)

    async with post.open() as account:
        box = account.folder("INBOX")
        listed = await all_listed(box)
        copies = await fetched(box, [one.place for one in listed])
        for name, copy, shown in zip(taken, copies, post.contents(), strict=True):
            # The other mail program's protocol has no NUL (RFC 9051 §9).
            assert copy.content == (ODD[name] if b"\0" in copy.content else shown), name
        assert [one.size for one in listed] == [len(copy.content) for copy in copies]
        heads = await fetched(box, [one.place for one in listed], "headers")
        assert all(copy.content.startswith(head.content) for copy, head in zip(copies, heads, strict=True))


@every_way()
async def test_a_large_message(post: Post) -> None:
    large = message("large", 10_000_000)
    post.put(message("before"), large, message("after"))

    async with post.open() as account:
        box = account.folder("INBOX")
        listed = await all_listed(box)
        assert listed[1].size == len(large)
        copies = await fetched(box, [one.place for one in listed])
        assert [len(copy.content) for copy in copies] == [one.size for one in listed]
        assert copies[1].content == large
        (head,) = await fetched(box, [listed[1].place], "headers")
        assert head.content == large.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
