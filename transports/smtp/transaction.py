"""One message: MAIL, RCPT, DATA, and what became of each recipient (RFC 5321 §3.3, RFC 2920).

A message to many has several transactions, as the server takes so many recipients at once and no more.
"""

from collections.abc import Sequence
from typing import Literal

from transports._content import as_content
from transports.base import Envelope, Outcome
from transports.errors import TransportError
from transports.smtp.reply import Reply
from transports.smtp.session import Session
from transports.smtp.settings import SmtpRelaySettings
from transports.smtp.wire import Lost

State = Literal["accepted", "deferred", "refused", "unknown"]

_FINAL: dict[int, State] = {2: "accepted", 4: "deferred", 5: "refused"}


class Unheard(Exception):
    """The server, or the connection, ended before a word on the message: another server may take it.

    `is_stale`: the connection had served before and was dead when it was needed again, which is nobody's fault.
    """

    def __init__(self, words: str, code: str, *, is_stale: bool) -> None:
        super().__init__(words)
        self.code = code
        self.is_stale = is_stale


class OutOfStep(Lost):
    """A reply fits no command, so that those before it may have been on other commands than they seemed to be on."""


class Delivery:
    """The way of one message to its recipients, who are told apart by their position, since one may be named twice."""

    def __init__(self, envelope: Envelope, settings: SmtpRelaySettings) -> None:
        self._sender = envelope.sender
        self._recipients = envelope.recipients
        self._envelope_id = envelope.envelope_id
        self._content = as_content(envelope.content)
        self._before_end = envelope.before_end
        self._most = settings.recipients
        self._notify = ",".join(settings.notify).upper()
        self._outcomes: dict[int, Outcome] = {}
        self._peer = ""

    @property
    def waiting(self) -> list[int]:
        """The positions of those that have no outcome yet."""
        if not self._outcomes:
            return list(range(len(self._recipients)))
        return [at for at in range(len(self._recipients)) if at not in self._outcomes]

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of each."""
        return [self._outcomes[at] for at in range(len(self._recipients))]

    @property
    def known(self) -> list[Outcome]:
        """What became of those who have an outcome."""
        return [self._outcomes[at] for at in sorted(self._outcomes)]

    @property
    def has_begun(self) -> bool:
        """Whether anybody has an outcome."""
        return bool(self._outcomes)

    def give_up(self, unheard: Unheard, error: TransportError | None) -> None:
        """Defer those that wait, since no server is left to ask; `error` tells why the last one could not be."""
        if error is None:
            self._settle(self.waiting, "deferred", unheard.code, str(unheard))
        else:
            self._settle(self.waiting, "deferred", "4.4.1", str(error))

    async def transact(self, session: Session) -> None:
        """Have one transaction, with as many recipients as the server takes at once. Raises Unheard."""
        self._peer = session.endpoint.peer
        self._refuse_impossible(session)
        most = min(self._most, session.extensions.most_recipients or self._most)
        if some := self.waiting[:most]:
            await _Transaction(self, session, some).run()

    def _refuse_impossible(self, session: Session) -> None:
        """Refuse what this server is known not to take, without a word to it."""
        offered = session.extensions
        if (fault := offered.fault_of_message(self._sender, self._content)) is not None:
            self._settle(self.waiting, "refused", *fault)
        for at in self.waiting:
            if (fault := offered.fault_of_address(self._recipients[at])) is not None:
                self._settle([at], "refused", *fault)

    def _settle(
        self, positions: Sequence[int], state: State, code: str, text: str, *, of_address: bool = False
    ) -> None:
        for at in positions:
            self._outcomes[at] = Outcome(self._recipients[at], state, code, text, self._peer, of_address)

    # What a transaction needs of it

    def mail(self, session: Session, some: Sequence[int]) -> str:
        """Write the command that begins the transaction with these."""
        recipients = [self._recipients[at] for at in some]
        return session.extensions.mail(self._sender, recipients, self._content, self._envelope_id)

    def rcpt(self, session: Session, at: int) -> str:
        """Write the command that names one."""
        return session.extensions.rcpt(self._recipients[at], self._notify, is_report=not self._sender)

    async def data(self, session: Session, accepted: Sequence[int]) -> None:
        """Send the content, and note what became of those who get it. Raises Lost."""
        reply = await session.content(self._content, self._before_end)
        state = _FINAL.get(reply.code // 100, "unknown")
        self._settle(accepted, state, *reply.told)
        if state == "unknown":
            session.abort()
        session.rset_due = state != "accepted"

    def answer(self, positions: Sequence[int], reply: Reply, *, of_address: bool = False) -> None:
        """Note what a negative reply means for these; `of_address`: it is the answer to the address of one."""
        self._settle(positions, "refused" if reply.code >= 500 else "deferred", *reply.told, of_address=of_address)

    def lose(self, accepted: Sequence[int], lost: Lost) -> None:
        """Note that the connection ended: `accepted` may have the message, if it was handed over; the others do not."""
        if lost.handed_over:
            self._settle(accepted, "unknown", lost.code, str(lost))
        self._settle(self.waiting, "deferred", lost.code, str(lost))


class _Transaction:
    """One MAIL, with some of the recipients. With PIPELINING all commands go out before the first answer is read."""

    def __init__(self, delivery: Delivery, session: Session, some: Sequence[int]) -> None:
        self._delivery = delivery
        self._session = session
        self._some = some
        self._accepted: list[int] = []
        self._refused: list[tuple[int, Reply]] = []
        self._is_pipelined = session.extensions.pipelining
        self._is_heard = False

    async def run(self) -> None:
        session, delivery, some = self._session, self._delivery, self._some
        commands = ["RSET"] if session.rset_due else []
        mail = delivery.mail(session, some)
        recipients = [delivery.rcpt(session, at) for at in some]
        has_served = session.messages > 0
        session.messages += 1
        try:
            if self._is_pipelined:
                session.say(*commands, mail, *recipients, "DATA")
            for command in commands:
                await self._reset(command)
            session.rset_due = True
            if await self._mail(mail):
                await self._name(recipients)
                await self._data()
            elif self._is_pipelined:
                for _ in some:
                    await session.reply()
                await self._data()
        except Lost as lost:
            session.abort()
            if not self._is_heard:
                raise Unheard(str(lost), lost.code, is_stale=has_served) from lost
            if not isinstance(lost, OutOfStep):
                self._refuse()
            delivery.lose(self._accepted, lost)

    async def _ask(self, command: str) -> Reply:
        """Have the answer to a command, which was said already where all are said at once. Raises Lost at 421."""
        reply = await (self._session.reply() if self._is_pipelined else self._session.ask(command))
        if reply.code == 421:
            code, words = reply.told
            raise Lost(words, code)
        return reply

    async def _reset(self, command: str) -> None:
        reply = await self._ask(command)
        if not reply.is_positive:
            raise Lost(str(reply))

    async def _mail(self, command: str) -> bool:
        reply = await self._ask(command)
        if reply.is_of_the_server:
            code, words = reply.told
            self._session.abort()
            raise Unheard(words, code, is_stale=False)
        self._is_heard = True
        if reply.is_positive:
            return True
        self._require_negative(reply)
        self._delivery.answer(self._delivery.waiting, reply)
        return False

    async def _name(self, commands: Sequence[str]) -> None:
        too_many: list[tuple[int, Reply]] = []
        for at, command in zip(self._some, commands, strict=True):
            reply = await self._ask(command)
            if reply.is_positive:
                self._accepted.append(at)
            elif reply.wants_fewer_recipients:
                too_many.append((at, reply))
            else:
                self._require_negative(reply)
                self._refused.append((at, reply))
        if not self._accepted:  # then a transaction of their own would be no better
            for at, reply in too_many:
                self._delivery.answer([at], reply)

    async def _data(self) -> None:
        if not self._accepted and not self._is_pipelined:
            self._refuse()
            return
        reply = await self._ask("DATA")
        if reply.code != 354:
            self._require_negative(reply)
        self._refuse()
        if reply.code == 354:
            if self._accepted:
                await self._delivery.data(self._session, self._accepted)
            else:
                await self._session.no_content()
            return
        self._delivery.answer(self._accepted, reply)

    def _refuse(self) -> None:
        """Note who was refused, once the answer to DATA tells that each reply was on the command that it seemed to be.

        One reply too many would have the next recipient refused, whose address is good.
        """
        for at, reply in self._refused:
            self._delivery.answer([at], reply, of_address=True)
        self._refused.clear()

    @staticmethod
    def _require_negative(reply: Reply) -> None:
        """Raise OutOfStep at a reply that fits no command: it is not known what the server would answer next."""
        if not reply.is_negative:
            code, words = reply.told
            raise OutOfStep(words, code)
