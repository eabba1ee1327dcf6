"""An ID token: what is believed, to the second; and which keys of a provider are taken."""

import base64
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from router.http import Answer
from router.oidc.id_token import NotBelieved, UnknownKey, claims_of, keys_of

NOW = 1_800_000_000
KEY = ECKey.generate_key("P-256", {"kid": "k"})
GOOD: dict[str, Any] = {
    "iss": "https://login.example.com", "aud": "crm", "sub": "1", "nonce": "n", "iat": NOW, "exp": NOW + 300,
}  # fmt: skip


def read(changes: dict[str, Any] | None = None, key: Any = KEY, keys: Any = None, **header: Any) -> Any:
    claims = {name: value for name, value in {**GOOD, **(changes or {})}.items() if value is not None}
    algorithm = header.pop("alg", "ES256")
    named = {name: value for name, value in {"alg": algorithm, "kid": "k", **header}.items() if value is not None}
    token = jwt.encode(named, claims, key, algorithms=[algorithm])
    return believed(token, keys or [KEY])


def believed(token: str, keys: Any) -> Any:
    return claims_of(token, keys, issuer="https://login.example.com", client_id="crm", nonce="n", now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"aud": ["crm"]},
        {"aud": ["other", "crm"], "azp": "crm"},
        {"exp": NOW - 59, "iat": NOW - 300},
        {"iat": NOW + 60, "nbf": NOW + 60},
        {"nbf": 0},
        {"iat": NOW + 0.5},
    ],
)
def test_what_is_right_is_believed_by_clocks_a_minute_apart(changes: dict[str, Any]) -> None:
    assert read(changes)["sub"] == "1"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iss": "https://login.example.com/"}, "another issuer"),
        ({"iss": ["https://login.example.com"]}, "another issuer"),
        ({"aud": "crm2"}, "(aud)"),
        ({"aud": None}, "(aud)"),
        ({"aud": {"crm": 1}}, "(aud)"),
        ({"aud": ["crm", "other"]}, "(azp)"),
        ({"azp": "other"}, "(azp)"),
        ({"exp": NOW - 60}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "never"}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": float("nan")}, "expired"),
        ({"exp": float("inf")}, "expired"),
        ({"iat": NOW + 61}, "this hour"),
        ({"iat": NOW - 3661}, "this hour"),
        ({"iat": None}, "this hour"),
        ({"nbf": NOW + 61}, "not good yet"),
        ({"nbf": "x"}, "not good yet"),
        ({"nonce": "m"}, "(nonce)"),
        ({"nonce": None}, "(nonce)"),
        ({"sub": None}, "(sub)"),
        ({"sub": 1}, "(sub)"),
        ({"sub": "x" * 256}, "(sub)"),
        ({"sub": "a\0b"}, "(sub)"),
    ],
)
def test_what_is_wrong_is_not(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(NotBelieved) as caught:
        read(changes)
    assert words in str(caught.value)


def test_the_key_is_the_providers_and_of_the_kind_that_the_algorithm_takes() -> None:
    rsa = RSAKey.generate_key(2048, {"kid": "k"})
    assert read(key=rsa, keys=[KEY, rsa], alg="PS256")["sub"] == "1"
    assert read(key=rsa, keys=[rsa], alg="RS256", kid=None)["sub"] == "1"
    only = RSAKey.import_key({**rsa.as_dict(private=True), "alg": "RS256"})
    wrong: list[tuple[Any, dict[str, Any]]] = [
        ([KEY], {"alg": "RS256"}),
        ([only], {"alg": "PS256"}),
        ([rsa], {"alg": "RS256", "kid": "another"}),
        ([], {"alg": "RS256"}),
    ]
    for keys, header in wrong:
        with pytest.raises(UnknownKey):
            read(key=rsa, keys=keys, **header)
    secret = OctKey.generate_key(256)
    with pytest.raises(NotBelieved, match="alg"):
        read(key=secret, keys=[KEY], alg="HS256")


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "ä.ä.ä", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.", "." * 90_000])
def test_what_is_no_token_is_told_so(token: str) -> None:
    with pytest.raises(NotBelieved):
        believed(token, [KEY])


def test_what_is_critical_and_unknown_is_refused() -> None:
    token = jwt.encode({"alg": "ES256", "kid": "k"}, GOOD, KEY)
    header = json.dumps({"alg": "ES256", "kid": "k", "crit": ["b64"], "b64": False}).encode()
    changed = base64.urlsafe_b64encode(header).rstrip(b"=").decode() + "." + token.partition(".")[2]
    with pytest.raises(NotBelieved):
        believed(changed, [KEY])


def _answer(body: Any) -> Answer:
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(200, written, "application/json", None, None, "")


def test_keys_that_sign_are_read_and_others_left_out() -> None:
    good = KEY.as_dict(private=False)
    ed = OKPKey.generate_key("Ed25519").as_dict(private=False)
    others = [
        OctKey.generate_key(256).as_dict(private=True),
        {**good, "use": "enc"},
        {"kty": "EC", "crv": "P-256"},
        {"kty": "RSA", "n": "AQ", "e": "AQAB"},
        {"kty": "AKP", "alg": "ML-DSA-44"},
        {**good, "kty": ["EC"]},
        "x",
        None,
    ]
    assert [key.key_type for key in keys_of(_answer({"keys": [*others, good, ed]}))] == ["EC", "OKP"]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": 7}', b'{"keys": null}', b"[" * 50_000])
def test_what_is_no_key_set_is_told_so(body: bytes) -> None:
    with pytest.raises(NotBelieved, match="no key set"):
        keys_of(_answer(body))
