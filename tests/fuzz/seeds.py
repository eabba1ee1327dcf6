"""What mutations start from: mail of every form that the parser knows, and the corpora of real mail where they are."""

from collections.abc import Iterator
from pathlib import Path

CORPORA = Path(__file__).parents[3] / "shared" / "corpora"
LONGEST = 2_048
AUTHSERV = "mx.example"

_HEADERS = (
    b'Authentication-Results: mx.example 1; spf=pass (a (b)) smtp.mailfrom=x.example; dkim=fail reason="a; b=c"\r\n'
    b'From: =?utf-8?q?J=C3=BCrgen,_M?= <j@x.example>, Team: a@y.example, "B, C" <b@z.example>;\r\n'
    b"To: root, <@relay.example:c@x.example>, d @ x . example (comment)\r\n"
    b"Subject: =?utf-8?b?R3LD?= =?utf-8?b?vMOfZQ==?= [CRM:abcdefgh]\r\n"
    b"Message-ID: <1@x.example>\r\nReferences: <2@x.example> <3@x.example>\r\nIn-Reply-To: <3@x.example>\r\n"
    b"Date: Sat, 21 Nov 2026 02:00:00 +0100\r\n"
)
_BODIES = (
    (
        b"Content-Type: text/plain; charset=iso-8859-1; format=flowed; delsp=yes\r\n\r\nGr\xfc\xdfe \r\nund mehr\r\n"
        b"On Mon, 1 Feb 2016 at 4:58, Ann <a@x.example> wrote:\r\n> quoted \r\n> more\r\n\r\n-- \r\nAnn\r\n"
    ),
    (
        b"Content-Type: text/html; charset=x-sjis\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        b'<p>Gr=C3=BC<b style=3D"color:red;background:url(http://x/y)">a</b><br><img src=3Dcid:a><ul><li>1<li>2</ul>'
        b"<blockquote>q</blockquote><!-- c --><style>p{}</style><table><tr><td>1<td>2</table><pre>a\r\n b</pre>\r\n"
    ),
    (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b'Content-Type: multipart/alternative; boundary="b c"\r\n'
        b"\r\n--b c\r\n\r\ntext\r\n--b c\r\nContent-Type: text/html\r\n\r\n<p>html\r\n--b c--\r\n--b\r\n"
        b"Content-Type: application/pdf\r\nContent-Disposition: attachment; filename*0*=utf-8''Gr%C3%BC; "
        b"filename*1=b.pdf\r\n"
        b"Content-Transfer-Encoding: base64\r\nContent-ID: <a@x>\r\n\r\nSGVsbG8=\r\n--b--\r\n"
    ),
    (
        b"Content-Type: text/calendar; method=REQUEST\r\n\r\nBEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n"
        b"SUMMARY;LANGUAGE=en:A\\, b\r\n"
        b" c\r\nLOCATION:x\r\nDESCRIPTION:a\\nb\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ),
    b"\r\nbefore\r\nbegin 644 a.txt\r\n#0V%T\r\n`\r\nend\r\nafter\r\n-----BEGIN PGP MESSAGE-----\r\n",
    (
        b"Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n--r\r\n\r\n"
        b"<a@x.example>: host mx.x.example said: 550 5.1.1 User unknown\r\n--r\r\n"
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"
        b"Final-Recipient: rfc822; a@x.example\r\nAction: failed\r\nStatus: 5.0.0\r\n"
        b"Diagnostic-Code: smtp; 550 unknown\r\n--r\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Message-ID: <1@y.example>\r\nX-CRM-Email-Router: <2@y.example>\r\nSubject: a CRM:k3m9x2p7\r\n\r\nx\r\n--r--"
    ),
    (
        b"Auto-Submitted: auto-replied\r\nX-Failed-Recipients: a@x.example\r\nPrecedence: bulk\r\n"
        b"X-Amz-Sns-Message-Id: 1\r\n\r\n"
        b'{"notificationType":"Bounce","bounce":{"bouncedRecipients":[{"emailAddress":"a@x.example","status":"5.1.1",'
        b'"diagnosticCode":"smtp; 550"}]},"mail":{"source":"b@y.example","commonHeaders":{"messageId":"<1@y>"}}}'
    ),
    (
        b"Content-Type: multipart/report; report-type=feedback-report; boundary=f\r\n\r\n--f\r\n"
        b"Content-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\n"
        b"Original-Rcpt-To: <a@x.example>\r\n\r\n--f\r\n"
        b"Content-Type: message/rfc822\r\n\r\nTo: a@x.example\r\n\r\n--f--"
    ),
    (
        b"Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\r\nMETHOD:REPLY\r\nBEGIN:VTIMEZONE\r\nTZID:Ours\r\n"
        b"BEGIN:DAYLIGHT\r\nDTSTART:19700329T020000\r\nTZOFFSETTO:+0200\r\n"
        b"RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\nUID:1\r\n"
        b"DTSTART;TZID=Ours:20261121T100000\r\nDURATION:P1DT2H\r\nORGANIZER;CN=a:mailto:a@x.example\r\n"
        b"END:VEVENT\r\nEND:VCALENDAR\r\n"
    ),
    b"Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\nSubject: inner\r\n\r\nx\r\n--d--",
    (
        b"X-MS-Journal-Report:\r\nContent-Type: multipart/mixed; boundary=j\r\n\r\n--j\r\n\r\nSender: a@x.example\r\n"
        b"Bcc: b@x.example, Expanded: c@x.example\r\n--j\r\n"
        b"Content-Type: message/rfc822\r\n\r\nFrom: a@x\r\n\r\nx\r\n--j--"
    ),
    (
        b"Resent-From: a@x.example\r\n\r\nhello\r\n---------- Forwarded message ---------\r\n*Von:* A <a@x.example>\r\n"
        b"Date: Mi., 27. Okt. 2021 um 09:31 Uhr\r\nSubject: a\r\nTo: <b@x.example>,\r\n c@x.example\r\n\r\n> text\r\n"
    ),
    b"Content-Type: application/pkcs7-mime; smime-type=signed-data; name=smime.p7m\r\n\r\n0",
    b"Content-Type: text/plain\r\n\r\n\xd3\xf7\xe0\xe6\xe0\xe5\xec\xfb\xe5 \xea\xee\xeb\xeb\xe5\xe3\xe8",
)


def seeds() -> Iterator[bytes]:
    """Yield messages, each small enough to be mutated many times a second."""
    for body in _BODIES:
        yield _HEADERS + body
    if CORPORA.is_dir():
        for path in sorted(CORPORA.rglob("*.*")):
            if path.is_file() and path.stat().st_size <= LONGEST:
                yield path.read_bytes()
