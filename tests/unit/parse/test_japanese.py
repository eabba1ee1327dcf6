"""Japanese with characters that only vendors know, and with broken ones."""

import time
from base64 import b64encode

import pytest

from router.parse.charset import decode
from router.parse.message import parse
from tests.support.build import mail

# "①見積り" and "㈱山田の髙橋": circled one, (kabu), and a family name that JIS X 0208 writes otherwise.
NUMBER = b"\x1b$B-!8+@Q$j\x1b(B"
COMPANY = b"\x1b$B-j;3ED$N|b66\x1b(B"


@pytest.mark.parametrize("label", ["iso-2022-jp", "ISO-2022-JP", "csISO2022JP", "iso-2022-jp-ms", "cp50221", None])
def test_characters_of_vendors_are_read_as_windows_writes_them(label: str | None) -> None:
    assert decode(NUMBER, label) == ("①見積り", None)
    assert decode(COMPANY, label) == ("㈱山田の髙橋", None)


@pytest.mark.parametrize("label", ["euc-jp", "x-euc-jp", "cp51932", "eucjp-ms"])
def test_they_are_read_in_euc_jp_too(label: str) -> None:
    assert decode("見積りです".encode("euc_jp") + b"\xad\xa1", label) == ("見積りです①", None)


def test_every_character_of_code_page_932_is_read_in_iso_2022_jp() -> None:
    missed = []
    for row in range(0x21, 0x7F):
        for cell in range(0x21, 0x7F):
            lead = (row - 0x21) // 2 + (0x81 if row < 0x5F else 0xC1)
            trail = cell + 0x7E if row % 2 == 0 else cell + (0x1F if cell < 0x60 else 0x20)
            try:
                wanted = bytes((lead, trail)).decode("cp932")
            except UnicodeDecodeError:
                wanted = "\ufffd"
            text, _ = decode(b"\x1b$B" + bytes((row, cell)) + b"\x1b(B", "iso-2022-jp")
            if len(text) != 1 or (text != wanted and wanted not in "＼～∥－￠￡￢"):
                missed.append((row, cell, text))
    assert missed == []


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b$B8+@Q\x2f\x7e$j\x1b(B", "見積\ufffdり"),  # a cell that nobody fills
        (b"\x1b$B8+@Q\xff$j\x1b(B ok", "見積\ufffdり ok"),  # a byte of no charset
        (b"\x1b$B8+@Q$j\x1b(B \xff ok", "見積り \ufffd ok"),
    ],
)
def test_one_bad_character_costs_one_character(raw: bytes, text: str) -> None:
    assert decode(raw, "iso-2022-jp") == (text, "some characters are not in the charset that it names, iso-2022-jp")


def test_one_bad_byte_costs_one_character_in_the_other_charsets_of_japanese() -> None:
    words = "お見積りをお送りします。ご確認のほど、よろしくお願いいたします。"
    for codec, bad in (("cp932", b"\x85"), ("euc_jp", b"\xff")):
        text, _ = decode(words.encode(codec) + bad + b"\n" + words.encode(codec), codec)
        assert text == f"{words}\ufffd\n{words}"


@pytest.mark.parametrize("codec", ["euc_jp", "cp932"])
@pytest.mark.parametrize("label", [None, "x-nonsense", "us-ascii"])
@pytest.mark.parametrize(
    "words",
    [
        "お世話になっております。先日の件、ありがとうございました。",
        "見積りをお送りします",
        "カタログを送ってください",
        "佐藤です",
    ],
)
def test_where_kana_are_frequent_it_is_japanese(codec: str, label: str | None, words: str) -> None:
    assert decode(words.encode(codec), label)[0] == words


@pytest.mark.parametrize(
    ("words", "codec"),
    [
        ("您好，请查收附件中的报价单，如有问题请随时与我联系。谢谢！", "gb18030"),
        ("您好，請查收附件中的報價單，如有問題請隨時與我聯繫。謝謝！", "big5"),
        ("안녕하세요. 견적서를 보내 드립니다. 확인 부탁드립니다.", "cp949"),
        ("中日文化交流中心的月水日火", "big5"),
        ("Привет, это предложение №5. Жду ответа!", "cp1251"),
        ("Größe: 5 €, „süß“", "cp1252"),
        ("Příliš žluťoučký kůň úpěl ďábelské ódy", "cp1250"),
    ],
)
def test_chinese_and_korean_stay_what_they_are(words: str, codec: str) -> None:
    assert decode(words.encode(codec))[0] == words


def test_subject_names_and_text_have_them() -> None:
    def word(raw: bytes) -> str:
        return f"=?ISO-2022-JP?B?{b64encode(raw).decode()}?="

    raw = mail(subject=word(NUMBER), **{"from": f"{word(COMPANY)} <ann@client.example>"})
    raw = raw.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n" + NUMBER + b"\r\n")
    message = parse(raw)
    assert (message.subject, message.of("from")[0].name) == ("①見積り", "㈱山田の髙橋")
    assert (message.text or "").startswith("①見積り\n")
    assert message.defects == ()


def test_broken_text_is_read_in_time_that_grows_with_its_length_alone() -> None:
    def seconds(raw: bytes) -> float:
        began = time.process_time()
        decode(raw, "iso-2022-jp")
        return time.process_time() - began

    for piece in (b"-!", b"\x1b", b"\xff", b"\x1b$B-!\x1b(B"):
        short, long = seconds(b"\x1b$B" + piece * 20_000), seconds(b"\x1b$B" + piece * 200_000)
        assert long < 40 * short + 0.2
