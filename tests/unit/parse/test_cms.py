"""Opaque S/MIME, which is signed around the message; and words for what cannot be shown."""

from base64 import encodebytes
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from hypothesis import given
from hypothesis import strategies as st

from router.model import Message
from router.parse.cms import signed_content
from router.parse.message import parse
from tests.support.build import mail

ENTITY = (
    "Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n"
    "--in\r\nContent-Type: text/csv; name=a.csv\r\n\r\n1;2\r\n--in--\r\n"
).encode()
SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
DATA = bytes.fromhex("06092a864886f70d010701")


@pytest.fixture(scope="module")
def signed() -> bytes:
    """What OpenSSL signs: DER, with a certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ann@client.example")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1)).sign(
        key, SHA256()
    )
    builder = PKCS7SignatureBuilder().set_data(ENTITY).add_signer(certificate, key, SHA256())
    return builder.sign(Encoding.DER, [PKCS7Options.Binary])


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x84]) + size.to_bytes(4)
    return bytes([tag]) + length + content


def endless(tag: int, content: bytes) -> bytes:
    return bytes([tag, 0x80]) + content + b"\0\0"


def ber(content: bytes, pieces: int = 10, depth: int = 1) -> bytes:
    """What Outlook and streaming programs write: lengths that are not said, a content in pieces."""
    octets = b"".join(der(0x04, content[at : at + pieces]) for at in range(0, len(content), pieces))
    for _ in range(depth):
        octets = endless(0x24, octets)
    body = der(0x02, b"\1") + endless(0x31, endless(0x30, b"")) + endless(0x30, DATA + endless(0xA0, octets))
    return endless(0x30, SIGNED_DATA + endless(0xA0, endless(0x30, body + endless(0x31, b""))))


def smime(content: bytes, parameters: str = "; smime-type=signed-data; name=smime.p7m") -> Message:
    body = encodebytes(content).decode().replace("\n", "\r\n")
    kind = f"application/pkcs7-mime{parameters}"
    disposition = "attachment; filename=smime.p7m"
    return parse(mail(body, content_type=kind, content_transfer_encoding="base64", content_disposition=disposition))


@pytest.mark.parametrize("parameters", ["; smime-type=signed-data; name=smime.p7m", "; name=smime.p7m", ""])
@pytest.mark.parametrize("form", ["der", "ber", "nested"])
def test_what_is_signed_is_read_without_a_key(signed: bytes, form: str, parameters: str) -> None:
    message = smime({"der": signed, "ber": ber(ENTITY), "nested": ber(ENTITY, 7, 3)}[form], parameters)
    assert (message.text, message.flags, message.defects) == ("Grüße", ("smime-signed",), ())
    assert [one.filename for one in message.attachments] == ["smime.p7m", "a.csv"]


def test_what_is_signed_twice_is_read_too(signed: bytes) -> None:
    head = b"Content-Type: application/pkcs7-mime; smime-type=signed-data\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    assert smime(ber(head + encodebytes(signed), 1_000)).text == "Grüße"
    many = ENTITY
    for _ in range(10):
        many = ber(head + encodebytes(many), 1_000)
    assert smime(many).flags == ("smime-signed",)


@pytest.mark.parametrize(
    ("content", "parameters", "flag", "words"),
    [
        (der(0x30, b"x"), "; smime-type=enveloped-data", "smime-encrypted", "encrypted (S/MIME)"),
        (der(0x30, b"x"), "", "smime-encrypted", "encrypted (S/MIME)"),
        (der(0x30, SIGNED_DATA), "; smime-type=signed-data", "smime-signed", "could not be opened"),
        (ber(ENTITY)[:80], "; smime-type=signed-data", "smime-signed", "could not be opened"),
    ],
)
def test_what_cannot_be_read_is_said(content: bytes, parameters: str, flag: str, words: str) -> None:
    message = smime(content, parameters)
    assert (message.text, message.flags) == (None, (flag,))
    [defect] = message.defects
    assert words in defect


def test_pgp_and_outlooks_own_format_are_said() -> None:
    parts = (
        "--x\r\nContent-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
        "--x\r\nContent-Type: application/octet-stream\r\n\r\nx\r\n--x--\r\n"
    )
    kind = 'multipart/encrypted; protocol="application/pgp-encrypted"; boundary=x'
    [defect] = parse(mail(parts, content_type=kind)).defects
    assert "encrypted (OpenPGP)" in defect
    [defect] = parse(mail("x", content_type="application/ms-tnef; name=winmail.dat")).defects
    assert "winmail.dat" in defect


def test_where_a_text_is_shown_nothing_is_missing() -> None:
    parts = "--x\r\n\r\nHello\r\n--x\r\nContent-Type: application/ms-tnef; name=winmail.dat\r\n\r\nx\r\n--x--\r\n"
    message = parse(mail(parts, content_type="multipart/mixed; boundary=x"))
    assert (message.text, message.flags, message.defects) == ("Hello", ("tnef",), ())


@given(st.data())
def test_broken_signatures_never_raise(data: st.DataObject) -> None:
    whole = bytearray(ber(ENTITY, 20, 2))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    signed_content(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@given(st.binary(max_size=200))
def test_any_bytes_never_raise(content: bytes) -> None:
    signed_content(content)
    signed_content(b"\x30\x80" + SIGNED_DATA + b"\xa0\x80\x30\x80" + content)


@pytest.mark.parametrize("piece", [b"\x24\x80", b"\x30\x80", b"\xa0\x80", b"\x04\x00", b"\x24\x00", b"\x00\x00"])
def test_t96_nesting_and_pieces_without_end_are_bounded(piece: bytes) -> None:
    head = b"\x30\x80" + SIGNED_DATA + b"\xa0\x80\x30\x80"
    before = der(0x02, b"\1") + der(0x31, b"") + b"\x30\x80" + DATA + b"\xa0\x80"
    for start in (head, head + before, head + before + b"\x24\x80"):
        assert signed_content(start + piece * 500_000) in (None, b"")
