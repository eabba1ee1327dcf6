import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.parse.marks import LONGEST, Kind, find_marks
from tests.support.paths import CORPORA

TABLE: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("marks.json").read_text(encoding="utf-8"))
MAILS = [name for name in TABLE if name.endswith(".txt")]


def marked(text: str, kind: Kind) -> list[str]:
    return [text[mark.start : mark.end] for mark in find_marks(text) if mark.kind == kind]


def lines_of(text: str, kind: Kind | None) -> str:
    """The lines, counted from 1, that are marked as one kind, or not at all; empty ones left out."""
    marks = find_marks(text)
    position = 0
    ranges: list[list[int]] = []
    for number, line in enumerate(text.split("\n"), 1):
        found = next((mark.kind for mark in marks if mark.start <= position < mark.end), None)
        if line.strip() and found == kind:
            if ranges and number <= ranges[-1][1] + 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        position += len(line) + 1
    return " ".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges)


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)")
@pytest.mark.parametrize("name", MAILS)
def test_what_was_written_is_told_from_what_was_quoted(name: str) -> None:
    text = (CORPORA / "email-reply-trimmer" / name).read_text(encoding="utf-8").replace("\r\n", "\n")
    assert lines_of(text, None) == TABLE[name]["written"]
    assert lines_of(text, "signature") == TABLE[name]["signature"]


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)")
def test_mail_forwarded_by_many_programs_in_many_languages_is_found() -> None:
    files = list((CORPORA / "email-forward-parser").glob("*_body*.txt"))
    assert len(files) > 180
    unseen = [path.name for path in files if not find_marks(path.read_text(encoding="utf-8").replace("\r\n", "\n"))]
    assert unseen == ["outlook_2019_hu_body.txt"]  # it has parentheses around the address


@pytest.mark.parametrize(
    "attribution",
    [
        "On Mon, 1 Feb 2016 at 4:58, Ann Smith <ann@client.example> wrote:",
        "On Mon, 1 Feb 2016 at 4:58, Ann Smith <\nann@client.example> wrote:",
        "Am 01.02.2016 um 04:58 schrieb Ann Smith:",
        "Le 1 févr. 2016 à 04:58, Ann Smith a écrit :",
        "El lun, 1 feb 2016 a las 4:58, Ann Smith (<ann@client.example>) escribió:",
        "Il giorno 1 feb 2016, alle ore 04:58, Ann Smith ha scritto:",
        "Op ma 1 feb. 2016 om 04:58 schreef Ann Smith <ann@client.example>:",
        "Em 1 de fev. de 2016, Ann Smith escreveu:",
        "Den mån 1 feb. 2016 kl 04:58 skrev Ann Smith <ann@client.example>:",
        "1 февраля 2016 г., Ann Smith написала:",
        "W dniu 2016-02-01 o 04:58, Ann Smith napisał:",
        "在 2016年2月1日，上午4:58，Ann Smith 写道：",
        "Ann Smith <ann@client.example> wrote:",
        '21.11.2026, 10:15, "Ann Smith" <ann@client.example>:',
        "21 ноября 2026, 10:15, Ann Smith <ann@client.example>:",
        "Суббота, 21 ноября 2026, 10:15 +03:00 от Ann Smith <ann@client.example>:",
        "Saturday, November 21, 2026 10:15 AM +03:00 from Ann Smith <ann@client.example>:",
        "сб, 21 нояб. 2026 г. в 10:15, Ann Smith <ann@client.example>:",
        "сб, 21 нояб. 2026 г. в 10:15, Ann Smith <\nann@client.example>:",
        "sob., 21 lis 2026 o 10:15 Ann Smith <ann@client.example>:",
        "2026年11月21日(土) 10:15 Ann Smith <ann@client.example>:",
        "so 21. 11. 2026 v 10:15 odesílatel Ann Smith <ann@client.example>:",
        "\u202bבתאריך שבת, 21 בנוב׳ 2026 ב-10:15 מאת \u202aAnn\u202c <\u202aann@client.example\u202c\u200f>:\u202c",
        "Ann Smith <ann@client.example>, 21 Kas 2026 Cmt, 10:15:",
        "2026-11-21 10:15 ann@client.example:",
        "Sat, 21 Nov 2026 10:15:32 +0100 Ann Smith <ann@client.example>:",
        "-----Ann Smith <ann@client.example> wrote: -----",
        "-----Ann Smith/Firma schrieb: -----",
    ],
)
def test_who_wrote_a_quote_is_part_of_it(attribution: str) -> None:
    for quote in ("> Hello.\n> Bye.\n", "Hello.\n\nBye.\n"):
        text = f"Yes.\n\n{attribution}\n\n{quote}"
        assert marked(text, "quote") == [f"{attribution}\n\n{quote}"]
    assert find_marks(f"Yes.\n\n> Hello.\n\n{attribution}\n\n> Hello.\n\nMy answer.\n")[-1].end < len("") + 200


ANN = "Ann <ann@client.example>"
BLOCKS = {
    "GMX": f"Gesendet: Samstag, 21. November 2026 um 10:15 Uhr\nVon: {ANN}\nAn: x\nBetreff: Angebot\n",
    "GMX in English": f"Sent: Saturday, November 21, 2026 at 10:15 AM\nFrom: {ANN}\nTo: x\nSubject: Offer\n",
    "T-Online": f"-----Original-Nachricht-----\nBetreff: Angebot\nDatum: 2026-11-21T10:15:00+0100\nVon: {ANN}\n",
    "T-Online, in other words": f"-----Weitere Nachricht-----\nBetreff: Angebot\nDatum: 2026-11-21\nVon: {ANN}\n",
    "Hotmail": f"Date: Sat, 21 Nov 2026 10:15:00 +0100\nSubject: Offer\nFrom: {ANN}\nTo: x@example.com\n",
    "Hotmail, To first": f"To: x@example.com\nSubject: Offer\nFrom: {ANN}\nDate: Sat, 21 Nov 2026\n",
    "Windows Mail": "Von: [Ann](mailto:ann@client.example)\nGesendet: Samstag, 21. November 2026\nBetreff: Angebot\n",
    "Notes": f"Von:        {ANN}\nAn:        x\nDatum:        21.11.2026 10:15\nThema:        Angebot\n",
    "Notes in a line": "Ann Smith ---21.11.2026 10:15:32---Dear Bob, here is\n\nFrom: Ann\nTo: x\nSubject: Offer\n",
    "Outlook in Russian": f"Кому: x@example.com\nТема: Предложение\nОт: {ANN}\n",
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize(
    "rule", ["", "_" * 32 + "\n", "-" * 20 + "\n\n", "\n" + "*" * 10 + "\n", "-----Nachricht-----\n"]
)
def test_headers_in_words_are_a_quote_whichever_comes_first_and_so_is_the_rule_above(name: str, rule: str) -> None:
    quote = f"{rule.lstrip()}{BLOCKS[name]}\nHello.\n\nBye.\n"
    assert marked(f"Yes.\n\n{quote}", "quote") == [quote]


@pytest.mark.parametrize(
    "above",
    [
        "Thursday suits us, and all twelve in one box\n\n",
        "Thursday suits us\nJo\n",
        "On Thursday at 9 we can be there\nJo\n\n",
    ],
)
def test_a_day_at_the_beginning_of_a_sentence_is_no_beginning_of_a_quote(above: str) -> None:
    quote = "On Mon, 1 Feb 2016 at 4:58, Ann Smith <ann@client.example> wrote:\n> When?"
    assert marked(above + quote, "quote") == [quote]


def test_the_rule_above_who_wrote_belongs_to_the_quote() -> None:
    for line in ("21.11.2026, 10:15, Ann <ann@client.example>:", "On 1 Feb 2016, Ann wrote:"):
        for quote in (f"----------------\n{line}\n> Hello.\n", f"________________\n\n{line}\n\nHello.\n"):
            assert marked(f"Yes.\n\n{quote}", "quote") == [quote]


@pytest.mark.parametrize(
    "text",
    [
        "21.11.2026, 10:15, Hall 3:\nthe meeting\n",
        "Write to ann@client.example:\nshe knows\n",
        "Meeting with Ann <ann@client.example>:\n21.11.2026 10:15\n",
        "On 21.11.2026 at 10:15 we meet ann@client.example and Bob:\nbring the lamp\n",
        "Date: 21 November\nPlace: Berlin\nSubject: lamps\n",
        "To: Paris\nFrom: Berlin\nDate: 21 November\n",
        "-----Prices-----\nLamp: 5\n",
        "I wrote:\nsee below\n",
        "On this day\n\nI wrote something\n",
        "From: the beginning\nit was wrong.\n",
        "From: Berlin\nTo: Paris\nDate: 5 December\n",
        "One.\n\n--\n\nTwo.\n\n--\n\nThree.\n",
        "One.\n\n--\n\n" + "Two.\n" * 12,
        "One.\n____\nTwo.\n____\nThree.\n",
        "Hello.\n\nSent from my old office was a parcel.\n",
        "Am 5. Dezember um 10 Uhr komme ich.\nHerr Meier schrieb:\ngut.\n",
        "a > b\n| a lone bar\n",
        "Dear Ann,\n\n--------\nPrices\n--------\n" + "An item of the list, with its price\n" * 12,
        "",
    ],
)
def test_what_only_looks_alike_is_not_marked(text: str) -> None:
    assert find_marks(text) == ()


def test_a_quote_at_the_end_is_what_was_forwarded_if_the_subject_says_so() -> None:
    headers = "From: Ann <ann@client.example>\nSent: Monday\nSubject: Offer\n\nHello.\n"
    for quote in (headers, "> From: Ann\n>\n> Hello.\n", "On 1 Feb 2016, Ann wrote:\n\nHello.\n"):
        kinds = [[mark.kind for mark in find_marks(f"See below.\n\n{quote}", forwarded=said)] for said in (True, False)]
        assert kinds == [["forward"], ["quote"]]
    assert [mark.kind for mark in find_marks("> Hello.\n\nMy answer.\n", forwarded=True)] == ["quote"]


@pytest.mark.skipif(not CORPORA.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)")
def test_what_was_forwarded_is_told_from_a_quote_by_the_subject() -> None:
    files = list((CORPORA / "email-forward-parser").glob("*_body*.txt"))
    texts = {path.name: path.read_text(encoding="utf-8").replace("\r\n", "\n") for path in files}
    kinds = {name: {mark.kind for mark in find_marks(text, forwarded=True)} for name, text in texts.items()}
    unseen = [name for name, found in kinds.items() if "forward" not in found]
    assert unseen == ["outlook_2019_hu_body.txt"]  # as above


def test_a_signature_ends_where_a_quote_begins() -> None:
    text = "Yes.\n\n-- \nAnn\nSales\n\nOn 1 Feb 2016, Bob wrote:\n> Hello?\n"
    assert marked(text, "signature") == ["-- \nAnn\nSales\n\n"]
    assert marked(text, "quote") == ["On 1 Feb 2016, Bob wrote:\n> Hello?\n"]


@pytest.mark.parametrize(
    "line", ["On 1:", "On 1 Feb 2016 x wrote:", "--------", "From: x", "> x", "-- ", "", "sent from x", "____"]
)
def test_t96_many_lines_that_could_begin_something_are_bounded(line: str) -> None:
    text = f"{line}\n" * (1_000_000 // (len(line) + 1))
    assert all(mark.end <= LONGEST for mark in find_marks(text))


@given(st.text(alphabet=">|-_ \nOn1:ab@<>", max_size=300))
def test_marks_are_in_order_and_apart(text: str) -> None:
    position = 0
    for mark in find_marks(text):
        assert position <= mark.start < mark.end <= len(text)
        position = mark.end
