"""What an admin reads where a port speaks TLS and we do not, or the reverse, and where a certificate has other names.

The same for every kind that talks to a server; that real servers are told alike is in tests/conformance/test_errors.py
and tests/integration/test_smtp.py.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest

import transports
from tests.servers.tls import Tls
from transports.base import After, Finding
from transports.imap.settings import ImapSettings

GREETINGS = {"imap": b"* OK ready\r\n", "pop3": b"+OK ready\r\n", "smtp": b"220 mail.test ready\r\n"}

every_kind = pytest.mark.parametrize("kind", GREETINGS)


@asynccontextmanager
async def serving(greeting: bytes, host: str = "127.0.0.1", tls: Tls | None = None) -> AsyncIterator[int]:
    """A server that greets, and then waits; its port."""
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        try:
            await reader.read()
        except OSError:
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(greet, host, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def probed(name: str, monkeypatch: pytest.MonkeyPatch, **keys: Any) -> Mapping[str, Finding]:
    """The finding of each step."""
    monkeypatch.setenv("PORT_TEST_PASSWORD", "hush")
    keys = {"auth": {"user": "ann", "password": {"env": "PORT_TEST_PASSWORD"}}} | keys
    transport = transports.load(name)
    if transport.outgoing is not None:
        found = transport.outgoing.probe(transport.outgoing.settings.model_validate(keys), (), transports.NO_TOKENS)
    else:
        assert isinstance(transport.incoming, transports.MailboxKind)
        found = transport.incoming.probe(
            transport.incoming.settings.model_validate(keys), None, After("keep"), transports.NO_TOKENS
        )
    return {one.step: one async for one in found}


@every_kind
async def test_a_port_that_begins_in_clear_text(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(GREETINGS[kind]) as port:
        found = await probed(kind, monkeypatch, host="127.0.0.1", port=port, security="tls")
    assert found["TLS"].words == (
        f"cannot connect to 127.0.0.1:{port}: it does not speak TLS at this port, but begins in clear text: "
        'security = "starttls" fits such a port (WRONG_VERSION_NUMBER)'
    )


@every_kind
@pytest.mark.parametrize("security", ["starttls", "none"])
async def test_a_port_that_speaks_tls_from_the_start(
    kind: str, security: str, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(GREETINGS[kind], tls=tls) as port:
        found = await probed(kind, monkeypatch, host="127.0.0.1", port=port, security=security, timeout=0.2)
    words = found["connection"].words
    assert f"127.0.0.1:{port}" in words
    assert words.endswith(': it speaks TLS from the start at this port, so security = "tls" is needed')
    assert found["connection"].advice.startswith("usual ports are ")


@every_kind
async def test_a_server_that_only_keeps_silent(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transports._net.tls._TLS_ANSWERS", 0.2)
    async with serving(b"") as port:
        found = await probed(kind, monkeypatch, host="127.0.0.1", port=port, security="starttls", timeout=0.2)
    assert "no answer" in found["connection"].words
    assert "TLS" not in found["connection"].words


@every_kind
async def test_a_certificate_for_other_names(kind: str, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(GREETINGS[kind], "127.0.0.2", tls) as port:
        found = await probed(kind, monkeypatch, host="127.0.0.2", port=port, security="tls", ca_file=str(tls.ca_file))
    assert found["TLS"].words == (
        f"cannot connect to 127.0.0.2:{port}: its certificate is for another name: IP address mismatch, certificate is "
        "not valid for '127.0.0.2'; it is for localhost, 127.0.0.1, ::1"
    )
    assert found["TLS"].advice == 'write as "host" a name that the certificate is for'
    assert "ca_file" not in found["TLS"].words + found["TLS"].advice


@pytest.mark.parametrize(
    ("host", "stays"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("127.0.0.1.example.com", False),
        ("127.example.com", False),
        ("10.0.0.1", False),
    ],
)
def test_what_stays_on_this_machine(host: str, stays: bool) -> None:
    keys = {"host": host, "security": "none", "auth": {"user": "a", "password": {"env": "X"}}}
    with nullcontext() if stays else pytest.raises(ValueError, match="in clear text"):
        ImapSettings.model_validate(keys)
