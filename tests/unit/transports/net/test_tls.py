"""Whom we trust, and what an admin reads when that fails."""

import socket
import ssl
from pathlib import Path

import pytest

from transports._net.tls import client_context, no_connection
from transports.errors import Permanent


def test_verifies_always() -> None:
    context = client_context(None)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert client_context(None) is context


def test_own_authorities_are_read_again_when_they_change(tmp_path: Path, ca_file: Path) -> None:
    copy = tmp_path / "ca.pem"
    copy.write_bytes(ca_file.read_bytes())
    context = client_context(copy)
    assert "CRM email router test authority" in str(context.get_ca_certs())
    copy.write_text("no certificate")
    with pytest.raises(Permanent, match=r"ca\.pem cannot be read: it holds no certificate"):
        client_context(copy)


def test_missing_authorities(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match="No such file"):
        client_context(tmp_path / "missing.pem")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name cannot be found: Name or service not known"),
        (ConnectionRefusedError(111, "Connection refused"), "Connection refused"),
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 995)"), "Connection refused"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(), "ConnectionResetError"),
        (
            ssl.SSLCertVerificationError(1, "self-signed"),
            "its certificate cannot be trusted: self-signed (ca_file says whom to trust; without it, the system does)",
        ),
    ],
)
def test_words(error: OSError, words: str) -> None:
    assert str(no_connection("mail.example.com:993", error)) == f"cannot connect to mail.example.com:993: {words}"
