"""A person is erased also where their address is encoded; what cannot be looked into is told."""

import base64
import io
import quopri
import zipfile
import zlib
from email.header import Header

from router.model import Attachment
from router.operations.erase import Asked, erase
from router.repository.erasure.taken_back import take_back
from tests.support.crm import Crm
from tests.support.senders import Senders

BERTA, THIRD = "berta@büro.test", "third@other.test"

WORDS = {
    "base64": Header(f"Berta <{BERTA}>", "utf-8").encode(),
    "quoted": "=?iso-8859-1?q?=62erta=40b=FCro=2Etest?= <list@other.test>",
    "split": "=?utf-8?q?ask_berta=40b?=\r\n =?utf-8?q?=C3=BCro=2Etest?=",
    "utf-7": "=?utf-16be?b?" + base64.b64encode(BERTA.encode("utf-16-be")).decode() + "?=",
}
MESSAGE = (
    "From: x@other.test\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset={0}\r\n"
    "Content-Transfer-Encoding: {1}\r\n\r\n"
)


def part(charset: str, encoding: str) -> bytes:
    """A message whose only part names her."""
    text = f"{'Good day. ' * 30}Ask <{BERTA}>, or {'somebody else. ' * 9}".encode(charset)
    encoded = base64.encodebytes(text) if encoding == "base64" else quopri.encodestring(text)
    return MESSAGE.format(charset, encoding).encode() + encoded


def attached(message: bytes) -> bytes:
    """A message with another in base64 in it."""
    return MESSAGE.format("x", "base64").encode() + base64.encodebytes(message)


HIDDEN = [
    part("utf-8", "base64"),
    part("utf-8", "quoted-printable"),
    part("iso-8859-1", "base64"),
    part("utf-16", "base64"),
    attached(part("iso-8859-1", "quoted-printable")),
    attached(part("utf-8", "base64")),
    f"To\tBerta\t{BERTA}".encode("utf-16"),
    b"x" * 200_001 + b"\r\n" + part("utf-8", "base64") + b"x" * 200_001,
]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("who.txt", BERTA * 9)
    return file.getvalue()


async def test_what_is_encoded_is_erased_and_what_is_compressed_is_told(crm: Crm, senders: Senders) -> None:
    packed = (Attachment("a.zip", "application/zip", zipped()), Attachment("b.pdf", "application/pdf", b"%PDF-1.7 x"))
    headers = (("Subject", "kept"), *((f"X-{name}", value) for name, value in WORDS.items()))
    files = tuple(Attachment(f"{n}.eml", "message/rfc822", content) for n, content in enumerate(HIDDEN))
    safe = Attachment("safe.eml", "message/rfc822", attached(b"nobody's " * 99))
    kept, sealed = await senders.write(THIRD, 2, raw_headers=headers)
    await senders.write(THIRD, attachments=(*files, *packed, safe))
    await take_back(senders.database, sealed, senders.owner_id, "ann")
    for content in HIDDEN[:2]:
        held = senders.copy(senders.message(THIRD))
        [decision] = await senders.promote([held])
        await crm.admin.execute(
            """
            INSERT INTO router.kept_content (decision_id, content, recipients, sent, expires_at)
            SELECT id, $2, '{}', false, now() + interval '1 day' FROM router.decision WHERE email_id = $1
            """,
            decision.email_id,
            zlib.compress(content),
        )
    report = await erase(senders.database, Asked(BERTA, "ann"))
    assert report.is_clean
    assert report.unread == {"PDFs": 1, "zip archives and office documents": 1}
    [row] = await crm.rows("SELECT raw_headers::text AS headers FROM crm.email WHERE id = $1", kept)
    assert row["headers"] == '[["Subject", "kept"]]'
    rows = await crm.rows("SELECT filename FROM crm.attachment ORDER BY filename")
    assert [row["filename"] for row in rows] == ["a.zip", "b.pdf", "safe.eml"]
    for table in ("sealed", "kept_content"):
        assert await crm.admin.fetchval(f"SELECT count(*) FROM router.{table}") == 0
    assert (await erase(senders.database, Asked("sberta@büro.test", "ann"))).removed.total() == 0
