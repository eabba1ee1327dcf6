"""Reading 60 MB takes less than 200 MB besides the message itself, whatever they are made of."""

import base64
import subprocess
import sys
import zlib
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import pytest

SIZE = 60_000_000
MOST = 200_000_000

READ = """
import pathlib, sys
from router.parse.message import parse
from router.classify import classify
from router.parse.marks import find_marks
from router.html.sanitize import sanitize

def peak():
    # Not ru_maxrss, in which what started this process counts, too.
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

def read(raw):
    message = parse(raw)
    classify(message, "mx.example")
    find_marks(message.text or "")
    sanitize(message.html or "")

read("Subject: ü".encode("latin-1"))
raw = pathlib.Path(sys.argv[1]).read_bytes()
before = peak()
read(raw)
print(peak() - before)
"""


def part(content_type: str, encoding: str, piece: bytes, size: int = SIZE) -> Iterator[bytes]:
    yield f"From: a@x.example\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
    for _ in range(size // (1_000 * len(piece))):
        yield piece * 1_000


def headers() -> Iterator[bytes]:
    yield from (b"X-Junk-%d: some text\r\n" % number for number in islice(count(), SIZE // 25))
    yield b"\r\nbody"


def one_header() -> Iterator[bytes]:
    yield b"Subject: "
    yield b"=?utf-8?q?x?= " * (SIZE // 14)
    yield b"\r\n\r\nbody"


def nested(content_type: str, levels: int = 40) -> Iterator[bytes]:
    for level in range(levels):
        yield f"Content-Type: {content_type}; boundary=b{level}\r\n\r\n--b{level}\r\n".encode()
    yield from part("application/octet-stream", "8bit", b"x" * 75 + b"\r\n")


def zip_bomb() -> Iterator[bytes]:
    packing = zlib.compressobj(9)
    packed = b"".join(packing.compress(bytes(10_000_000)) for _ in range(100)) + packing.flush()
    yield b"Content-Type: application/zip; name=a.zip\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    yield base64.encodebytes(packed)


def old_mac() -> Iterator[bytes]:
    yield b"Subject: x\r\r"
    yield b"y\r" * (SIZE // 2)


BASE64 = base64.encodebytes(bytes(range(57))).replace(b"\n", b"\r\n")
MESSAGES = {
    "base64 attachment": lambda: part("application/pdf; name=a.pdf", "base64", BASE64),
    "base64 text": lambda: part("text/plain", "base64", base64.encodebytes("Grüße €! ".encode() * 5)),
    "broken base64": lambda: part("application/pdf; name=a.pdf", "base64", BASE64 + b"*="),
    "8-bit text": lambda: part("text/plain", "8bit", b"\xe4" * 75 + b"\r\n"),
    "wide text": lambda: part("text/plain; charset=utf-8", "8bit", "😀 ".encode() * 15 + b"\r\n"),
    "HTML": lambda: part("text/html; charset=utf-8", "8bit", "<p class='x'>Grüße 😀 &amp; b</p>\r\n".encode()),
    "headers": headers,
    "one header": one_header,
    "nested mails": lambda: nested("message/rfc822"),
    "nested parts": lambda: nested("multipart/mixed"),
    "zip bomb": zip_bomb,
    "calendar": lambda: part(
        "text/calendar", "8bit", b"BEGIN:VEVENT\r\nATTENDEE;CN=x:mailto:a@b.example\r\n", SIZE // 2
    ),
    "quoted-printable line": lambda: part("text/plain", "quoted-printable", b"=C3=A4bcdefg"),
    "quoted-printable attachment": lambda: part("application/pdf; name=a.pdf", "quoted-printable", b"abcdefgh"),
    "uuencoded": lambda: part("application/pdf", "x-uuencode", b"begin 644 a\r\nMAAAA\r\n"),
    "old Macintosh's line ends": old_mac,
}


@pytest.mark.parametrize("name", MESSAGES)
def test_t96_large_messages_take_bounded_memory(name: str, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    with raw.open("wb") as file:
        file.writelines(MESSAGES[name]())
    done = subprocess.run([sys.executable, "-c", READ, raw], stdout=subprocess.PIPE, text=True, check=True)
    raw.unlink()
    assert int(done.stdout) < MOST, f"{int(done.stdout) / 1e6:.0f} MB"
