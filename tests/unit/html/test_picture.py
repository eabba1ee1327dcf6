import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.html.picture import picture_type


def png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">II", width, height)


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height)


def jpeg(width: int, height: int) -> bytes:
    segment = b"\xff\xe0\0\x10JFIF" + bytes(10)
    return b"\xff\xd8" + segment + b"\xff\xff\xc2\0\x11\x08" + struct.pack(">HH", height, width)


def webp(kind: bytes, data: bytes) -> bytes:
    return b"RIFF\0\0\0\0WEBP" + kind + bytes(4) + data


def extended(width: int, height: int) -> bytes:
    return webp(b"VP8X", bytes(4) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3])


def lossless(width: int, height: int) -> bytes:
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(5))


def lossy(width: int, height: int) -> bytes:
    return webp(b"VP8 ", bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height))


@pytest.mark.parametrize(
    ("make", "kind"),
    [(png, "png"), (gif, "gif"), (jpeg, "jpeg"), (extended, "webp"), (lossless, "webp"), (lossy, "webp")],
)
def test_pictures_are_told_by_their_first_bytes(make: Callable[[int, int], bytes], kind: str) -> None:
    whole = make(600, 400)
    assert picture_type(whole) == f"image/{kind}"
    assert picture_type(make(16000, 16000)) is None
    for length in range(len(whole)):
        picture_type(whole[:length])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><svg/>",
        b"GIF89a",
        b"GIF89a\0\0\0\0",
        b"\x89PNG\r\n\x1a\n<svg/>",
        b"\xff\xd8\xff<html>",
        b"BM\0\0",
        b"%PDF-1.7",
        png(0, 5),
    ],
)
def test_all_else_is_no_picture(head: bytes) -> None:
    assert picture_type(head) is None


@given(st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 "]), st.binary(max_size=200))
def test_whatever_follows_is_read(head: bytes, rest: bytes) -> None:
    assert picture_type(head + rest) in {None, "image/jpeg", "image/png", "image/webp"}
