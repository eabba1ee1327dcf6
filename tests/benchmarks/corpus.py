"""The messages of the benchmarks: what real mailboxes hold, made anew and always the same.

8 KB at the median, 270 KB at the 95th percentile, HTML, attachments, many charsets, threads of eight.
"""

import base64
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from imaplib import IMAP4

THREAD = 8
"""Messages of one thread, each of which answers the one before."""

TEXT = "Angebot order delivery naïve Größe invoice réunion 請求書 договор thanks meeting Rechnung price and the"
CHARSETS = ["utf-8", "iso-8859-1", "windows-1252", "utf-8"]


def messages(count: int) -> Iterator[bytes]:
    """So many messages, the same ones each time."""
    dice = random.Random(1)
    yield from (message(number, dice) for number in range(count))


def message(number: int, dice: random.Random) -> bytes:
    """One letter of a thread, with what real ones have."""
    thread, position = divmod(number, THREAD)
    text = " ".join(dice.choices(TEXT.split(), k=int(min(dice.lognormvariate(5.6, 1), 4_000))))
    charset = dice.choice(CHARSETS)
    headers = [
        f"Received: from mx{n}.out.test by mx{n + 1}.out.test; Sat, 21 Nov 2026 01:02:03 +0000" for n in range(4)
    ]
    headers += [
        f"From: =?utf-8?q?J=C3=BCrgen?= Kunde <kunde{thread}@out.test>",
        f"To: staff@in.test, other{position}@in.test",
        f"Subject: {'Re: ' if position else ''}=?utf-8?b?{base64.b64encode(f'Größe {thread}'.encode()).decode()}?=",
        f"Date: Sat, 21 Nov 2026 01:{position:02}:03 +0000",
        f"Message-ID: <{thread}.{position}@out.test>",
    ]
    if position:
        headers.append("References: " + "\r\n ".join(f"<{thread}.{before}@out.test>" for before in range(position)))
        headers.append(f"In-Reply-To: <{thread}.{position - 1}@out.test>")
    parts = [
        f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n".encode()
        + lines(text).encode(charset, "replace"),
        b"Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(f"<html><body><p>{text}</p></body></html>".encode()).replace(b"\n", b"\r\n"),
    ]
    if dice.random() < 0.15:
        size = int(min(dice.lognormvariate(11.5, 0.9), 1_000_000))
        parts.append(
            f'Content-Type: application/pdf\r\nContent-Disposition: attachment; filename="{number}.pdf"\r\n'
            "Content-Transfer-Encoding: base64\r\n\r\n".encode()
            + base64.encodebytes(dice.randbytes(size)).replace(b"\n", b"\r\n")
        )
    kind = "mixed" if len(parts) > 2 else "alternative"
    head = "\r\n".join([*headers, "MIME-Version: 1.0", f'Content-Type: multipart/{kind}; boundary="cut"', "", ""])
    return head.encode() + b"".join(b"--cut\r\n" + part + b"\r\n" for part in parts) + b"--cut--\r\n"


def lines(text: str) -> str:
    words = text.split()
    return "\r\n".join(" ".join(words[start : start + 10]) for start in range(0, len(words), 10)) + "\r\n"


def fill(
    connect: Callable[[str], AbstractContextManager[IMAP4]], mailboxes: Sequence[str], count: int
) -> Sequence[int]:
    """Append so many messages, a thread's into one mailbox; return their sizes in bytes, sorted."""
    sizes = []
    with ExitStack() as stack:
        opened = [stack.enter_context(connect(mailbox)) for mailbox in mailboxes]
        for number, content in enumerate(messages(count)):
            opened[number // THREAD % len(opened)].append("INBOX", None, None, content)
            sizes.append(len(content))
    return sorted(sizes)


def mark_unread(connect: Callable[[str], AbstractContextManager[IMAP4]], mailboxes: Sequence[str]) -> None:
    """Take away what a router marked."""
    for mailbox in mailboxes:
        with connect(mailbox) as imap:
            imap.select()
            imap.store("1:*", "-FLAGS.SILENT", r"(\Seen)")
