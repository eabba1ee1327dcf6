"""Mail as it comes to a forward mailbox."""

import secrets
from collections.abc import Iterable
from email.message import EmailMessage

from tests.support.letters import letter

AUTHSERV = "mail.in.test"


def vouched(mail: bytes, domain: str = "in.test", server: str = AUTHSERV) -> bytes:
    """The mail as our own server delivers it, having found out that it is from where it says."""
    return f"Authentication-Results: {server};\r\n\tdmarc=pass (p=none) header.from={domain}\r\n".encode() + mail


def forwarding(forwarder: str, originals: Iterable[bytes], sink: str = "sink@in.test", **headers: str | None) -> bytes:
    """A mail that has these attached, each as message/rfc822."""
    boundary = f"=_{secrets.token_hex(8)}"
    top = letter(forwarder, sink, "Fwd: see there", "For the CRM.\n", **headers)  # type: ignore[arg-type]  # headers only
    head, _, text = top.partition(b"\r\n\r\n")
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-", b"mime-"))]
    kept += [b"MIME-Version: 1.0", f'Content-Type: multipart/mixed; boundary="{boundary}"'.encode()]
    parts = [b"Content-Type: text/plain\r\n\r\n" + text]
    parts += [b"Content-Type: message/rfc822\r\nContent-Disposition: attachment\r\n\r\n" + one for one in originals]
    body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
    return b"\r\n".join(kept) + b"\r\n\r\n" + body + b"--" + boundary.encode() + b"--\r\n"


def as_file(forwarder: str, original: bytes, name: str = "mail.eml", sink: str = "sink@in.test") -> bytes:
    """A mail with a file that some programs do not know to be one."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = forwarder, sink, "Fwd: see there"
    message["Message-ID"], message["Date"] = "<outer@in.test>", "Sat, 21 Nov 2026 10:00:00 +0100"
    message.set_content("For the CRM.\n")
    message.add_attachment(original, "application", "octet-stream", filename=name)
    return bytes(message)


def journal(sender: str, recipients: Iterable[str], original: bytes, reporter: str = "exchange@in.test") -> bytes:
    """A journal report of Exchange."""
    lines = [f"Sender: {sender}", "Subject: as below", "Message-Id: <as@below>", *recipients]
    report = forwarding(reporter, [original], "journal@in.test", X_MS_Journal_Report="yes")
    return report.replace(b"For the CRM.", "\r\n".join(lines).encode())
