"""What a server offers beyond plain SMTP, and what is said to it because of that (RFC 5321 §2.2).

What it does not offer is done without, where nothing is lost by it; else the message, or the recipient, is refused in
words: nothing goes out in a form that the server did not say it can carry.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transports._content import Content

_XTEXT = re.compile(r"[^!-*,-<>-~]")
_NOT_UNITEXT = re.compile(r"[\\+=\x00-\x20\x7f]")
_LONGEST_ENVID = 100  # characters (RFC 3461 §4.4)
_LONGEST_ORCPT = 500  # §4.2
_LIMIT = re.compile(r"(RCPTMAX|MAILMAX)=([1-9][0-9]{0,5})", re.ASCII)

# What may stand between the angle brackets of a command without ending them or the line: RFC 5321 §4.1.2, leniently.
_ATOM = r'[^\s<>"\x00-\x1f\x7f\ud800-\udfff]+'
_PATH = re.compile(rf'{_ATOM}|"(?:[^"\\\x00-\x1f\x7f\ud800-\udfff]|\\[\x20-\x7e])*"(?:@{_ATOM})?')

Fault = tuple[str, str]
"""Why something cannot be sent: enhanced status code and words."""


@dataclass(frozen=True, slots=True)
class Extensions:
    """What one server offers."""

    eight_bit: bool = False  # 8BITMIME, RFC 6152
    utf8: bool = False  # SMTPUTF8, RFC 6531
    pipelining: bool = False  # RFC 2920
    dsn: bool = False  # RFC 3461
    has_size: bool = False  # SIZE, RFC 1870
    most_bytes: int | None = None  # of a message; it may not say
    most_recipients: int | None = None  # LIMITS RCPTMAX, RFC 9422: of a transaction
    most_messages: int | None = None  # LIMITS MAILMAX: of a connection

    @classmethod
    def of(cls, offers: Mapping[str, str]) -> "Extensions":
        """Read the answer to EHLO, by lower-case keyword."""
        size = offers.get("size", "").strip()
        limits = {name: int(number) for name, number in _LIMIT.findall(offers.get("limits", "").upper())}
        return cls(
            eight_bit="8bitmime" in offers,
            utf8="smtputf8" in offers,
            pipelining="pipelining" in offers,
            dsn="dsn" in offers,
            has_size="size" in offers,
            most_bytes=(int(size) if size.isascii() and size.isdigit() and len(size) < 20 else 0) or None,
            most_recipients=limits.get("RCPTMAX"),
            most_messages=limits.get("MAILMAX"),
        )

    def fault_of_message(self, sender: str, content: Content) -> Fault | None:
        """Say why this server cannot carry a message, whoever its recipients are."""
        if self.most_bytes is not None and content.size > self.most_bytes:
            words = f"the message has {content.size} bytes, and the server accepts at most {self.most_bytes}"
            return "5.3.4", words
        if sender and (fault := self.fault_of_address(sender)) is not None:
            return fault[0].replace("5.1.3", "5.1.7"), f"sender: {fault[1]}"
        if not content.headers_are_ascii and not self.utf8:
            return "5.6.7", "the headers are not ASCII, and the server does not offer SMTPUTF8"
        if not content.is_seven_bit and not self.eight_bit:
            return "5.6.3", "the content has bytes above 127, and the server does not offer 8BITMIME"
        return None

    def fault_of_address(self, address: str) -> Fault | None:
        """Say why this server cannot be given an address."""
        if not _PATH.fullmatch(address):
            return "5.1.3", "this is no address that can be written to"
        if not address.isascii() and not self.utf8:
            return "5.6.7", "the address is not ASCII, and the server does not offer SMTPUTF8"
        return None

    def mail(self, sender: str, recipients: Sequence[str], content: Content, envelope_id: str) -> str:
        """Write the command that begins a message to these recipients."""
        command = f"MAIL FROM:<{sender}>"
        if self.has_size:
            command += f" SIZE={content.size}"
        if self.eight_bit and not content.is_seven_bit:
            command += " BODY=8BITMIME"
        if self.utf8 and not (content.headers_are_ascii and sender.isascii() and all(map(str.isascii, recipients))):
            command += " SMTPUTF8"
        if self.dsn and sender:
            command += " RET=HDRS"
            if envelope_id and len(envid := xtext(envelope_id)) <= _LONGEST_ENVID:
                command += f" ENVID={envid}"
        return command

    def rcpt(self, recipient: str, notify: str, *, is_report: bool) -> str:
        """Write the command that names a recipient; `notify` says what the sender wants to hear of (RFC 3461 §4.1).

        A report has no sender who could hear of anything.
        """
        command = f"RCPT TO:<{recipient}>"
        if self.dsn and not is_report:
            command += f" NOTIFY={notify}"
            # RFC 6533 §3: an address that is not ASCII goes as it is, since it needs SMTPUTF8 anyway.
            original = f"rfc822;{xtext(recipient)}" if recipient.isascii() else f"utf-8;{_unitext(recipient)}"
            if len(original) <= _LONGEST_ORCPT:
                command += f" ORCPT={original}"
        return command


def xtext(text: str) -> str:
    """Write text so that it can be the value of a parameter (RFC 3461 §4)."""
    return _XTEXT.sub(lambda match: "".join(f"+{byte:02X}" for byte in match[0].encode()), text)


def _unitext(address: str) -> str:
    r"""Write an address as `utf-8-addr-unitext` (RFC 6533 §3): backslash, "+" and "=" become `\x{…}`."""
    return _NOT_UNITEXT.sub(lambda match: rf"\x{{{ord(match[0]):02X}}}", address)
