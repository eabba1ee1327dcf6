"""Messages made to take long: each shape is of one thing that a sender can have as much of as he likes."""

import base64
from collections.abc import Callable, Mapping

Shape = Callable[[int], bytes]


def _mail(body: str = "x", content_type: str = "text/plain; charset=utf-8", **headers: str) -> bytes:
    given = {"from": "ann@in.test", "to": "crm@in.test", "subject": "Fwd: offer", "content_type": content_type}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in (given | headers).items()]
    return "\r\n".join([*lines, "", body]).encode("utf-8", "surrogatepass")


def _bounce(body: str, **headers: str) -> bytes:
    given = {"from": "MAILER-DAEMON@in.test", "subject": "Undelivered mail", "auto_submitted": "auto-replied"}
    return _mail(body, **(given | headers))


def _html(html: str) -> bytes:
    return _mail(html, "text/html; charset=utf-8")


def _text(body: Callable[[int], str]) -> tuple[Shape, Shape, Shape]:
    """A body as a person's mail, as a report, and as HTML."""
    return lambda n: _mail(body(n)), lambda n: _bounce(body(n)), lambda n: _html(f"<p>{body(n)}")


def _parts(count: int, content: str = "x", kind: str = "mixed") -> bytes:
    return _mail(
        "".join(f"--b\r\n\r\n{content}\r\n" for _ in range(count)) + "--b--\r\n", f"multipart/{kind}; boundary=b"
    )


def _nested(count: int) -> bytes:
    levels = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(count))
    return _mail(levels + "\r\nx", "multipart/mixed; boundary=b\r\n\r\n--b")


def _forwards(count: int) -> bytes:
    """Mail in mail in mail."""
    content = _mail("innermost")
    for _ in range(count):
        content = _mail("", "message/rfc822\r\n\r\n").replace(b"\r\n\r\n\r\n\r\n", b"\r\n\r\n") + content
    return content


def _attached(count: int) -> bytes:
    part = "--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: karl@out.test\r\nSubject: inner\r\n\r\nx\r\n"
    return _mail(part * count + "--b--\r\n", "multipart/mixed; boundary=b")


def _status(group: str) -> Shape:
    def shape(count: int) -> bytes:
        head = "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"
        kind = "multipart/report; report-type=delivery-status; boundary=b"
        return _bounce(head + group * count + "\r\n--b--\r\n", content_type=kind)

    return shape


def _calendar(line: str) -> Shape:
    return lambda n: _mail(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n" + line * n + "\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", "text/calendar"
    )


def _uu(count: int) -> bytes:
    return _mail("begin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\n" * count)


_LINES: Mapping[str, Callable[[int], str]] = {
    "one character": lambda n: "x" * n,
    "a rule": lambda n: "*" * n + "x\r\n-----Original Message-----\r\n",
    "rules": lambda n: "***** " * n + "x\r\n-----Original Message-----\r\n",
    "lines of rules": lambda n: "-----\r\n" * n + "-----Original Message-----\r\n",
    "spaces": lambda n: " " * n + "x",
    "lines of spaces": lambda n: "   \r\n" * n + "x",
    "empty lines": lambda n: "x\r\n" + "\r\n" * n + "> x",
    "quotes": lambda n: "> x\r\n" * n,
    "deep quotes": lambda n: ">" * n + " x",
    "quotes of names": lambda n: "Ann> x\r\n" * n,
    "attributions": lambda n: "On Sat, 21 Nov 2026 at 01:00 Ann <ann@out.test> wrote:\r\n" * n,
    "attributions and empty lines": lambda n: "On Sat, 21 Nov 2026 at 01:00 Ann <a@out.test> wrote:\r\n\r\n" * n,
    "attributions without an end": lambda n: "On 1 " * n,
    "openers": lambda n: "On 1\r\n" * n,
    "dates": lambda n: "1.-" * n + "x:",
    "a name in angle brackets": lambda n: "a<" + "b@" * n,
    "header blocks": lambda n: "From: ann@out.test\r\nTo: bob@in.test\r\nSubject: x\r\n" * n,
    "headers without an end": lambda n: "From: ann@out.test\r\n" * n,
    "forward markers": lambda n: "---------- Forwarded message ---------\r\n" * n,
    "forwarded on one line": lambda n: "----- Forwarded Message -----From: a@b.test Subject: " * n,
    "signatures": lambda n: "-- \r\nAnn\r\n" * n,
    "rules between": lambda n: "--\r\nx\r\n" * n,
    "sent from": lambda n: "Sent from my phone\r\n" * n,
    "addresses": lambda n: "<a@b.test> " * n,
    "lines with addresses": lambda n: "a@b.test: 550 5.1.1 no such user\r\n" * n,
    "different recipients": lambda n: "".join(f"<a{k}@b.test>: 550 5.1.1 no\r\n" for k in range(n)),
    "recipient words": lambda n: "delivery to the following recipients failed: " * n,
    "at signs": lambda n: "@" * n,
    "brackets": lambda n: "(" * n,
    "angle brackets": lambda n: "<" * n,
    "codes": lambda n: "550 5.1.1 " * n,
    "dots": lambda n: "5." * n,
    "ids": lambda n: "Message-ID: <a@b.test>\r\n" * n,
    "uuencoded beginnings": lambda n: "begin 644 a.txt\r\n" * n,
    "pgp": lambda n: "-----BEGIN PGP SIGNED MESSAGE-----\r\n" * n,
    "json": lambda n: '{"a":' * n,
    "fields of a report": lambda n: "Final-Recipient: rfc822; a@b.test\r\n" * n,
}

_HEADERS: Mapping[str, str] = {
    "spaces": " ",
    "quotes": '"',
    "quoted quotes": '"\\',
    "escapes": "\\(",
    "comments": "(",
    "closed comments": "(x)",
    "angles": "<",
    "ids": "<a@b> ",
    "quoted angles": '<"',
    "addresses": "Ann <a@b.test>, ",
    "bare addresses": "a@b.test ",
    "groups": "x:;",
    "colons": ":",
    "commas": ",",
    "semicolons": "; a=b",
    "parameters": '; a*0="x"',
    "open parameters": ';a="',
    "words": "=?utf-8?q?x?= ",
    "open words": "=?",
    "long word": "a",
    "dotted": "a.",
    "spaced dots": " . ",
    "equals": "=",
    "percent": "%41",
    "folds": "x\r\n ",
    "prefixes": "Re: ",
    "lists": "[x] ",
    "tokens": "CRM:k3m9x2p7 ",
    "digits": "1",
    "dates": "1 de ",
    "mailto": "<mailto:",
}
_FIELDS = (
    *("from", "to", "reply-to", "subject", "date", "message-id", "in-reply-to", "references", "received"),
    *("content-type", "content-transfer-encoding", "authentication-results", "auto-submitted"),
    *("x-failed-recipients", "return-path"),
)
_BEFORE = {
    "authentication-results": "mx.in.test; dmarc=pass ",
    "content-type": "text/plain; charset=",
    "from": "a@b.test, x",
    "references": "<a@b.test> ",
}
"""What a field begins with, so that what follows is read."""

_HTML: Mapping[str, Callable[[int], str]] = {
    "attributes": lambda n: "<p" + " a=b" * n + ">x",
    "attributes without an end": lambda n: "<p" + " a=b" * n,
    "open quotes": lambda n: "<p " + "a=\"b c='" * n + ">x",
    "equals": lambda n: "<p " + "=" * n + ">x",
    "slashes": lambda n: "<p " + "/ " * n + ">x",
    "tables": lambda n: "<table><tr><td>" * n + "x",
    "closed tables": lambda n: "<table><tr><td>x</table>" * n,
    "nested": lambda n: "<div>" * n + "x",
    "ends": lambda n: "</div>" * n + "x",
    "other ends": lambda n: "<b>" * n + "</i>" * n + "x",
    "comments": lambda n: "<!--" * n + "x",
    "closed comments": lambda n: "<!-- x -->" * n,
    "odd comments": lambda n: "<!x" * n,
    "scripts": lambda n: "<script>x</script>" * n,
    "open scripts": lambda n: "<script>" * n,
    "open titles": lambda n: "<title>" * n,
    "foreign": lambda n: "<svg>" * n + "</math>" * n,
    "entities": lambda n: "&amp;" * n,
    "open entities": lambda n: "&" * n,
    "less than": lambda n: "< " * n,
    "quotes": lambda n: "<blockquote>x" * n,
    "lists": lambda n: "<ul><li>x" * n,
    "lines": lambda n: "<br>" * n + "x",
    "spaces": lambda n: "<pre>" + " \n" * n + "x",
    "links": lambda n: '<a href="https://a.test">x</a>' * n,
}


def _header(field: str, piece: str) -> Shape:
    return lambda n: _mail(**{field: _BEFORE.get(field, "x") + piece * n + "x"})


def _of_html(html: Callable[[int], str]) -> Shape:
    return lambda n: _html(html(n))


SHAPES: Mapping[str, Shape] = {
    **{f"text, {name}": _text(body)[0] for name, body in _LINES.items()},
    **{f"report, {name}": _text(body)[1] for name, body in _LINES.items()},
    **{f"html of {name}": _text(body)[2] for name, body in _LINES.items()},
    **{f"html, {name}": _of_html(html) for name, html in _HTML.items()},
    **{
        f"{field}, {name}": lambda n, field=field, piece=piece: _mail(
            **{field: _BEFORE.get(field, "x") + piece * n + "x"}
        )  # type: ignore[misc]
        for field in _FIELDS
        for name, piece in _HEADERS.items()
    },
    "many headers": lambda n: _mail(**{f"x_{k}": "y" for k in range(n)}),
    "the same header": lambda n: b"Received: by x\r\n" * n + _mail(),
    "recipients in many headers": lambda n: b"Cc: a@b.test\r\n" * n + _mail(),
    "private headers": lambda n: b"X-CRM-Email-Router: <a@b.test>\r\n" * n + _mail(),
    "no fields": lambda n: b"Subject: x\r\n" + b"no field\r\n" * n + _mail(),
    "no fields and known ones": lambda n: b"Subject: x\r\n" + b"no field\r\nFrom: a\r\n" * n + _mail(),
    "results": lambda n: b"Authentication-Results: mx.in.test; dmarc=pass\r\n" * n + _mail(),
    "parts": _parts,
    "alternatives": lambda n: _parts(n, kind="alternative"),
    "boundaries": lambda n: _mail("--b\r\n" * n, "multipart/mixed; boundary=b"),
    "nearly boundaries": lambda n: _mail("--bx\r\n" * n, "multipart/mixed; boundary=b"),
    "nested parts": _nested,
    "nested forwards": _forwards,
    "forwards": _attached,
    "recipients of a report": _status("Final-Recipient: rfc822; a@b.test\r\nAction: failed\r\n\r\n"),
    "empty groups of a report": _status("\r\n \r\n"),
    "spaces in a report": _status(" "),
    "long words of a report": _status("Diagnostic-Code: smtp; 550 5.1.1 x\r\n "),
    "uuencoded files": _uu,
    "flowed": lambda n: _mail("> x \r\n" * n, "text/plain; format=flowed; delsp=yes"),
    "base64": lambda n: _mail(
        base64.encodebytes(b"x\n" * n).decode(), "text/plain", content_transfer_encoding="base64"
    ),
    "broken base64": lambda n: _mail("eA==" * n, "text/plain", content_transfer_encoding="base64"),
    "quoted-printable": lambda n: _mail("=C3=\r\n" * n, content_transfer_encoding="quoted-printable"),
    "calendar lines": _calendar("SUMMARY:x\r\n"),
    "calendar folds": _calendar("\r\n x"),
    "calendar parameters": _calendar(';X="y"'),
    "calendar events": _calendar("BEGIN:VEVENT\r\n"),
    "calendar zones": _calendar("BEGIN:VTIMEZONE\r\nTZID:x\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n"),
    "iso-2022-jp": lambda n: _mail("\x1b$B" * n, "text/plain; charset=iso-2022-jp"),
    "no charset": lambda n: _mail("\udc80\udcff" * n, "text/plain"),
}


def sized(shape: Shape, size: int) -> bytes:
    """Make a message of a shape that is about this long, in bytes."""
    unit = len(shape(200)) - len(shape(100))
    return shape(max(1, 100 * size // max(1, unit)))
