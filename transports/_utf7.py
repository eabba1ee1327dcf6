"""Modified UTF-7 (RFC 3501 §5.1.3), in which IMAP and Maildir++ write the names of folders."""

import base64
import re
from itertools import groupby

_SHIFTED = re.compile(rb"&([^&-]*)-")


def encode(name: str) -> str:
    """Write a name as printable ASCII."""
    runs = groupby(name, key=lambda char: " " <= char <= "~")
    return "".join(_plain("".join(run)) if printable else _shifted("".join(run)) for printable, run in runs)


def decode(raw: bytes) -> str:
    """Read a name. Raises UnicodeDecodeError or binascii.Error for what is no modified UTF-7."""
    return _SHIFTED.sub(_unshifted, raw).decode()


def _plain(text: str) -> str:
    return text.replace("&", "&-")


def _shifted(text: str) -> str:
    encoded = base64.b64encode(text.encode("utf-16-be"), altchars=b"+,")
    return f"&{encoded.decode().rstrip('=')}-"


def _unshifted(match: re.Match[bytes]) -> bytes:
    if not match[1]:
        return b"&"
    padded = match[1] + b"=" * (-len(match[1]) % 4)
    return base64.b64decode(padded, altchars=b"+,", validate=True).decode("utf-16-be").encode()
