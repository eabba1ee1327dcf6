"""The return path of an outgoing email, and the id in it."""

from uuid import UUID

import pytest

from router.model.return_path import find_return_id, mailbox_of_return_path, return_path

ID = UUID("5f0c8d7e-1a2b-4c3d-8e9f-0a1b2c3d4e5f")
LOCAL = "crm-5f0c8d7e1a2b4c3d8e9f0a1b2c3d4e5f"


@pytest.mark.parametrize(
    ("pattern", "mailbox"),
    [
        ("bounces+{id}@example.com", "bounces@example.com"),
        ("bounces-{id}@example.com", "bounces@example.com"),
        ("bounces={id}@example.com", "bounces@example.com"),
        ("{id}@bounces.example.com", f"{LOCAL}@bounces.example.com"),
    ],
)
def test_the_id_of_a_return_path_is_found_whatever_the_case(pattern: str, mailbox: str) -> None:
    path = return_path(pattern, ID)
    assert LOCAL in path
    assert {find_return_id(path), find_return_id(path.upper())} == {ID}
    assert mailbox_of_return_path(path) == mailbox


@pytest.mark.parametrize(
    "address",
    [
        "bounces@example.com",
        "bounces+crm-k3m9x2p7@example.com",  # a token
        f"bounces+{LOCAL}0@example.com",
        f"bounces+{LOCAL[:-1]}@example.com",
        f"bounces+x{LOCAL}@example.com",
        f"bounces+{LOCAL}",
        f"ann@{LOCAL}.example.com",
    ],
)
def test_another_address_is_no_return_path(address: str) -> None:
    assert find_return_id(address) is None
    assert mailbox_of_return_path(address) == address
