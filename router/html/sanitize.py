"""HTML of mail as a page may show it: an allowlist, applied on the way out and never on the way in.

Nothing is loaded from elsewhere until the reader asks for it, `cid:` stays for the page to fill in, scripts, forms and
style sheets go. nh3 does the cleaning; what it leaves to its caller is here: the depth and the length of what it is
given (100,000 nested elements take it 36 s), and the values of `style`, which it does not look at.
"""

import re
from dataclasses import dataclass

import nh3

from router.html.markup import shallow, words

LONGEST = 500_000  # characters: a second at the worst
_DEEPEST = 150

_TAGS = words(
    "a abbr address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del dfn div dl"
    " dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav ol p pre q s samp"
    " section small span strike strong sub sup table tbody td tfoot th thead time tr tt u ul var wbr"
)
_SIZES = {"width", "height", "align", "valign", "bgcolor"}
_ATTRIBUTES = {
    "*": {"style", "dir", "lang", "title"},
    "a": {"href"},
    "img": {"src", "alt", "border", "hspace", "vspace"} | _SIZES,
    "font": {"color", "face", "size"},
    "ol": {"start", "type"},
    "ul": {"type"},
    "li": {"value", "type"},
    "hr": {"size", "color"} | _SIZES,
    "table": {"border", "cellpadding", "cellspacing", "background"} | _SIZES,
    **{name: {"background", "colspan", "rowspan", "nowrap"} | _SIZES for name in ("td", "th")},
    **{name: set(_SIZES) for name in ("tr", "tbody", "thead", "tfoot", "col", "colgroup", "div", "p", "caption")},
    **{name: {"align"} for name in ("h1", "h2", "h3", "h4", "h5", "h6")},
    "blockquote": {"type"},
}
_SCHEMES = {"http", "https", "mailto", "tel", "cid", "data"}

_LINK = re.compile(r"(?:https?://|mailto:|tel:)\S", re.IGNORECASE)
_REMOTE = re.compile(r"\s*(?:https?:)?[/\\]{2}", re.IGNORECASE)  # a "\\" is a "/" to a browser
_OWN_IMAGE = re.compile(r"cid:\S+|data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)

# Only appearance, never position: nothing of a mail may lie over the page that shows it.
_PROPERTY = re.compile(
    r"(?:background(?:-color)?|color|font(?:-(?:family|size|style|variant|weight))?|line-height|letter-spacing"
    r"|text-(?:align|decoration|indent|transform)|vertical-align|white-space|word-(?:break|spacing|wrap)|overflow-wrap"
    r"|(?:min-|max-)?(?:width|height)|(?:margin|padding)(?:-(?:top|right|bottom|left))?"
    r"|border(?:-(?:top|right|bottom|left))?(?:-(?:color|style|width))?|border-(?:collapse|spacing|radius)"
    r"|list-style(?:-type)?|table-layout|direction|display)"
)
_VALUE = re.compile(r"""(?:[\w\s#%.,+!"'-]|\b(?:rgb|rgba|hsl|hsla)\([\d\s.,%/]*\))*""", re.ASCII)
_DISPLAYS = frozenset({"none", "block", "inline", "inline-block", "table", "table-row", "table-cell"})
_REMOTE_BACKGROUND = re.compile(r"""url\(\s*["']?https?://[^\s"'()\\<>]+["']?\s*\)""", re.IGNORECASE)
_NEGATIVE = re.compile(r"-\s*[\d.]")
# Lengths by the window: that is the frame, whose height follows its content.
_BY_WINDOW = re.compile(r"\d[sld]?v(?:w|h|i|b|min|max)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shown:
    """HTML that a page can show, and how many things in it were not loaded because they lie elsewhere."""

    html: str
    withheld: int = 0


def sanitize(html: str, *, remote: bool = False) -> Shown:
    """Make HTML safe to show inside a page. `remote`: the reader asked for images that lie elsewhere.

    What is longer than `LONGEST` is cut there.
    """
    withheld = 0

    def attribute(_tag: str, name: str, value: str) -> str | None:
        nonlocal withheld
        if name == "style":
            kept, remote_values = _style(value, remote=remote)
            withheld += remote_values
            return kept or None
        if name == "href":
            return value if _LINK.match(value) else None
        if name in {"src", "background"}:
            if _OWN_IMAGE.fullmatch(value):
                return value
            if _REMOTE.match(value):
                if remote and value.lower().startswith(("http://", "https://")):
                    return value
                withheld += not remote
            return None
        return value

    cleaned = nh3.clean(
        shallow(html[:LONGEST], _DEEPEST),
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        attribute_filter=attribute,
        url_schemes=_SCHEMES,
        url_relative="pass_through",  # to `attribute`, which counts what lies elsewhere, and leaves no other
        link_rel="noopener noreferrer nofollow",
        strip_comments=True,
    )
    return Shown(cleaned, withheld)


def _style(text: str, *, remote: bool) -> tuple[str, int]:
    """Keep the declarations of a `style` that can only change looks; also count those that would load something."""
    kept = []
    withheld = 0
    for declaration in text.split(";"):
        name, _, value = declaration.partition(":")
        name, value = name.strip().lower(), value.strip()
        if "//" in value and "url" in value.lower():
            # A ";" or "(" in an address cuts it: then it is simply not loaded.
            is_background = name in {"background", "background-image"}
            if remote and is_background and (found := _REMOTE_BACKGROUND.search(f"{name}:{value}")):
                kept.append(f"background-image:{found[0]}")
            withheld += not remote
        elif _PROPERTY.fullmatch(name) and _VALUE.fullmatch(value) and _harmless(name, value):
            kept.append(f"{name}:{value}")
    return ";".join(kept), withheld


def _harmless(name: str, value: str) -> bool:
    if name == "display":
        return value.lower() in _DISPLAYS
    return not _BY_WINDOW.search(value) and not (name.startswith("margin") and _NEGATIVE.search(value))
