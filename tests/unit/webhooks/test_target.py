"""Where a webhook may be."""

import socket

import pytest
from aiohttp.abc import ResolveResult

from router.names import Names
from router.webhooks.target import Allowed, check, is_here


@pytest.mark.parametrize(
    "url",
    [
        "https://crm.example.com/events?tenant=1",
        "https://10.0.0.7:8443/",
        "https://[fd00::7]/",
        "http://localhost:8080/hook",
        "http://127.0.0.1:8080",
        "http://[::1]:8080/",
        "http://[::ffff:127.0.0.1]:8080/",
    ],
)
def test_what_a_webhook_may_be(url: str) -> None:
    assert is_here(check(url)) == url.startswith("http://")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://crm.example.com/", "https"),
        ("http://10.0.0.7/", "https"),
        ("http://localhost.example.com/", "https"),
        ("ftp://crm.example.com/", "such as"),
        ("https://", "such as"),
        ("https://crm.example.com:99999/", "such as"),
        ("https://crm.example.com:0/", "such as"),
        ("crm.example.com", "such as"),
        ("https://ann:secret@crm.example.com/", "password"),
        ("https://crm.example.com/#x", "fragment"),
        ("https://crm.example.com/a b", "spaces"),
        ("https://crm.example.com/\r\nHost: x", "ASCII"),
        ("https://bürö.example/", "ASCII"),
        ("https://169.254.169.254/latest/", "no address of a CRM"),
        ("https://[::ffff:169.254.169.254]/", "no address of a CRM"),
        ("https://[fe80::1]/", "no address of a CRM"),
        ("https://[fe80::1%25eth0]/", "no address of a CRM"),
        ("https://0.0.0.0/", "no address of a CRM"),
        ("https://224.0.0.1/", "no address of a CRM"),
        ("https://[64:ff9b::a9fe:a9fe]/", "no address of a CRM"),
        ("https://[2002:a9fe:a9fe::1]/", "no address of a CRM"),
        ("https://[fd00:ec2::254]/", "no address of a CRM"),
        ("https://[64:ff9b::7f00:1]/", "an address of this machine"),
        ("https://crm.example.com/" + "x" * 2000, "2000"),
    ],
)
def test_what_no_webhook_may_be_is_said(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check(url)


class Told(Names):
    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=one, port=port, family=family, proto=6, flags=0)
            for one in self._addresses
        ]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "fe80::1%2",
        "0.0.0.0",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:a9fe:a9fe::1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "::7f00:1",
        "::ffff:0:7f00:1",
    ],
)
async def test_a_name_that_leads_to_this_machine_or_a_cloud_s_secrets_is_not_asked(address: str) -> None:
    with pytest.raises(OSError, match=r"crm\.example\.com is"):
        await Allowed(Told("192.0.2.7", address)).resolve("crm.example.com", 443)


@pytest.mark.parametrize("address", ["64:ff9b::c000:207", "2002:c000:207::1", "fd00:ec2::253", "100.100.100.7"])
async def test_a_crm_behind_a_translator_is_asked(address: str) -> None:
    assert [one["host"] for one in await Allowed(Told(address)).resolve("crm.example.com", 443)] == [address]


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "localhost."])
async def test_numbers_that_a_resolver_takes_for_this_machine_are_not_asked(host: str) -> None:
    assert check(f"https://{host}/") == host
    with pytest.raises(OSError):  # noqa: PT011  # resolvers differ in what they know
        await Allowed(Names()).resolve(host, 443)


async def test_other_names_are_asked_and_localhost_where_it_is_meant() -> None:
    assert [one["host"] for one in await Allowed(Told("10.0.0.7")).resolve("crm.example.com", 443)] == ["10.0.0.7"]
    assert [one["host"] for one in await Allowed(Told("127.0.0.1")).resolve("localhost", 80)] == ["127.0.0.1"]
