"""What a proxy says of a request holds where the proxy is trusted, and nowhere else."""

from ipaddress import ip_network
from typing import Any

import pytest

from router.web.forwarded import Forwarded, Private, Proxies, is_private

PROXIES = Proxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")], "Remote-User")


async def seen(
    *headers: tuple[str, str], peer: str = "10.0.0.1", path: str = "/people", proxies: Proxies = PROXIES
) -> dict[str, Any]:
    """The scope of a request as the application sees it."""
    found: list[Any] = []

    async def app(scope: Any, _receive: object, _send: object) -> None:
        found.append(scope)

    sent = [(name.lower().encode(), value.encode()) for name, value in [("Host", "inside:8025"), *headers]]
    scope = {"type": "http", "scheme": "http", "client": (peer, 5), "path": path, "root_path": "", "headers": sent}
    await Forwarded(app, proxies)(scope, None, None)  # type: ignore[arg-type]  # not used
    return found[0]  # type: ignore[no-any-return]


async def test_a_trusted_proxys_words_hold() -> None:
    scope = await seen(
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "crm.example"),
        ("X-Forwarded-Prefix", "/mail/"),
        ("X-Forwarded-For", "6.6.6.6, 203.0.113.9, 10.1.1.1"),
        ("Remote-User", "ann"),
    )
    assert (scope["scheme"], scope["root_path"], scope["path"]) == ("https", "/mail", "/mail/people")
    assert dict(scope["headers"])[b"host"] == b"crm.example"
    # What the client itself put before it is whatever it likes.
    assert scope["client"][0] == "203.0.113.9"
    assert scope["state"]["proxy_person"] == "ann"
    assert is_private(scope)


async def test_a_request_of_which_a_proxy_may_have_seen_another_end_is_refused_and_its_connection_ends() -> None:
    async def app(*_: object) -> None:
        raise AssertionError

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"content-length", b"5"), (b"transfer-encoding", b"chunked")]
    scope = {"type": "http", "scheme": "http", "path": "/", "headers": headers}
    await Forwarded(app, PROXIES)(scope, None, send)  # type: ignore[arg-type]  # not used
    assert sent[0]["status"] == 400
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_a_proxy_may_leave_the_prefix_on_the_path() -> None:
    scope = await seen(("X-Forwarded-Prefix", "/mail"), path="/mail/people")
    assert (scope["root_path"], scope["path"]) == ("/mail", "/mail/people")
    # A path that begins like it is not under it.
    assert (await seen(("X-Forwarded-Prefix", "/mail"), path="/mailing"))["path"] == "/mail/mailing"


@pytest.mark.parametrize("prefix", ["mail", "//evil.example", "/a/../b", "/a b", "/", "/a?b", '/"x'])
async def test_a_prefix_that_is_none_is_as_if_it_were_not_there(prefix: str) -> None:
    scope = await seen(("X-Forwarded-Prefix", prefix))
    assert (scope["root_path"], scope["path"]) == ("", "/people")


async def test_a_proxy_that_names_two_people_names_nobody() -> None:
    """Some add their own beside what the client sent."""
    scope = await seen(("Remote-User", "admin"), ("Remote-User", "ann"))
    assert scope["state"]["proxy_person"] is None
    assert (await seen(("Remote-User", "")))["state"]["proxy_person"] is None


async def test_the_zone_of_an_address_is_left_out() -> None:
    assert (await seen(("X-Forwarded-For", "fe80::1%eth0")))["client"][0] == "fe80::1"


async def test_what_anybody_else_says_is_nothing() -> None:
    said = [
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Forwarded-Prefix", "/mail"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Remote-User", "ann"),
    ]
    for peer in ("192.0.2.1", "127.0.0.1", "::ffff:192.0.2.1", "no address"):
        scope = await seen(*said, peer=peer)
        assert (scope["scheme"], scope["root_path"], scope["client"][0]) == ("http", "", peer)
        assert scope["state"]["proxy_person"] is None
        assert not is_private(scope)
    assert (await seen(*said, proxies=Proxies([ip_network("10.0.0.0/8")])))["state"]["proxy_person"] is None
    # An address of IPv4 in the form of IPv6 is the same address.
    assert (await seen(*said, peer="::ffff:10.0.0.1"))["scheme"] == "https"


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True), ("localhost:8025", True), ("crm.localhost", True), ("127.0.0.1:8025", True),
        ("127.8.8.8", True), ("[::1]:8025", True), ("LOCALHOST", True),
        ("crm.example", False), ("10.0.0.1:8025", False), ("localhost.crm.example", False), ("", False),
        ("[::2]:8025", False), ("127.0.0.1.crm.example", False), ("notlocalhost", False),
    ],
)  # fmt: skip
async def test_clear_text_is_for_this_machine_alone(host: str, private: bool) -> None:
    scope = await seen(peer="192.0.2.1")
    scope["headers"] = [(b"host", host.encode())]
    assert is_private(scope) is private
    assert is_private({**scope, "scheme": "https"})


async def test_who_could_be_listened_to_gets_a_reason_and_no_answer() -> None:
    async def app(*_: object) -> None:
        raise AssertionError

    for as_json, media_type in ((False, b"text/plain; charset=utf-8"), (True, b"application/problem+json")):
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        await Private(app, as_json=as_json)(await seen(), None, send)  # type: ignore[arg-type]  # not used
        assert sent[0]["status"] == 403
        assert dict(sent[0]["headers"])[b"content-type"] == media_type
        assert b"EMAIL_ROUTER_TRUSTED_PROXIES" in sent[1]["body"]
