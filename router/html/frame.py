"""HTML of mail as it stands in its frame: made safe, with the pictures that came with it, and links that say where to.

`sanitize` says what may stay. What it leaves is written anew here, from a flat run of tags and texts: every attribute
quoted, every `<` escaped, so that no browser reads it in another way than we did.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Final
from urllib.parse import unquote

import idna

from router.html.markup import VOID, Tag, tokens
from router.html.sanitize import LONGEST, sanitize

_TINY: Final = frozenset("0123")  # pixels: what counts who reads, and shows nothing
_SCHEME = re.compile(r"https?:", re.IGNORECASE)
_END_OF_HOST = re.compile(r"[/\\?#]")
_END_OF_PATH = re.compile(r"[?#]")
_ASCII_HOST = re.compile(r"[A-Za-z0-9._-]++")
_STRIPPED = re.compile(r"[\x00-\x20\x7f]++")
_MAIL = re.compile(r"mailto:([^?]*+)", re.IGNORECASE)
_APART = re.compile(r"[^\w.-]++")
_MOST_TEXT: Final = 200  # characters of a link that are looked at


@dataclass(frozen=True, slots=True)
class Framed:
    """HTML for a frame, and what of it is not shown.

    `blocked` is how many things lie elsewhere, which are never loaded; `missing` how many pictures cannot be shown
    though they came with the message: no part has that Content-ID, it is no picture, or it stands in the HTML itself.
    `cut`: it is longer than what is shown.
    """

    html: str
    blocked: int = 0
    missing: int = 0
    cut: bool = False


def framed(html: str, pictures: Mapping[str, str]) -> Framed:
    """Make HTML safe, whatever it is; `pictures` says where that of a Content-ID is.

    Some takes a second: it is done in a worker process.
    """
    safe = sanitize(html)
    writer = _Writer(pictures)
    for token in tokens(safe.html):
        if isinstance(token, str):
            writer.text(token)
        elif token.end:
            writer.end(token.name)
        else:
            writer.begin(token)
    return Framed("".join(writer.written), safe.withheld, writer.missing, len(html) > LONGEST)


class _Writer:
    def __init__(self, pictures: Mapping[str, str]) -> None:
        self.written: list[str] = []
        self.missing = 0
        self._pictures = pictures
        self._host: str | None = None  # of the link that is open
        self._linked: list[str] = []  # its text

    def text(self, text: str) -> None:
        self.written.append(escape(text, quote=False))
        if self._host is not None:
            self._linked.append(text[:_MOST_TEXT])

    def begin(self, tag: Tag) -> None:
        attributes = tag.attributes
        if tag.name == "a":
            self._leave()
            attributes = self._link(attributes)
        elif tag.name == "img":
            attributes = self._image(attributes)
        elif "background" in attributes:
            attributes = self._pictured(attributes, "background")
        pairs = "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())
        self.written.append(f"<{tag.name}{pairs}>")

    def end(self, name: str) -> None:
        if name == "a":
            self._leave()
        if name not in VOID:
            self.written.append(f"</{name}>")

    def _image(self, attributes: dict[str, str]) -> dict[str, str]:
        attributes = self._pictured(attributes, "src")
        if "src" not in attributes and not _TINY & {attributes.get("width"), attributes.get("height")}:
            # A browser shows the words of a picture that has no address.
            attributes["alt"] = attributes.get("alt") or "picture"
            attributes["title"] = "This picture was not loaded"
        return attributes

    def _pictured(self, attributes: dict[str, str], name: str) -> dict[str, str]:
        address = attributes.pop(name, None)
        if address is None:
            return attributes
        scheme, _, content_id = address.partition(":")
        path = self._pictures.get(unquote(content_id)) if scheme.lower() == "cid" else None
        if path is None:
            self.missing += 1
            return attributes
        return {**attributes, name: path}

    def _link(self, attributes: dict[str, str]) -> dict[str, str]:
        """Have a link open beside the console, and say on hover where it leads: never what the mail says of it."""
        address = _STRIPPED.sub("", attributes.pop("href", ""))
        attributes.pop("title", None)
        if found := _SCHEME.match(address):
            # As browsers read it; without a name before an @, which is there to look like a host.
            authority, rest = _cut(address[found.end() :].lstrip("/\\"), _END_OF_HOST)
            host, port = _host(authority.rpartition("@")[2])
            if not host:
                return attributes
            path, query = _cut(rest, _END_OF_PATH)
            path = path.replace("\\", "/")
            address, self._host = f"{found[0].lower()}//{host}{port}{path}{query}", host
            said = f"Opens {host}"
        elif mail := _MAIL.match(address):
            self._host = _host(mail[1].rpartition("@")[2])[0]
            said = f"Writes to {unquote(mail[1])}"
        elif address.lower().startswith("tel:"):
            said = f"Calls {unquote(address[4:])}"
        else:
            return attributes
        return {**attributes, "href": address, "target": "_blank", "title": said}

    def _leave(self) -> None:
        """Say openly where a link leads whose text names another host."""
        host, self._host = self._host, None
        text = "".join(self._linked)
        self._linked.clear()
        if host is None:
            return
        words = (one.strip(".-") for one in _APART.split(text[: 2 * _MOST_TEXT]))
        named = [_host(one)[0] for one in words if "." in one]
        if any(not _is_within(host, one) and not _is_within(one, host) for one in named if one):
            self.written.append(f'<span class="leads-to"> (leads to {escape(host)})</span>')


def _cut(text: str, end: re.Pattern[str]) -> tuple[str, str]:
    found = end.search(text)
    return (text[: found.start()], text[found.start() :]) if found else (text, "")


def _host(written: str) -> tuple[str, str]:
    """Read host and port as a browser does; the host as it stands in DNS, or empty where there can be none such."""
    name, _, port = unquote(written).partition(":")
    try:
        host = idna.encode(name, uts46=True).decode() if name else ""
    except idna.IDNAError:
        host = name.lower() if _ASCII_HOST.fullmatch(name) else ""
    return host, f":{port}" if port.isascii() and port.isdigit() else ""


def _is_within(host: str, other: str) -> bool:
    other = other.removeprefix("www.")
    return host == other or host.endswith(f".{other}")
