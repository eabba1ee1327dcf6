"""Which return paths an outgoing profile may have."""

from uuid import UUID

import pytest
from pydantic import ValidationError

from router.profile.keys import OutgoingKeys
from tests.support.sending import relay


def keys(return_path: str) -> OutgoingKeys:
    return OutgoingKeys.model_validate({"senders": ["*@example.com"], "return_path": return_path})


@pytest.mark.parametrize(
    "written", ["bounces+{id}@example.com", "bounces-{id}@bücher.example", "{id}@b.example.com", "b.{id}@[192.0.2.1]"]
)
def test_an_address_with_one_id_is_taken(written: str) -> None:
    assert keys(written).return_path == written


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("bounces@example.com", 'one "{id}" before its @'),
        ("bounces+{id}+{id}@example.com", 'one "{id}" before its @'),
        ("bounces+{id}", 'one "{id}" before its @'),
        ("bounces@{id}.example.com", 'one "{id}" before its @'),
        ("bounces+{id}-all@example.com", 'one "{id}" before its @'),
        ("bounces{id}@example.com", "behind no letter or digit"),
        ("", 'one "{id}" before its @'),
        ("boun ces+{id}@example.com", "is no valid address"),
        ("bounces+{id}@exam ple.com", "is no valid address"),
        ("bounces+{id}@example.com\r\nRCPT TO:<eve@example.com>", "is no valid address"),
        (f"{'b' * 28}+{{id}}@example.com", "at most 28 ASCII characters"),
        ("rückläufer+{id}@example.com", "at most 28 ASCII characters"),
    ],
)
def test_anything_else_is_refused_in_words(written: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        keys(written)
    assert words in str(caught.value)


def test_the_return_path_stands_in_for_the_mailbox_only_where_there_is_one() -> None:
    attempt = UUID(int=7)
    assert relay(25).sender_of("ulla@example.com", attempt) == "ulla@example.com"
    path = relay(25, return_path="bounces+{id}@example.com").sender_of("ulla@example.com", attempt)
    assert path == f"bounces+crm-{attempt.hex}@example.com"
    assert len(path.partition("@")[0]) <= 64
