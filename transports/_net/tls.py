"""TLS as a client: whom we trust, and what went wrong in words an admin can act on."""

import socket
import ssl
from functools import lru_cache
from pathlib import Path

from transports.base import Permanent, Unreachable


def client_context(ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and name: by `ca_file` (PEM) or the system's authorities.

    With `cert_file` (PEM) we show who we are. Raises Permanent if a file cannot be used.
    """
    changed_at = tuple(map(_changed_at, (ca_file, cert_file, key_file)))
    return _client_context(ca_file, cert_file, key_file, changed_at)


def no_connection(peer: str, error: OSError) -> Unreachable:
    """Say why there is no connection to `peer` ("host:port"), with the words of the system or of TLS."""
    # What Python itself raises, not OpenSSL, lacks these.
    reason = getattr(error, "reason", None)
    match error:
        case ssl.SSLCertVerificationError():
            verdict = getattr(error, "verify_message", None) or error
            trusted = "ca_file says whom to trust; without it, the system does"
            words = f"its certificate cannot be trusted: {verdict} ({trusted})"
        case ssl.SSLError() if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            words = f"it does not speak TLS at this port: is port or security right? ({reason})"
        case ssl.SSLError():
            words = f"TLS failed: {reason or error}"
        case socket.gaierror():
            words = f"its name cannot be found: {error.strerror}"
        case TimeoutError():
            words = "no answer in time"
        case _:
            words = error.strerror or str(error) or type(error).__name__
    return Unreachable(f"cannot connect to {peer}: {words}")


@lru_cache(maxsize=32)
def _client_context(
    ca_file: Path | None, cert_file: Path | None, key_file: Path | None, _changes: tuple[int, ...]
) -> ssl.SSLContext:
    # One for all connections: reading the system's authorities takes tens of milliseconds, and keeping them memory.
    context = _trusting(ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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
