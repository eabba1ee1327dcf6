"""A template of the CRM's, with the values of one email, to the texts of an answer: in Jinja2's sandbox.

To be run in a process that can be given up: the sandbox keeps a template from what is not its business, and does not
keep it from taking long. Values are plain text, and nothing else can be reached from them. No word of a value gets into
what is said of a fault.
"""

import resource
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from types import SimpleNamespace
from typing import Final

from jinja2 import FunctionLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

from router.html.text import html_to_text
from router.model.answer import Rendered, TemplateText, Values

MOST_BYTES: Final = 256 << 10
"""What the text, and the HTML, of an answer may have."""

LONGEST_SUBJECT: Final = 500
"""Characters of the subject of an answer; the rest is left out."""

_MOST_MEMORY: Final = 256 << 20  # bytes of the process
_PIECES: Final = 1_000  # of the output, between two looks at its size
_FILE: Final = "<template>"


@dataclass(frozen=True, slots=True)
class Wrong:
    """Why nothing can be made of a template, in words for whoever wrote it."""

    words: str


class _TooLong(Exception):  # no error of a template's: it never leaves this module
    pass


def render(source: TemplateText, values: Values) -> Rendered | Wrong:
    """Make the texts of an answer; or say what is wrong with the template, and in which line."""
    part = "subject"
    try:
        subject = " ".join(_rendered(source.subject, _named(values), in_html=False).split())[:LONGEST_SUBJECT]
        part = "text_body"
        text = None if source.text is None else _rendered(source.text, _named(values), in_html=False)
        part = "html_body"
        html = None if source.html is None else _rendered(source.html, _named(values, in_html=True), in_html=True)
    except Exception as error:  # noqa: BLE001  # a template can raise whatever Python can
        return Wrong(f"{part}: {_words(error)}")
    if not subject:
        return Wrong("subject: it is empty")
    if not (text or "").strip() and not (html or "").strip():
        return Wrong("it has no words: text_body and html_body are empty")
    return Rendered(subject, text, html)


def render_apart(source: TemplateText, values: Values) -> Rendered | Wrong:
    """Do the same, in a worker process alone: the memory of the process that calls this is limited from then on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or soft > _MOST_MEMORY:
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, hard))
    return render(source, values)


def _named(values: Values, *, in_html: bool = False) -> dict[str, object]:
    text, html = values.signature_text, values.signature_html
    signature: str = text if text is not None else html_to_text(html or "")
    if in_html:
        lines = Markup("<br>\n").join(escape(line) for line in signature.splitlines())
        signature = Markup(html) if html is not None else lines  # noqa: S704  # the CRM's own, as the template is
    return {
        "record": SimpleNamespace(**values.record),
        "email": SimpleNamespace(**values.email),
        "owner": SimpleNamespace(**values.owner),
        "token": values.token,
        "signature": signature,
    }


def _rendered(source: str, named: Mapping[str, object], *, in_html: bool) -> str:
    written, size = [], 0
    pieces = _environment(in_html).from_string(source).generate(named)
    while some := "".join(islice(pieces, _PIECES)):
        size += len(some.encode("utf-8", "replace"))
        if size > MOST_BYTES:
            raise _TooLong
        written.append(some)
    # PostgreSQL stores no NUL, and no mail can hold half of a surrogate pair.
    return "".join(written).replace("\0", "").encode("utf-8", "replace").decode()


@lru_cache
def _environment(in_html: bool) -> ImmutableSandboxedEnvironment:
    made = ImmutableSandboxedEnvironment(
        autoescape=in_html,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        cache_size=0,
        loader=FunctionLoader(lambda _: None),
    )
    made.globals.pop("lipsum")
    return made


_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (UndefinedError, "it names what is not there"),
    (SecurityError, "it does what a template may not"),
    (TemplateNotFound, "it names another template, and none can be part of it"),
)


def _words(error: Exception) -> str:
    """Say what is wrong: of what happens as it is run the kind alone, since the words may hold those of a mail."""
    if isinstance(error, _TooLong):
        return f"it makes more than {MOST_BYTES >> 10} KB"
    if isinstance(error, MemoryError):
        return f"it takes more than {_MOST_MEMORY >> 20} MB of memory"
    if isinstance(error, TemplateSyntaxError):
        words = error.message or ""
    else:
        words = next((words for kind, words in _KINDS if isinstance(error, kind)), f"it fails ({type(error).__name__})")
    return f"line {_line_of(error)}: {words}"


def _line_of(error: Exception) -> int:
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _FILE]
    return next(reversed(lines), None) or 1
