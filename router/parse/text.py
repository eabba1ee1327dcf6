"""Text as PostgreSQL can hold it."""

import re

_UNSTORABLE = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def clean(text: str) -> str:
    """Remove NUL and replace lone surrogates: PostgreSQL holds neither."""
    if "\0" in text:
        text = text.replace("\0", "")
    try:
        text.encode()  # a quarter of the time that looking for surrogates takes
    except UnicodeEncodeError:
        return _UNSTORABLE.sub("\ufffd", text)
    return text


def clean_line(text: str) -> str:
    """Clean a text that stands on one line: control characters and line breaks become one space."""
    if text.isprintable():  # which neither NUL nor surrogates are
        return text.strip()
    return clean(_CONTROLS.sub(" ", text)).strip()
