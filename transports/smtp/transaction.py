"""One message over one connection: MAIL, RCPT, DATA, and what became of each recipient (RFC 5321 §3.3)."""

import re
from collections.abc import Sequence
from typing import Literal

from aiosmtplib.response import SMTPResponse

from transports.base import Envelope, Outcome
from transports.smtp.session import Lost, Session

State = Literal["accepted", "deferred", "refused", "unknown"]

_FINAL: dict[int, State] = {2: "accepted", 4: "deferred", 5: "refused"}
_ENHANCED = re.compile(r"([245])\.\d{1,3}\.\d{1,3}(?=\s|$)\s*")
# What may stand between the angle brackets of a command without ending them or the line: RFC 5321 §4.1.2, leniently.
_ATOM = r'[^\s<>"\x00-\x1f\x7f\ud800-\udfff]+'
_PATH = re.compile(rf'{_ATOM}|"(?:[^"\\\x00-\x1f\x7f\ud800-\udfff]|\\[\x20-\x7e])*"(?:@{_ATOM})?')


class Stale(Exception):
    """A connection that had served before was dead when it was needed again, and nothing was said: take a fresh one."""


async def hand_over(session: Session, envelope: Envelope) -> Sequence[Outcome]:
    """Send one message; one outcome per recipient, in their order. Raises Stale."""
    return await _Transaction(session, envelope).run()


class _Transaction:
    """Recipients are told apart by their position, since one may be named twice."""

    def __init__(self, session: Session, envelope: Envelope) -> None:
        self._session = session
        self._envelope = envelope
        self._outcomes: dict[int, Outcome] = {}

    async def run(self) -> Sequence[Outcome]:
        self._refuse_impossible()
        try:
            for step in (self._mail, self._recipients, self._content):
                if self._waiting():
                    await step()
        except Lost as lost:
            self._session.abort()
            self._settle(self._waiting(), "unknown" if lost.handed_over else "deferred", lost.code, str(lost))
        return [self._outcomes[at] for at in sorted(self._outcomes)]

    def _waiting(self) -> list[int]:
        return [at for at in range(len(self._envelope.recipients)) if at not in self._outcomes]

    def _settle(self, positions: Sequence[int], state: State, code: str, text: str) -> None:
        for at in positions:
            self._outcomes[at] = Outcome(self._envelope.recipients[at], state, code, text)

    def _refuse_impossible(self) -> None:
        """Refuse what this server is known not to take, without a word to it."""
        sender, size, limit = self._envelope.sender, len(self._envelope.content), self._session.offer("size") or ""
        if limit.isdigit() and 0 < int(limit) < size:
            words = f"the message has {size} bytes, and the server accepts at most {limit}"
            self._settle(self._waiting(), "refused", "5.3.4", words)
        elif sender and (fault := self._fault_of(sender)) is not None:
            self._settle(self._waiting(), "refused", fault[0].replace("5.1.3", "5.1.7"), f"sender: {fault[1]}")
        for at in self._waiting():
            if (fault := self._fault_of(self._envelope.recipients[at])) is not None:
                self._settle([at], "refused", *fault)

    def _fault_of(self, address: str) -> tuple[str, str] | None:
        if not _PATH.fullmatch(address):
            return "5.1.3", "this is no address that can be written to"
        if not address.isascii() and self._session.offer("smtputf8") is None:
            return "5.6.7", "the address is not ASCII, and the server does not offer SMTPUTF8"
        return None

    async def _mail(self) -> None:
        session, envelope = self._session, self._envelope
        options = ""
        if session.offer("size") is not None:
            options += f" SIZE={len(envelope.content)}"
        if session.offer("8bitmime") is not None and not envelope.content.isascii():
            options += " BODY=8BITMIME"
        if not (envelope.sender + "".join(envelope.recipients[at] for at in self._waiting())).isascii():
            options += " SMTPUTF8"
        served = session.messages > 0
        session.messages += 1
        session.rset_due = True
        try:
            reply = await session.command(f"MAIL FROM:<{envelope.sender}>{options}")
        except Lost as lost:
            if served:
                raise Stale from lost
            raise
        if reply.code == 421 and served:
            raise Stale
        if not _positive(reply):
            self._settle(self._waiting(), _negative(reply), *_server_text(reply))

    async def _recipients(self) -> None:
        for at in self._waiting():
            reply = await self._session.command(f"RCPT TO:<{self._envelope.recipients[at]}>")
            if reply.code == 421:
                code, words = _server_text(reply)
                raise Lost(words, code)
            if not _positive(reply):
                self._settle([at], _negative(reply), *_server_text(reply))

    async def _content(self) -> None:
        reply = await self._session.command("DATA")
        if reply.code != 354:
            self._settle(self._waiting(), _negative(reply), *_server_text(reply))
            if _positive(reply):
                self._session.abort()
            return
        reply = await self._session.content(self._envelope.content)
        state = _FINAL.get(reply.code // 100, "unknown")
        self._settle(self._waiting(), state, *_server_text(reply))
        if state == "unknown":
            self._session.abort()
        self._session.rset_due = state != "accepted"


def _positive(reply: SMTPResponse) -> bool:
    return 200 <= reply.code < 300


def _negative(reply: SMTPResponse) -> State:
    return "refused" if reply.code >= 500 else "deferred"


def _server_text(reply: SMTPResponse) -> tuple[str, str]:
    """Split a reply into its enhanced status code (RFC 3463), or else its reply code, and the server's words."""
    lines = reply.message.encode("utf-8", "surrogateescape").decode("utf-8", "replace").splitlines()
    match = _ENHANCED.match(lines[0]) if lines else None
    if match is None or match[1] != str(reply.code)[0]:
        return str(reply.code), " ".join(lines)
    # A reply of several lines repeats the code in each (RFC 2034 §4).
    return match[0].strip(), " ".join(
        _ENHANCED.sub("", line, count=1) if _ENHANCED.match(line) else line for line in lines
    )
