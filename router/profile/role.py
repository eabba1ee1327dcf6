"""What the role of an incoming profile requires: `owners`, or `forwarders` and who vouches for them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from router.profile.keys import IncomingKeys, keys
from router.profile.lines import KeyPath
from router.profile.words import suggest
from transports import is_of_mailbox

_OF_FORWARD = ("forwarders", "address", "allow_unverified")
_OF_CATCH_ALL = ("envelope_header", "envelope_below")


def check_role(table: Mapping[str, Any], *, listens: bool) -> Iterator[tuple[KeyPath, str]]:
    """Yield each mistake: the key's path in the table, and words. Other keys of the table may be wrong, too."""
    role = table.get("role", "mailbox")
    if role == "mailbox":
        yield from _missing(table, "owners")
        yield from _strange(table, _OF_FORWARD, "forward")
        yield from _strange(table, _OF_CATCH_ALL, "catch-all")
        if not listens:
            yield from _check_owners(table)
    elif role == "forward":
        yield from _missing(table, "forwarders")
        if "owners" in table:
            yield ("owners",), "owners means nothing here: a forwarded mail is its forwarder's, so say forwarders"
        yield from _strange(table, _OF_CATCH_ALL, "catch-all")
        yield from _check_trust(table)
        if listens:
            yield from _missing(table, "address")
        else:
            yield from _check_mailbox(table)
    elif role == "catch-all":
        yield from _check_catch_all(table, listens=listens)


def _check_catch_all(table: Mapping[str, Any], *, listens: bool) -> Iterator[tuple[KeyPath, str]]:
    yield from _missing(table, "owners")
    yield from _strange(table, _OF_FORWARD, "forward")
    if listens:
        yield ("role",), 'role = "catch-all" means nothing here: a listener is told whose mail it is handed'
    else:
        yield from _check_mailbox(table)


def _strange(table: Mapping[str, Any], others: Iterable[str], role: str) -> Iterator[tuple[KeyPath, str]]:
    for key in others:
        if key in table:
            yield (key,), f'{key} means nothing here: it belongs to a profile that says role = "{role}"'


def _check_owners(table: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Check that several owners do not share one mailbox: without a placeholder, each would get the same mail."""
    owners = table.get("owners")
    several = isinstance(owners, list) and (len(owners) > 1 or any("*" in str(owner) for owner in owners))
    opening = [text for path, text in _texts(table) if not {"password", "oauth2"} & set(path)]
    # A placeholder that is unknown is told already.
    if several and ("auth" in table or "path" in table) and not any("{" in text for text in opening):
        words = (
            "owners: all of them would be given the mail of one mailbox: write {mailbox} where the profile says which "
            "one it is (user, act_as, path), or name one owner"
        )
        yield ("owners",), words


def _missing(table: Mapping[str, Any], key: str) -> Iterator[tuple[KeyPath, str]]:
    known = keys(IncomingKeys)
    # One that seems to be misspelled is told already.
    if key not in table and key not in {suggest(other, known) for other in table if other not in known}:
        yield (), f"{key} is missing: {known[key].description or ''}".replace("`", "")


def _check_trust(table: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if table.get("allow_unverified") is True:
        if "authserv" in table:
            yield ("authserv",), "authserv means nothing beside allow_unverified = true: leave out one of them"
    elif "authserv" not in table:
        words = (
            "authserv is missing: anyone can write to this mailbox, so name the server whose Authentication-Results "
            "vouch for the forwarders, or say allow_unverified = true"
        )
        yield (), words


def _check_mailbox(table: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    if "address" in table:
        yield ("address",), "address means nothing here: it is for listeners, and this profile reads a mailbox"
    for path, text in _texts(table):
        if is_of_mailbox(text):
            name = ".".join(map(str, path))
            yield (
                path,
                f'{name}: with role = "{table["role"]}" one mailbox is read, so nothing here can differ by mailbox',
            )


def _texts(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, key))
