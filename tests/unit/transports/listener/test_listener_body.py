"""Where the content of a message ends, however it comes, and how much of it is held."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from transports._listener.body import TOO_LARGE, TOO_MUCH, Body
from transports._listener.limits import Budget
from transports.base import Acceptance

PIECES = st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"\r\n.", b".\r\n", b"a" * 30]), max_size=40)


async def read(chunks: list[bytes], body: Body, *, limit: int = 16) -> tuple[bytes | Acceptance, bytes]:
    """Read a body that comes in these chunks; also what is left on the connection."""
    reader = asyncio.StreamReader(limit=limit)
    reading = asyncio.create_task(body.read(reader))
    for chunk in chunks:
        reader.feed_data(chunk)
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        content = await reading
    reader.feed_eof()
    return content, await reader.read()


@given(PIECES, st.integers(1, 7))
def test_it_ends_at_the_first_line_that_is_only_a_dot_and_nowhere_else(pieces: list[bytes], step: int) -> None:
    said = b"".join(pieces) + b"\r\n.\r\nQUIT\r\n"
    before, after = (b"\r\n" + said).split(b"\r\n.\r\n", 1)
    expected = (before + b"\r\n").replace(b"\r\n.", b"\r\n").removeprefix(b"\r\n")
    chunks = [said[start : start + step] for start in range(0, len(said), step)]
    body = Body(10_000, Budget(10_000))
    assert asyncio.run(read(chunks, body)) == (expected, after)


@given(PIECES)
def test_what_is_refused_is_read_to_its_end_and_not_held(pieces: list[bytes]) -> None:
    said = b"a" * 200 + b"\r\n" + b"".join(pieces) + b"\r\n.\r\nQUIT\r\n"
    after = said.split(b"\r\n.\r\n", 1)[1]
    for refusal, max_size, held in ((TOO_LARGE, 100, 10_000), (TOO_MUCH, 10_000, 100)):
        budget = Budget(held)
        body = Body(max_size, budget)
        assert asyncio.run(read([said], body)) == (refusal, after)
        assert budget.has(held)


def test_what_is_held_is_given_back_once() -> None:
    budget = Budget(100)
    body = Body(100, budget)
    asyncio.run(read([b"a" * 80 + b"\r\n.\r\n"], body))
    assert not budget.has(90)
    body.drop()
    body.drop()
    assert budget.has(100)
    assert not budget.has(101)


async def test_lines_that_look_like_the_end_let_others_have_their_turn() -> None:
    turns = 0

    async def go_round() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    reader = asyncio.StreamReader(limit=100_000)
    reader.feed_data(b"a.\r\n" * 10_000 + b".\r\n")
    going = asyncio.create_task(go_round())
    await Body(100_000, Budget(100_000)).read(reader)
    going.cancel()
    assert turns >= 100
