"""Where a listener stands: addresses of the network, and Unix sockets, whose files it makes and removes."""

import grp
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from transports._listener.address import Inet, Unix
from transports.errors import Permanent, Temporary


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2525", ("127.0.0.1", 2525)),
        ("0.0.0.0:25", ("0.0.0.0", 25)),
        ("[::1]:25", ("::1", 25)),
        ("[::]:0", ("::", 0)),
    ],
)
def test_an_address_of_the_network(text: str, expected: tuple[str, int]) -> None:
    address = Inet.parse(text)
    assert (address.host, address.port) == expected
    assert address.name == text


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_is_taken_and_given_back(host: str) -> None:
    with Inet.parse(f"{host}:0").bound() as bound:
        taken = Inet.parse(f"{host}:{bound.getsockname()[1]}")
        with pytest.raises(Temporary, match="another program listens there"), taken.bound():
            pass
    with taken.bound():
        pass


def test_an_address_that_this_machine_has_not() -> None:
    with pytest.raises(Temporary, match=r"cannot listen at 192\.0\.2\.1:25"), Inet("192.0.2.1", 25).bound():
        pass


# --- Unix sockets ----------------------------------------------------------------------------------------------------


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="er-") as made:
        yield Path(made)


@pytest.fixture
def address(folder: Path) -> Unix:
    return Unix.parse(f"unix:{folder}/lmtp", 0o640, None)


@pytest.mark.parametrize("text", ["unix:", "unix:run/lmtp", "unix:/run/" + "x" * 108, "unix:/run/\0"])
def test_no_socket_to_listen_at(text: str) -> None:
    with pytest.raises(ValueError, match="is no socket to listen at: write a path from the root"):
        Unix.parse(text, 0, None)


def test_a_socket_is_there_while_it_is_listened_at_and_open_to_whom_it_should(address: Unix) -> None:
    with address.bound():
        assert stat.S_IMODE(address.path.stat().st_mode) == 0o640
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address.path))
    assert not address.path.exists()


def test_a_socket_that_somebody_listens_at_is_left_alone(address: Unix) -> None:
    with address.bound() as bound:
        with pytest.raises(Temporary, match="another program listens there"), address.bound():
            pass
        with ExitStack() as stack:  # more connections than it holds
            for _ in range(102):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                try:
                    client.connect(str(address.path))
                except BlockingIOError:
                    break
            with pytest.raises(Temporary, match="another program listens there"), address.bound():
                pass
        assert bound.getsockname() == str(address.path)


def test_a_socket_that_a_killed_router_left_is_replaced(address: Unix) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(address.path))
        left.listen()
    with address.bound(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address.path))


def test_a_socket_of_another_router_is_not_removed_at_the_end(address: Unix) -> None:
    with ExitStack() as stack:
        with address.bound():
            address.path.unlink()
            stack.enter_context(address.bound())
        assert address.path.exists()


def test_a_file_that_is_no_socket_is_left_alone(address: Unix) -> None:
    address.path.write_text("mine")
    with pytest.raises(Permanent, match="a file lies there that is no socket; move it away"), address.bound():
        pass
    assert address.path.read_text() == "mine"


def test_a_folder_that_is_not_there(folder: Path) -> None:
    missing = Unix(folder / "run" / "lmtp", 0o660)
    with pytest.raises(Permanent, match=f"the folder {folder}/run is not there; make it"), missing.bound():
        pass


def test_a_group(folder: Path) -> None:
    mine = grp.getgrgid(os.getegid()).gr_name
    with Unix(folder / "lmtp", 0o660, mine).bound():
        assert (folder / "lmtp").group() == mine
    with (
        pytest.raises(Permanent, match="there is no group nobody-has-this"),
        Unix(folder / "lmtp", 0o660, "nobody-has-this").bound(),
    ):
        pass
    assert not (folder / "lmtp").exists()


@pytest.mark.parametrize(
    ("number", "group", "words"),
    [
        (1, "postfix", "the router's user is not in the group postfix; add it"),
        (13, None, "the router may not write in the folder"),
        (28, None, "cannot listen at unix:.*: No space left on device"),
    ],
)
def test_what_the_system_refuses_is_told_in_words(
    address: Unix, monkeypatch: pytest.MonkeyPatch, number: int, group: str | None, words: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "chmod", refuse)
    refused = Unix(address.path, address.mode, group and grp.getgrgid(os.getegid()).gr_name)
    with pytest.raises((Permanent, Temporary), match=words.replace("postfix", str(refused.group))), refused.bound():
        pass
