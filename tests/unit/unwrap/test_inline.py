"""Mail that is forwarded in the text of another, of many programs and languages (../shared/corpora).

`forwards.tsv` was made from what `read_inline` says, and then compared with what the corpus is made of: one mail, by
one sender, of a few dates, in one text. It finds the sender in 179 of the 180 forwards, the subject in 178, the date
in 179, the recipients in 161 of the 162 that name them, and the text in 179; it takes none of the 10 answers for one.
"""

import hashlib
from datetime import UTC, timedelta, timezone
from pathlib import Path

import pytest

from router.unwrap import Trust, unwrap
from router.unwrap.inline import read_inline
from tests.support.letters import letter
from tests.support.paths import CORPORA

CORPUS = CORPORA / "email-forward-parser"
TABLE = Path(__file__).with_name("forwards.tsv")
SUBJECTS = {"forward": "FW: The subject", "answer": "Re: The subject", "none": ""}
ROWS = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]

HEADED = """\
Von: Karl Kunde <karl@kunde.test>
Gesendet: Mittwoch, 18. November 2026 09:31
An: Ulla <ulla@in.test>; Otto <otto@in.test>
Betreff: Angebot CRM:k3m9x2p7

Hallo,
hier.
"""


def found(name: str, kind: str) -> list[str]:
    text = (CORPUS / f"{name}.txt").read_text(encoding="utf-8").replace("\r\n", "\n")
    message = read_inline(text, SUBJECTS[kind], UTC)
    if message is None or message.sender is None:
        return [name, kind, "-"]
    body = message.text or ""
    return [
        *(name, kind, message.sender),
        message.date.isoformat() if message.date else "-",
        *(" ".join(one.address for one in message.of(role)) or "-" for role in ("to", "cc")),
        f"{body.count(chr(10))} {hashlib.sha256(body.encode()).hexdigest()[:12]}",
    ]


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)")
def test_t89_forwards_of_many_programs_in_many_languages_are_read() -> None:
    assert {row[0] for row in ROWS} == {path.stem for path in CORPUS.glob("*_body*.txt")}
    assert [row for row in ROWS if found(row[0], row[1]) != row] == []


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)")
def test_t89_the_subject_is_found_in_them() -> None:
    missed = []
    for name, kind, sender, *_ in ROWS:
        text = (CORPUS / f"{name}.txt").read_text(encoding="utf-8").replace("\r\n", "\n")
        message = read_inline(text, SUBJECTS[kind], UTC)
        if sender != "-" and (message is None or message.subject not in {"Integer consequat non purus", "The subject"}):
            missed.append(name)
    assert missed == ["yahoo_pt_body"]  # it has no colon behind the word


def test_t89_the_shares_are_those_that_the_page_tells() -> None:
    forwards = [row for row in ROWS if row[1] != "answer"]
    assert (len(ROWS), len(forwards)) == (190, 180)
    assert sum(row[2] != "-" for row in forwards) == 179
    assert sum(row[2] != "-" for row in ROWS if row[1] == "answer") == 0


@pytest.mark.parametrize("above", ["", "Zur Info.\n\n", "-----Ursprüngliche Nachricht-----\n"])
def test_t89_with_a_forwards_subject_the_headers_are_enough(above: str) -> None:
    message = read_inline(above + HEADED, "WG: Angebot", timezone(timedelta(hours=1)))
    assert message is not None
    assert message.sender == "karl@kunde.test"
    assert [one.address for one in message.of("to")] == ["ulla@in.test", "otto@in.test"]
    assert (message.subject, message.tokens) == ("Angebot CRM:k3m9x2p7", ("k3m9x2p7",))
    assert message.date is not None
    assert message.date.isoformat() == "2026-11-18T09:31:00+01:00"
    assert message.text == "Hallo,\nhier.\n"


def test_t89_what_quotes_like_a_forward_and_is_an_answer_is_none() -> None:
    assert read_inline("Ja.\n\n" + HEADED, "AW: Angebot", UTC) is None
    assert (
        read_inline("Yes.\n\nOn 18/11/2026 09:31, Karl <karl@kunde.test> wrote:\n\n> Hello\n", "Re: Offer", UTC) is None
    )


def test_t89_headers_that_are_folded_bold_and_apart_are_read() -> None:
    text = (
        "---------- Forwarded message ---------\n*From:* Karl <karl@kunde.test>\n\n*Sent:* Nov 18, 2026 9:31 PM\n"
        "*To:* Ulla <ulla@in.test>,\n Otto <otto@in.test>\n*Subject:* Offer\n\n\nHello.\n"
    )
    message = read_inline(text, "", UTC)
    assert message is not None
    assert message.date is not None
    assert message.date.isoformat() == "2026-11-18T21:31:00+00:00"
    assert [one.address for one in message.of("to")] == ["ulla@in.test", "otto@in.test"]
    assert (message.subject, message.text) == ("Offer", "Hello.\n")


def test_t89_only_the_uppermost_is_unwrapped() -> None:
    inner = HEADED.replace("karl@kunde.test", "boss@kunde.test")
    message = read_inline(HEADED + "\n" + inner, "WG: Angebot", UTC)
    assert message is not None
    assert message.sender == "karl@kunde.test"
    assert "boss@kunde.test" in (message.text or "")


def test_t89_a_sender_without_an_address_is_not_enough() -> None:
    text = HEADED.replace("Karl Kunde <karl@kunde.test>", "Karl Kunde")
    assert unwrap(letter("ulla@in.test", "sink@in.test", "WG: Angebot", text), Trust(("*@in.test",), None)).held


def test_t89_files_of_the_forward_are_the_originals() -> None:
    mail = letter("ulla@in.test", "sink@in.test", "WG: Angebot", HEADED, html="<p>x</p>")
    mail = mail.replace(b"multipart/alternative", b"multipart/mixed").replace(
        b"Content-Type: text/html;",
        b'Content-Disposition: attachment; filename="offer.html"\r\nContent-Type: text/html;',
    )
    found = unwrap(mail, Trust(("*@in.test",), None))
    assert found.form == "inline"
    assert found.originals[0].content == b""
    assert [one.filename for one in found.originals[0].reading.attachments] == ["offer.html"]


@pytest.mark.parametrize(
    "text",
    [
        "From: a@b.test\n" * 400_000,
        "> From: a@b.test\n" * 300_000,
        "> " * 90_000 + HEADED,
        "a:\n" * 60_000,
        "----- x " * 20_000,
    ],
)
def test_hostile_texts_hold_none(text: str) -> None:
    assert read_inline(text, "Fwd: x", UTC) is None


@pytest.mark.parametrize("prefix", ["I:", "PD:", "TR:"])
def test_a_subject_that_begins_so_by_chance_makes_no_forward_of_an_answer(prefix: str) -> None:
    answer = 'Yes.\n\nOn 28/10/2021 12:46, "John Doe" <john@client.example> wrote:\n> Hello?\n'
    assert read_inline(answer, f"{prefix} Offer", None) is None
    assert read_inline(answer, "Fwd: Offer", None) is not None
    block = "From: John Doe <john@client.example>\nDate: 28/10/2021\nSubject: Offer\n\nHello\n"
    assert read_inline(block, f"{prefix} Offer", None) is not None
