"""TLS as a client: whom we trust, and what went wrong in words an admin can act on."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from transports._net.tls_link import TlsLink
from transports._settings import ServerSettings
from transports.errors import Permanent, Unreachable

OTHER_NAME = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH (OpenSSL, x509_vfy.h)."""

# OpenSSL's names of alerts (RFC 8446 §6.2) that a server sends because of what it was shown.
_OF_OUR_CERTIFICATE = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants one, and there is none",
    "SSLV3_ALERT_BAD_CERTIFICATE": "it cannot be verified",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "it was revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it is not known there",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "it is of the wrong kind",
    "TLSV1_ALERT_UNKNOWN_CA": "its authority is not known there",
    "TLSV1_ALERT_ACCESS_DENIED": "it gives no access",
}
_NAMES_SHOWN = 10
_LONGEST_NAME = 253  # characters (RFC 1035 §2.3.4)
_TLS_ANSWERS = 5.0  # seconds


class SpeaksTls(Unreachable):
    """The server does not greet, since its port speaks TLS from the start."""


def client_context(ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and name: by `ca_file` (PEM) or the system's authorities.

    With `cert_file` (PEM) we show who we are. Raises Permanent if a file cannot be used, or that has expired.
    """
    changed_at = tuple(map(_changed_at, (ca_file, cert_file, key_file)))
    context = _client_context(ca_file, cert_file, key_file, changed_at)
    if cert_file is not None and (until := valid_until(cert_file)) is not None and until < datetime.now(UTC):
        raise Permanent(f"the client certificate {cert_file} expired on {until:%Y-%m-%d}: renew it")
    return context


def valid_until(cert_file: Path) -> datetime | None:
    """Tell until when the first certificate in a file (PEM) is valid; None where that cannot be told."""
    # Python shows no certificate of its own side but here.
    with suppress(AttributeError, LookupError, OSError, TypeError, ValueError):
        told = ssl._ssl._test_decode_cert(str(cert_file))  # type: ignore[attr-defined]  # noqa: SLF001
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(told["notAfter"]), UTC)
    return None


def no_connection(peer: str, error: OSError) -> Unreachable:
    """Say why there is no connection to `peer` ("host:port"), with the words of the system or of TLS."""
    # What Python itself raises, not OpenSSL, lacks these.
    reason = getattr(error, "reason", None)
    match error:
        case ssl.SSLCertVerificationError() if getattr(error, "verify_code", 0) in OTHER_NAME:
            words = "; ".join(
                [f"its certificate is for another name: {error.verify_message.rstrip('.')}", *_notes(error)]
            )
        case ssl.SSLCertVerificationError():
            verdict = getattr(error, "verify_message", None) or error
            trusted = "ca_file says whom to trust; without it, the system does"
            words = f"its certificate cannot be trusted: {verdict} ({trusted})"
        case ssl.SSLError() if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            fits = 'security = "starttls" fits such a port'
            words = f"it does not speak TLS at this port, but begins in clear text: {fits} ({reason})"
        case ssl.SSLError() if reason in _OF_OUR_CERTIFICATE:
            words = f"it does not take our client certificate: {_OF_OUR_CERTIFICATE[reason]} ({reason})"
        case ssl.SSLError():
            words = f"TLS failed: {reason or error}"
        case socket.gaierror():
            words = f"its name cannot be found: {error.strerror}"
        case TimeoutError():
            words = "no answer in time"
        case OSError(errno=int(number)) if number > 0:
            words = os.strerror(number)  # asyncio has words of its own, which repeat the address
        case _:
            words = error.strerror or str(error) or type(error).__name__
    return Unreachable(f"cannot connect to {peer}: {words}")


def timed_out(error: Unreachable) -> bool:
    """Whether a time limit is the cause."""
    return isinstance(error.__cause__, TimeoutError)


@asynccontextmanager
async def asking_for_tls(
    settings: ServerSettings, port: int, silent: Callable[[Unreachable], bool] = timed_out
) -> AsyncIterator[None]:
    """Find out why a server was `silent` where it should greet in clear text.

    Where its port speaks TLS from the start, SpeaksTls is raised in place of the error; it takes 5 seconds at most.
    """
    try:
        yield
    except Unreachable as error:
        if settings.security == "tls" or not silent(error) or not await _speaks_tls(settings.host, port):
            raise
        words = f'{error}: it speaks TLS from the start at this port, so security = "tls" is needed'
        raise SpeaksTls(words) from error.__cause__


async def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Nothing is said over this connection, so it makes no difference who the server is.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # With uvloop's own TLS a probe that is canceled leaves an error behind, which nobody can retrieve.
    link = TlsLink(context, host, asyncio.Protocol(), lambda _: None)
    try:
        async with asyncio.timeout(_TLS_ANSWERS):
            await asyncio.get_running_loop().create_connection(lambda: link, host, port)
            await link.handshake_done()
    except OSError:
        return False
    finally:
        link.abort()
    return True


class _TlsObject(ssl.SSLObject):
    def do_handshake(self) -> None:
        """See `ssl.SSLObject`."""
        with _noting_names(self):
            super().do_handshake()


class _TlsSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:  # as ssl.SSLSocket has it
        """See `ssl.SSLSocket`."""
        with _noting_names(self):
            super().do_handshake(block)


@contextmanager
def _noting_names(tls: ssl.SSLObject | ssl.SSLSocket) -> Iterator[None]:
    """Add the names that the server's certificate is for to the error of a handshake that fails because of them."""
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in OTHER_NAME:
            # Python shows no certificate of a handshake that failed but here, and only within itself.
            with suppress(AttributeError, LookupError, TypeError, ValueError):
                chain = tls._sslobj.get_unverified_chain()  # type: ignore[union-attr]  # noqa: SLF001
                names = [_shown(kind, name) for kind, name in chain[0].get_info()["subjectAltName"]]
                more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
                error.add_note(f"it is for {', '.join(names[:_NAMES_SHOWN])}{more}")
        raise


def _notes(error: BaseException) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _shown(kind: str, name: str) -> str:
    """Make a name fit for a log: nobody vouches for the certificate that it is in."""
    if kind == "IP Address":
        return str(ip_address(name.strip()))
    return "".join(character if character.isprintable() else "?" for character in name[:_LONGEST_NAME])


@lru_cache(maxsize=32)
def _client_context(
    ca_file: Path | None, cert_file: Path | None, key_file: Path | None, _changes: tuple[int, ...]
) -> ssl.SSLContext:
    # One for all connections: reading the system's authorities takes tens of milliseconds, and keeping them memory.
    context = _trusting(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslobject_class, context.sslsocket_class = _TlsObject, _TlsSocket
    if cert_file is not None:
        _show(context, cert_file, key_file)
    return context


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        reason = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise Permanent(f"the certificate authorities in {ca_file} cannot be read: {reason}") from None


def _show(context: ssl.SSLContext, cert_file: Path, key_file: Path | None) -> None:
    try:
        # Without an answer OpenSSL would ask for the key's password at the terminal.
        context.load_cert_chain(cert_file, key_file, password=lambda: "")
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        named = f"{cert_file} with {key_file}" if key_file else str(cert_file)
        raise Permanent(f"the client certificate {named} cannot be used: {reason}") from None


def _changed_at(file: Path | None) -> int:
    try:
        return file.stat().st_mtime_ns if file else 0
    except OSError:
        return 0  # reading it will tell
