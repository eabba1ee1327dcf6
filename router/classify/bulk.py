"""Whether it went to many at once: a mailing list, or any other bulk mail."""

from typing import Literal

from router.classify.headers import Headers

_LIST = ("list-id", "list-post", "mailing-list", "x-mailing-list", "x-mailman-version", "x-ml-name", "x-loop-list")
_BULK = (
    "list-unsubscribe",
    "list-help",
    "feedback-id",
    "x-campaign",
    "x-campaignid",
    "x-campaign-id",
    "x-csa-complaints",
    "x-mc-user",
    "x-mailgun-tag",
    "x-sg-eid",
    "x-ses-configuration-set",
)


def find_bulk(headers: Headers) -> Literal["list", "bulk"] | None:
    """Tell a list (RFC 2919, RFC 2369) from other bulk mail, and both from mail to people."""
    precedence = headers.first("precedence").lower()
    if precedence == "list" or any(name in headers for name in _LIST):
        return "list"
    if precedence in {"bulk", "junk"} or any(name in headers for name in _BULK):
        return "bulk"
    return None
