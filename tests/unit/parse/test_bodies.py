import pytest

from router.model import Message
from router.parse.bodies import calendar_text, take_uuencoded, unflow
from router.parse.charset import codec_of, decode
from router.parse.message import parse
from tests.support.build import mail
from tests.unit.parse.test_message import multipart


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("one \ntwo\nthree", "one two\nthree"),
        ("> one \n> two\nthree", "> one two\nthree"),
        (">> one \n> two", ">> one \n> two"),
        (" >not a quote \n  and stuffed", ">not a quote  and stuffed"),
        ("text \n-- \nAnn \nSales", "text \n-- \nAnn Sales"),
        ("one  ", "one  "),
        ("", ""),
    ],
)
def test_flowed_lines_are_joined(written: str, read: str) -> None:
    assert unflow(written, delsp=False) == read


def test_t96_millions_of_flowed_lines_are_bounded_and_kept() -> None:
    text = "> a \n> b\n" * 1_000_000
    read = unflow(text, delsp=False)
    assert read.startswith("> a b\n> a b\n")
    assert read.endswith("> a \n> b\n")
    assert len(read.split("\n")) == 1_950_001


def test_flowed_text_of_a_message() -> None:
    message = parse(mail("日本 \r\n語\r\n", content_type="text/plain; charset=utf-8; Format=Flowed; DelSp=Yes"))
    assert message.text == "日本語\n"
    assert parse(mail("one \r\ntwo\r\n")).text == "one \ntwo\n"


@pytest.mark.parametrize(
    ("label", "codec"),
    [
        ("x-sjis", "cp932"),
        ("Windows-31J", "cp932"),
        ("ks_c_5601-1987", "cp949"),
        ("iso-8859-8-i", "iso8859-8"),
        ("x-mac-cyrillic", "mac-cyrillic"),
        ("unicode-1-1-utf-8", "utf-8"),
        ("dos-874", "cp874"),
        ("latin1", "cp1252"),
        ("'UTF-8'", "utf-8"),
        ("iso88591", "cp1252"),
        ("us-ascii*en", "utf-8"),
        ("x-made-up", None),
        ("zip", None),
        ("unicode_escape", None),
    ],
)
def test_labels_of_charsets(label: str, codec: str | None) -> None:
    assert codec_of(label) == codec


RUSSIAN = "Уважаемые коллеги, благодарим вас за ваш запрос. Мы отправим товар завтра утром."


@pytest.mark.parametrize(
    ("text", "charset"),
    [
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        ("お世話になっております。本日の会議の資料を添付いたします。", "cp932"),
        ("お世話になっております。本日の会議の資料を添付いたします。", "euc_jp"),
        ("お世話になっております。", "iso2022_jp"),
        ("안녕하세요. 문의해 주셔서 감사합니다.", "cp949"),
        ("您好，感謝您的來信。我們將在明天上午發貨。", "big5"),
        ("Αγαπητέ κύριε, σας ευχαριστούμε για το μήνυμά σας.", "cp1253"),
        ("Grüße aus Köln", "cp1252"),
        ("Grüße aus Köln", "utf-8"),
    ],
)
@pytest.mark.parametrize("label", [None, "x-unknown", "us-ascii"])
def test_a_charset_is_found_where_none_is_named_or_a_wrong_one(text: str, charset: str, label: str | None) -> None:
    if (charset, label) != ("iso2022_jp", "us-ascii"):  # which is ASCII
        assert decode(text.encode(charset), label)[0] == text


SHORT = [
    ("Добрый день! Когда придёт товар?", "cp1251"),
    ("Привет", "cp1251"),
    ("Счёт на оплату", "cp1251"),
    ("Добрый день! Когда придёт товар?", "koi8-r"),
    ("Привет", "koi8-r"),
    ("Счёт на оплату", "koi8-r"),
    ("Добрий день! Коли прийде замовлення?", "koi8-u"),
    ("Добрий день! Коли прийде замовлення?", "cp1251"),
    ("Καλημέρα σας", "cp1253"),
    ("Σας ευχαριστώ για την απάντηση", "cp1253"),
    ("Πότε θα έρθει η παραγγελία μου;", "iso8859-7"),
    ("Τιμολόγιο", "cp1253"),
    ("שלום, מתי תגיע ההזמנה שלי?", "cp1255"),
    ("תודה רבה", "cp1255"),
    ("חשבונית", "cp1255"),
    ("Değerli müşterimiz, faturanız ektedir.", "cp1254"),
    ("Günaydın, iyi çalışmalar", "cp1254"),
    ("Dzień dobry, kiedy przyjdzie moje zamówienie? Dziękuję.", "cp1250"),
    ("Proszę o fakturę za październik", "iso8859-2"),
    ("Příliš žluťoučký kůň, děkuji za odpověď", "cp1250"),
    ("شكرا جزيلا على ردكم", "cp1256"),
    ("ขอบคุณมากครับ", "cp874"),
    ("สินค้าจะมาถึงเมื่อไร", "cp874"),
    ("Grüße aus Köln", "cp1252"),
    ("Müller", "cp1252"),
    ("Où est la commande ? Déjà reçue, merci à vous.", "cp1252"),
    ("¿Cuándo llegará mi pedido? Mañana", "cp1252"),
    ("Não, a encomenda já está aqui, obrigação", "cp1252"),
    ("Blåbærgrød på søndag", "cp1252"),
    ("Rechnung für März – 20 €", "cp1252"),
    ("“quoted” – it’s fine", "cp1252"),
    ("ありがとうございます", "cp932"),
    ("請求書", "cp932"),
    ("商品はいつ届きますか", "cp932"),
    ("ありがとうございます", "euc_jp"),
    ("商品はいつ届きますか", "euc_jp"),
    ("谢谢您的回复", "gb18030"),
    ("请问什么时候发货？", "gb18030"),
    ("請問什麼時候出貨？", "big5"),
    ("감사합니다", "cp949"),
    ("제 주문은 언제 도착합니까?", "cp949"),
    ("Grüße", "utf-8"),
    ("Привет", "utf-8"),
]


@pytest.mark.parametrize(("text", "charset"), SHORT)
def test_the_charset_of_a_line_is_found(text: str, charset: str) -> None:
    assert decode(text.encode(charset))[0] == text


def test_a_label_of_one_byte_charsets_does_not_hide_utf8() -> None:
    guessed = "it is not in the charset that it names, iso-8859-1: another was guessed"
    assert decode("Grüße".encode(), "iso-8859-1") == ("Grüße", guessed)


@pytest.mark.parametrize("label", [None, "utf-8", "x-unknown"])
@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Schöne Grüße, 5 ".encode() + b"\x80", "Schöne Grüße, 5 \ufffd"),
        ("Да ".encode() + b"\xd0", "Да \ufffd"),
        ("Grüße ".encode() + b"\xfc und mehr", "Grüße \ufffd und mehr"),
        ("日本".encode() + b"\xe6", "日本\ufffd"),
    ],
)
def test_a_bad_byte_does_not_hide_that_the_rest_is_utf8(raw: bytes, text: str, label: str | None) -> None:
    read, defect = decode(raw, label)
    assert (read, defect is None) == (text, False)


def test_a_text_cut_inside_a_character_stays_in_its_charset() -> None:
    assert decode("Grüße, schöne Tage, Öl, ü".encode()[:-1], "utf-8")[0] == "Grüße, schöne Tage, Öl, \ufffd"


@pytest.mark.parametrize("charset", ["koi8-r", "cp1251", "shift_jis", "euc-kr"])
def test_raw_headers_are_read_in_the_charset_of_the_text_and_kept_as_they_came(charset: str) -> None:
    words = {"shift_jis": "見積もり", "euc-kr": "견적"}.get(charset, "Счёт")
    raw = f"From: {words} <a@x.example>\r\nSubject: {words}\r\n".encode(charset)
    raw += f"Content-Type: text/plain; charset={charset}\r\n\r\n{words}".encode(charset)
    message = parse(raw)
    assert (message.subject, message.mentions[0].name, message.text) == (words, words, words)
    kept = dict(message.raw_headers)
    assert set(kept) == {"subject", "from"}
    assert kept["subject"] == words.encode(charset).decode("ascii", "backslashreplace")


def test_a_header_that_lost_something_is_kept_as_it_came() -> None:
    message = parse(mail(subject="=?utf-7?q?+2AA-?=", to=f"{'a' * 400}@x.example, a@x.example", date="yesterday"))
    assert set(dict(message.raw_headers)) == {"subject", "to", "date"}
    assert parse(mail(subject="=?utf-8?q?Gr=C3=BC=C3=9Fe?=")).raw_headers == ()


def test_t96_many_beginnings_of_uuencoded_files_are_bounded() -> None:
    text = "begin 644 a\n" * 300_000
    assert take_uuencoded(text) == (text, [])


def test_uuencoded_files_become_attachments() -> None:
    message = parse(
        mail("before\r\nbegin 644 ../a.txt\r\n#0V%T\r\n`\r\nend\r\nafter\r\nbegin 644 of a story\r\nno\r\n")
    )
    assert message.text == "before\nafter\nbegin 644 of a story\nno\n"
    [attachment] = message.attachments
    assert (attachment.filename, attachment.media_type, attachment.content) == ("a.txt", "text/plain", b"Cat")
    encoded = (
        "Content-Type: text/csv; name=a.csv\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\n"
        "begin 644 a\r\n#0V%T\r\n`\r\nend"
    )
    assert parse(multipart("\r\ntext", encoded)).attachments[0].content == b"Cat"


@pytest.mark.parametrize(
    ("part", "flag"),
    [
        ("Content-Type: application/ms-tnef; name=winmail.dat\r\n\r\nx", "tnef"),
        ("Content-Type: application/octet-stream; name=WINMAIL.DAT\r\n\r\nx", "tnef"),
        ("Content-Type: application/pkcs7-mime; smime-type=enveloped-data\r\n\r\nx", "smime-encrypted"),
        ("Content-Type: application/x-pkcs7-mime; smime-type=signed-data\r\n\r\nx", "smime-signed"),
        ("Content-Type: application/pkcs7-signature\r\n\r\nx", "smime-signed"),
        ("Content-Type: application/pgp-signature\r\n\r\nx", "pgp-signed"),
        ("Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1", "pgp-encrypted"),
    ],
)
def test_protected_mail_is_recognized_and_kept(part: str, flag: str) -> None:
    message = parse(multipart("\r\ntext", part))
    assert message.flags == (flag,)
    assert message.attachments[0].content in {b"x", b"Version: 1"}


def test_openpgp_within_a_text_is_recognized() -> None:
    assert parse(mail("-----BEGIN PGP MESSAGE-----\r\n")).flags == ("pgp-encrypted",)
    assert parse(mail("-----BEGIN PGP SIGNED MESSAGE-----\r\n")).flags == ("pgp-signed",)


def test_a_text_is_made_of_html_only_where_there_is_no_plain_one() -> None:
    html = "Content-Type: text/html\r\n\r\n<p>Hello &amp; <b>bye</b>"
    made = parse(multipart(html))
    assert (made.text, made.text_from) == ("Hello & bye\n", "html")
    both = parse(multipart("\r\nplain", html, kind="alternative"))
    assert (both.text, both.text_from) == ("plain", "plain")
    empty = parse(multipart("\r\n \r\n", html, kind="alternative"))
    assert (empty.text, empty.text_from) == ("Hello & bye\n", "html")


def test_the_key_does_not_depend_on_how_a_text_is_made() -> None:
    html = "<p>Hello"
    assert Message(html=html, text="Hello\n", text_from="html").key == Message(html=html).key


def test_a_message_that_is_only_an_invitation_has_a_text() -> None:
    calendar = (
        "BEGIN:VEVENT\r\nSUMMARY;LANGUAGE=en:Offer\\, an\r\n d more\r\nLOCATION:Room 1\r\nDESCRIPTION:One\\nTwo\r\n"
        "END:VEVENT\r\n"
    )
    message = parse(mail(calendar, content_type="text/calendar; method=REQUEST; charset=utf-8"))
    assert (message.text, message.text_from) == ("Offer, and more\nRoom 1\nOne\nTwo\n", "calendar")
    assert message.attachments[0].media_type == "text/calendar"
    assert calendar_text("BEGIN:VEVENT\r\n") == ""


def test_uuencoded_files_are_bounded_for_all_texts_of_a_message_together() -> None:
    file = "begin 644 a.txt\n#86)C\n`\nend\n"
    part = f"--x\nContent-Type: text/plain\n\n{file * 30}"
    raw = f"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n{part * 10}--x--\n"
    message = parse(raw.encode())
    assert len(message.attachments) == 100
    assert message.text is not None
    assert message.text.count("begin 644") == 200  # the rest is left where it is
