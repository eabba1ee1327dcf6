from dataclasses import replace

import pytest

from router.model import Attachment, Likeness, Mention, Message
from router.parse.likeness import likeness_of

OFFER = Message(
    subject="The offer",
    mentions=(Mention("from", 0, "ann@client.example", "Ann"),),
    text="Good morning,\nhere it is.\n",
    html="<p>Good morning</p>",
)
LETTER = Attachment("a.pdf", "application/pdf", b"")
FOOTER = Attachment("footer.txt", "text/plain", b"")


def likeness(message: Message, *digests: bytes) -> Likeness:
    return likeness_of(message, digests)


def test_the_same_message_is_the_same_whatever_transport_adds() -> None:
    assert likeness(OFFER) == likeness(replace(OFFER, headers=(("received", b"by mx"),), message_id="a@b"))


@pytest.mark.parametrize(
    "changed",
    [
        replace(OFFER, subject="[sales] The offer"),
        replace(OFFER, text="Good  morning, here\nit is."),
        replace(OFFER, text=f"{OFFER.text}{'_' * 40}\nsales mailing list\n"),
        replace(OFFER, html=None),
        replace(OFFER, mentions=(Mention("from", 0, "list@client.example"),)),
    ],
    ids=["a tag", "other line ends", "a footer", "no HTML", "the list as sender"],
)
def test_a_copy_that_a_list_changed_says_much_the_same(changed: Message) -> None:
    assert likeness(changed).gist == likeness(OFFER).gist
    assert likeness(changed).content != likeness(OFFER).content


@pytest.mark.parametrize(
    "other",
    [replace(OFFER, subject="The order"), replace(OFFER, text="Good morning,\nthere it is.\n")],
    ids=["another subject", "another text"],
)
def test_what_says_something_else_is_unlike(other: Message) -> None:
    assert likeness(other).gist != likeness(OFFER).gist


@pytest.mark.parametrize(
    "below", ["\n".join(["Pay to account 2"] * 20), "Pay to account 2. " * 100], ids=["many lines", "long lines"]
)
def test_what_is_too_long_for_a_footer_is_what_the_message_says(below: str) -> None:
    rule = "_" * 40
    answer = replace(OFFER, text=f"{OFFER.text}{rule}\n{below}\n")
    assert likeness(answer).gist != likeness(OFFER).gist
    listed = replace(OFFER, text=f"{answer.text}{rule}\nsales mailing list\n")
    assert (likeness(listed).gist == likeness(answer).gist) == ("\n" in below)


def test_attachments_count_but_for_text_in_the_gist() -> None:
    with_letter = replace(OFFER, attachments=(LETTER,))
    assert likeness(with_letter, b"1").gist not in {likeness(with_letter, b"2").gist, likeness(OFFER).gist}
    with_footer = replace(OFFER, attachments=(FOOTER,))
    assert likeness(with_footer, b"1").gist == likeness(OFFER).gist
    assert likeness(with_footer, b"1").content != likeness(OFFER).content


def test_who_sent_it_is_known_by_the_gist_of_the_sender_alone() -> None:
    other = likeness(replace(OFFER, mentions=(Mention("from", 0, "eve@evil.example"),)))
    assert other.gist == likeness(OFFER).gist
    assert other.sender_gist != likeness(OFFER).sender_gist
    assert likeness(replace(OFFER, subject="[sales] The offer", html=None)).sender_gist == likeness(OFFER).sender_gist


def test_nothing_can_be_moved_from_one_part_to_the_next() -> None:
    texts = [("ab", "c"), ("a", "bc"), ("abc", None), (None, "abc"), ("a1:b", "c"), ("a", "1:bc")]
    found = {likeness(replace(OFFER, text=text, html=html)).content for text, html in texts}
    assert len(found) == len(texts)
