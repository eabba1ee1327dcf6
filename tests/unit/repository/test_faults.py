"""What asyncpg raises, in words for an admin, and without anybody's mail."""

import asyncpg
import pytest

from router.errors import ContentRefused, DatabaseAway, DatabaseError
from router.repository.faults import translated


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("53100", DatabaseAway, "the disk of the database is full: it failed (SQLSTATE 53100)"),
        ("53300", DatabaseAway, "the database has no connection left: it failed (SQLSTATE 53300)"),
        ("25006", DatabaseAway, "the database can only be read: it failed (SQLSTATE 25006)"),
        ("57P03", DatabaseAway, "it failed (SQLSTATE 57P03)"),
        ("23505", ContentRefused, "it failed (SQLSTATE 23505)"),
        ("42P01", DatabaseError, "it failed (SQLSTATE 42P01)"),
    ],
)
def test_an_error_of_the_server_has_its_words_and_no_detail(state: str, kind: type[DatabaseError], words: str) -> None:
    fields = {"S": "ERROR", "C": state, "M": "it failed", "D": "Key (address)=(ann@example.com) already exists."}
    with pytest.raises(DatabaseError) as caught, translated():
        raise asyncpg.PostgresError.new(fields)
    assert type(caught.value) is kind
    assert str(caught.value) == words


def test_a_value_that_asyncpg_refuses_is_not_repeated() -> None:
    refused = asyncpg.DataError("invalid input for query argument $1: 'ann@example.com' (an integer is required)")
    with (
        pytest.raises(ContentRefused, match=r"^invalid input for query argument \$1 \(SQLSTATE 22000\)$"),
        translated(),
    ):
        raise refused


def test_a_lost_connection_is_one_that_may_come_back() -> None:
    with pytest.raises(DatabaseAway, match=r"^no connection to the database: Connection reset by peer$"), translated():
        raise ConnectionResetError(104, "Connection reset by peer")
