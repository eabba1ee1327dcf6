"""TLS as a client: whom we trust, and what went wrong in words an admin can act on."""

import socket
import ssl
from functools import lru_cache
from pathlib import Path

from transports.base import Permanent, Unreachable


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and name: by `ca_file` (PEM) or the system's authorities.

    Raises Permanent if the file cannot be used.
    """
    try:
        return _client_context(ca_file, ca_file.stat().st_mtime_ns if ca_file else 0)
    except OSError as error:
        reason = "it holds no certificate in PEM form" if isinstance(error, ssl.SSLError) else error.strerror
        raise Permanent(f"the certificate authorities in {ca_file} cannot be read: {reason}") from None


def no_connection(peer: str, error: OSError) -> Unreachable:
    """Say why there is no connection to `peer` ("host:port"), with the words of the system or of TLS."""
    match error:
        case ssl.SSLCertVerificationError():
            words = f"its certificate cannot be trusted: {error.verify_message} (ca_file names further authorities)"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
            words = f"it does not speak TLS at this port: is port or security right? ({error.reason})"
        case ssl.SSLError():
            words = f"TLS failed: {error.reason or error}"
        case socket.gaierror():
            words = f"its name cannot be found: {error.strerror}"
        case TimeoutError():
            words = "no answer in time"
        case _:
            words = error.strerror or str(error) or type(error).__name__
    return Unreachable(f"cannot connect to {peer}: {words}")


@lru_cache(maxsize=32)
def _client_context(ca_file: Path | None, _changed_at: int) -> ssl.SSLContext:
    # One for all connections: reading the system's authorities takes tens of milliseconds, and keeping them memory.
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
