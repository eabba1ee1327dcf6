"""Which hosts are tried, and how it is said that none will do, without a PostgreSQL."""

import socket

import pytest

from router.errors import DatabaseAway, DatabaseError
from router.repository import connect
from router.repository.connect import Server
from tests.servers.ports import free_port


async def test_every_host_that_was_tried_is_named_and_no_password() -> None:
    one, two = free_port(), free_port()
    with pytest.raises(DatabaseAway) as caught:
        await Server(f"postgresql://ann:hush@127.0.0.1:{one},no.such.host.invalid:{two}/crm").connect()
    first, second = str(caught.value).removeprefix("cannot connect to the database: ").split("; ")
    assert first == f"127.0.0.1:{one}: Connection refused"
    assert second.startswith(f"no.such.host.invalid:{two}: ")
    assert "hush" not in str(caught.value)


async def test_a_host_that_does_not_answer_leaves_time_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(DatabaseAway) as caught:
            await Server(f"postgresql://ann@127.0.0.1:{port},127.0.0.1:{free_port()}/crm").connect()
    assert f"127.0.0.1:{port}: no answer; 127.0.0.1:" in str(caught.value)
    assert str(caught.value).endswith(": Connection refused")


@pytest.mark.parametrize("url", ["postgresql://ann:hu:sh@db:54hush/crm", "postgresql://ann@127.0.0.1/crm?=hush&"])
async def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(DatabaseError, match=r"^the URL of the database cannot be read: ") as caught:
        await Server(url).connect()
    assert "hush" not in str(caught.value)


async def test_an_option_that_is_wrong_is_told_in_its_own_words() -> None:
    with pytest.raises(DatabaseError, match="`sslmode` parameter must be one of"):
        await Server("postgresql://ann@127.0.0.1/crm?sslmode=perhaps").connect()
