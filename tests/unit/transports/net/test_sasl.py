"""What is said by each mechanism, byte for byte."""

import base64
from collections.abc import Callable

import pytest
from scramp import ScramMechanism
from scramp.core import ScramServer

from transports._net import sasl
from transports._net.credentials import Credential, Password, Token
from transports.errors import Permanent, Unauthorized


def said(mechanism: sasl.Mechanism, *challenges: bytes) -> list[str | bytes]:
    """Its name, and what it says until nothing is left to say."""
    responses = [mechanism.respond(challenge) for challenge in [b"", *challenges]]
    assert mechanism.respond(b"") is None
    return [mechanism.name, *(one for one in responses if one is not None)]


def scram_server(password: str) -> ScramServer:
    mechanism = ScramMechanism("SCRAM-SHA-256")
    known = mechanism.make_auth_info(password, iteration_count=4096)
    server: ScramServer = mechanism.make_server(lambda _: known)
    return server


def test_plain_carries_any_character_but_nul() -> None:
    # The example of RFC 4616 §4, and one in another script.
    assert said(sasl.plain("tim", "tanstaaftanstaaf")) == ["PLAIN", b"\0tim\0tanstaaftanstaaf"]
    assert said(sasl.plain("müller", "a\r\n b")) == ["PLAIN", "\0müller\0a\r\n b".encode()]


def test_plain_says_in_whose_name() -> None:
    assert said(sasl.plain("Kurt", "xipj3plmq", "Ursel")) == ["PLAIN", b"Ursel\0Kurt\0xipj3plmq"]


def test_login_says_one_after_the_other() -> None:
    assert said(sasl.login("tim", "tanstaaf"), b"Username:", b"Password:") == ["LOGIN", b"tim", b"tanstaaf"]


def test_a_token_is_said_and_what_is_wrong_with_it_acknowledged() -> None:
    error = b'{"status":"401","schemes":"bearer","scope":"mail"}'
    mechanism = sasl.xoauth2("ann@in.test", "abc")
    # The example of Google's and Microsoft's documents, with another user.
    assert said(mechanism, error) == ["XOAUTH2", b"user=ann@in.test\1auth=Bearer abc\1\1", b""]
    assert mechanism.refusal == "status 401, scope mail"
    mechanism = sasl.oauthbearer("a=n,n@in.test", "abc", "mail.in.test", 993)
    # RFC 7628 §3.1 and §3.2.3
    begin = b"n,a=a=3Dn=2Cn@in.test,\1host=mail.in.test\1port=993\1auth=Bearer abc\1\1"
    assert said(mechanism, b"what?") == ["OAUTHBEARER", begin, b"\1"]
    assert mechanism.refusal == "what?"


def test_scram_lets_the_server_prove_that_it_knows_the_password() -> None:
    mechanism, server = sasl.scram("ann", "secret"), scram_server("secret")
    first = mechanism.respond(b"")
    assert first is not None
    assert b"secret" not in first
    server.set_client_first(first.decode())
    final = mechanism.respond(server.get_server_first().encode())
    assert final is not None
    server.set_client_final(final.decode())
    with pytest.raises(Unauthorized, match="not proven"):
        sasl.require_complete(mechanism, "mail.in.test")
    assert mechanism.respond(server.get_server_final().encode()) == b""
    sasl.require_complete(mechanism, "mail.in.test")


@pytest.mark.parametrize(
    "challenge", [b"r=x,s=c2FsdA==,i=999999999", b"r=x", b"\xff", b"", b"r=x,s=c2FsdA==,i=4096", b"e=no"]
)
def test_a_server_that_does_not_speak_scram_gets_nothing(challenge: bytes) -> None:
    mechanism = sasl.scram("ann", "secret")
    mechanism.respond(b"")
    assert mechanism.respond(challenge) is None
    assert mechanism.refusal
    with pytest.raises(Unauthorized, match="not proven"):
        sasl.require_complete(mechanism, "mail.in.test")


@pytest.mark.parametrize(
    ("offered", "credential", "encrypted", "chosen"),
    [
        (["LOGIN", "PLAIN", "SCRAM-SHA-256"], Password("a", "b"), True, "PLAIN"),
        (["LOGIN", "PLAIN", "SCRAM-SHA-256"], Password("a", "b"), False, "SCRAM-SHA-256"),
        (["LOGIN", "SCRAM-SHA-256"], Password("a", "b", "c"), True, None),
        (["LOGIN"], Password("a", "b"), True, "LOGIN"),
        (["XOAUTH2", "OAUTHBEARER", "PLAIN"], Token("a", "b"), True, "OAUTHBEARER"),
        (["XOAUTH2", "PLAIN"], Token("a", "b"), True, "XOAUTH2"),
        (["PLAIN", "LOGIN"], Token("a", "b"), True, None),
        (["XOAUTH2", "CRAM-MD5"], Password("a", "b"), True, None),
    ],
)
def test_the_mechanism_is_one_that_the_server_offers(
    offered: list[str], credential: Credential, encrypted: bool, chosen: str | None
) -> None:
    mechanism = sasl.choose(offered, credential, encrypted=encrypted)
    assert (mechanism and mechanism.name) == chosen


@pytest.mark.parametrize("password", ["a\N{GRINNING FACE}", "a\tb", "\N{ARABIC LETTER ALEF}a"])
def test_a_password_that_scram_does_not_carry_is_said_by_another(password: str) -> None:
    chosen = sasl.choose(["SCRAM-SHA-256", "PLAIN"], Password("ann", password), encrypted=False)
    assert chosen is not None
    assert said(chosen) == ["PLAIN", f"\0ann\0{password}".encode()]
    with pytest.raises(Permanent, match="SCRAM-SHA-256 does not carry this user or password") as refused:
        sasl.choose(["SCRAM-SHA-256"], Password("ann", password), encrypted=True)
    assert password not in str(refused.value)


def test_what_a_server_repeats_of_ours_is_left_out() -> None:
    mechanism = sasl.plain("ann", "the-secret")
    said = base64.b64encode(mechanism.respond(b"") or b"").decode()
    told = sasl.redact(f"unknown: AUTH PLAIN {said} or the-secret", "the-secret", mechanism)
    assert told == "unknown: AUTH PLAIN … or …"
    assert sasl.redact("no", "", None) == "no"


def test_no_secret_is_shown() -> None:
    assert "hush" not in repr([Password("ann", "hush"), Token("ann", "hush")])


@pytest.mark.parametrize(
    "make",
    [
        lambda: sasl.plain("a\0b", "secret"),
        lambda: sasl.plain("a", "sec\0ret"),
        lambda: sasl.plain("a", "secret", "b\0"),
        lambda: sasl.login("a\0b", "secret"),
        lambda: sasl.login("a", "sec\0ret"),
    ],
)
def test_a_nul_is_refused(make: Callable[[], sasl.Mechanism]) -> None:
    with pytest.raises(Permanent, match="cannot hold a NUL") as refused:
        make()
    assert "secret" not in str(refused.value)
