"""Probes a mailbox by one session, in which nothing is read and nothing deleted."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from transports._net.credentials import NO_TOKENS, Tokens, credential_of, whom
from transports._net.probe import connect_in_steps, content, examine, refused_advice, retry_advice
from transports.base import After, Finding
from transports.errors import TransportError, Unauthorized
from transports.pop3.connection import PORTS, Connection, connect
from transports.pop3.settings import Pop3Settings

_CAPABILITIES = ("UIDL", "TOP", "PIPELINING", "SASL", "RESP-CODES", "LOGIN-DELAY", "EXPIRE")


async def probe_mailbox(
    settings: Pop3Settings, mailbox: str | None, after: After, tokens: Tokens = NO_TOKENS
) -> AsyncIterator[Finding]:
    """See `MailboxKind.probe`."""
    steps, connection = await connect_in_steps(settings, PORTS, lambda: connect(settings))
    for finding in steps:
        yield finding
    if connection is None:
        return
    try:
        if mailbox is not None:
            async for finding in _inside(connection, settings, mailbox, after, tokens):
                yield finding
        if not connection.lost:
            await connection.quit()
    except TransportError:
        pass  # what had to be known is known
    finally:
        connection.close()


async def _inside(
    connection: Connection, settings: Pop3Settings, mailbox: str, after: After, tokens: Tokens
) -> AsyncIterator[Finding]:
    step = "login"
    try:
        async for finding in examine(settings.auth, mailbox, tokens):
            yield finding
            if finding.state == "failed":
                return
        credential = await credential_of(settings.auth, mailbox, tokens)
        await connection.log_in(credential)
        yield Finding("login", "ok", f"as {whom(credential)}")
        step = "capabilities"
        for finding in _capabilities(connection.capabilities, settings):
            yield finding
        step = "folders"
        await connection.look(mailbox, after)
        sizes = connection.maildrop.sizes
        yield Finding("folders", "ok", f"INBOX: {content(len(sizes), sum(sizes.values()))}")
        if after.action == "delete":
            yield Finding("after", "ok", f"{after} can be done")
    except Unauthorized as error:
        yield Finding(step, "failed", str(error), refused_advice(settings.auth, mailbox, str(error)))
    except TransportError as error:
        yield Finding(step, "failed", str(error), retry_advice(error))


def _capabilities(offered: Mapping[str, Sequence[str]], settings: Pop3Settings) -> Iterator[Finding]:
    told = ", ".join(" ".join([name, *offered[name]]) for name in _CAPABILITIES if name in offered)
    words = told or "the server does not say"
    delay = "".join(offered.get("LOGIN-DELAY", ())[:1])
    if delay.isdecimal() and int(delay) > settings.poll:
        advice = f"poll = {int(delay)}, or the server refuses most logins"
        yield Finding("capabilities", "warning", f"{words}; it wants {int(delay)} seconds between logins", advice)
    elif "TOP" not in offered:
        words += "; without TOP mail is read by RETR, which some servers take as read by a person, or delete after"
        yield Finding("capabilities", "warning", words)
    else:
        yield Finding("capabilities", "ok", words)
    days = "".join(offered.get("EXPIRE", ())[:1])
    if days.isdecimal():
        when = f"after {int(days)} days" if int(days) else "at once"
        words = f"the server itself deletes mail that was read, {when}"
        yield Finding("capabilities", "warning", words, "what the rule ignores is then gone: is another copy kept?")
