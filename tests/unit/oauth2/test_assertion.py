"""JWTs by which we show who we are."""

import base64
import hashlib
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from router.oauth2.assertion import account_assertion, claims_of, client_assertion
from tests.servers.tls import make_tls
from transports import OAuth2
from transports.errors import Permanent

AUDIENCE = "https://login.example.com/token"


def profile(**certificate: Any) -> OAuth2:
    return OAuth2.model_validate(
        {"token_url": AUDIENCE, "client_id": "c", "scope": "s", "client_certificate": certificate}
    )


def test_a_certificate_is_named_by_its_hash(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    token = client_assertion(profile(file=tls.certificate, key=tls.key), AUDIENCE)
    verified = jwt.decode(token, ECKey.import_key(tls.key.read_bytes()), algorithms=["ES256"])
    der = ssl.PEM_cert_to_DER_cert(tls.certificate.read_text())
    thumbprint = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    assert verified.header["x5t#S256"] == thumbprint
    claims = verified.claims
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("c", "c", AUDIENCE)
    assert claims["nbf"] <= time.time() < claims["exp"] <= time.time() + 300


def test_an_rsa_key_signs_with_pss(tmp_path: Path) -> None:
    key, pem = rsa_key()
    tls = make_tls(tmp_path)
    tls.key.write_bytes(pem)
    token = client_assertion(profile(file=tls.certificate, key=tls.key), AUDIENCE)
    jwt.decode(token, key, algorithms=["PS256"])


def test_the_key_may_be_in_the_same_file(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    tls.certificate.write_bytes(tls.certificate.read_bytes() + tls.key.read_bytes())
    assert client_assertion(profile(file=tls.certificate), AUDIENCE)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"])
def test_a_file_without_a_key_is_told_without_what_is_in_it(tmp_path: Path, content: bytes) -> None:
    tls = make_tls(tmp_path)
    tls.key.write_bytes(content)
    with pytest.raises(Permanent, match="holds no private key") as raised:
        client_assertion(profile(file=tls.certificate, key=tls.key), AUDIENCE)
    assert "c2Vj" not in str(raised.value)


def test_a_service_account_comes_in_a_users_name(tmp_path: Path) -> None:
    key, pem = rsa_key()
    account = {"client_email": "a@p.iam", "private_key_id": "k1", "private_key": pem.decode()}
    (tmp_path / "key.json").write_text(json.dumps(account))
    oauth2 = OAuth2.model_validate({"provider": "google", "service_account": {"file": tmp_path / "key.json"}})
    verified = jwt.decode(account_assertion(oauth2, "ann@example.com", AUDIENCE), key, algorithms=["RS256"])
    assert verified.header["kid"] == "k1"
    claims = verified.claims
    assert (claims["iss"], claims["sub"], claims["scope"]) == ("a@p.iam", "ann@example.com", "https://mail.google.com/")
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize(
    "content",
    ["secret", "[]", '{"client_email": "a"}', '{"client_email": "a", "private_key_id": "b", "private_key": "secret"}'],
)
def test_what_is_no_service_account_is_told_without_what_is_in_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "key.json").write_text(content)
    oauth2 = OAuth2.model_validate({"provider": "google", "service_account": {"file": tmp_path / "key.json"}})
    with pytest.raises(Permanent, match=r"does not hold the JSON key|holds no private key") as raised:
        account_assertion(oauth2, "ann@example.com", AUDIENCE)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.W10.c", "a." + "[" * 40 + ".c"])
def test_what_is_no_jwt_says_nothing_of_itself(token: str) -> None:
    assert claims_of(token) == {}


def rsa_key() -> tuple[RSAKey, bytes]:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return RSAKey.import_key(pem), pem
