"""Text as PostgreSQL can hold it, and names as a disk can."""

import re

_UNSTORABLE = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"|?*\u200e\u200f\u2028-\u202e\u2066-\u2069]')
_SPACE = re.compile(r"\s")
_LONGEST_NAME = 150
_MOST_NAME_BYTES = 240  # file systems count bytes: 255 at most


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


def safe_filename(name: str) -> str:
    """Make a name that is safe to write to disk: no folder, no control characters, at most 150 characters; or empty."""
    name = clean_line(name).replace("\\", "/").rpartition("/")[2]
    name = _SPACE.sub(" ", _UNSAFE.sub("", name)).strip(" .")
    if len(name) <= _LONGEST_NAME and len(name.encode()) <= _MOST_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    ending = dot + extension if stem and len(extension) <= 10 else ""
    stem = name.removesuffix(ending)[: _LONGEST_NAME - len(ending)]
    return stem.encode()[: _MOST_NAME_BYTES - len(ending.encode())].decode(errors="ignore").rstrip(" .") + ending
