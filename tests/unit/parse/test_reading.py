"""What reading a message works out, so that nothing is left to be done within a transaction."""

import hashlib
import random
import zlib
from dataclasses import asdict

import pytest

from router.decide import decide
from router.model import Attachment, Classification, Facts, Mark, Message
from router.parse import reading as work
from router.parse.reading import reading_of
from router.read import read
from tests.support.build import copy, mail

NOISE = random.Random(1).randbytes(200_000)


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"", "identity"),
        (b"ab", "identity"),
        (b"again and " * 20_000, "zlib"),
        (NOISE, "identity"),
        (b" " * 9_000 + NOISE, "identity"),
    ],
)
def test_an_attachment_is_packed_where_that_pays(content: bytes, encoding: str) -> None:
    attachment = Attachment("safe.txt", "text/plain", content, "id@x", inline=True, original_filename="sa/fe.txt")
    reading = reading_of(Message(attachments=(attachment,)), Classification())
    assert reading.message.attachments == ()  # they cross the processes once
    [packed] = reading.attachments
    assert packed.encoding == encoding
    assert len(packed.content) <= len(content)
    assert (packed.content if encoding == "identity" else zlib.decompress(packed.content)) == content
    assert packed.sha256 == hashlib.sha256(content).digest()
    of_both = asdict(attachment).keys() & asdict(packed).keys() - {"content"}
    assert {name: getattr(packed, name) for name in of_both} == {name: getattr(attachment, name) for name in of_both}
    assert packed.size == len(content)


def test_the_key_of_a_message_without_an_id_is_of_its_attachments_too() -> None:
    first, second = (Message(attachments=(Attachment("a", "text/plain", content),)) for content in (b"1", b"2"))
    assert reading_of(first, Classification()).key == first.key != second.key


def test_marks_are_found_when_a_message_is_read_and_never_when_it_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = mail("Yes.\r\n\r\n> Offer?\r\n")
    reading = read(raw, (), None)
    assert reading.text_marks == (Mark(6, 15, "quote"),)
    one = copy(raw)
    monkeypatch.setattr(work, "find_marks", None)
    email = decide(one, Facts()).email
    assert email is not None
    assert email.text_marks == reading.text_marks
