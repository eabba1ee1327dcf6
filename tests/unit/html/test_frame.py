import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.html.frame import framed
from router.html.markup import Tag, tokens
from router.html.sanitize import LONGEST
from tests.support.vectors import VECTORS

# What is left of HTML, whatever it was: these attributes, and in them nothing that a page would load or run.
ATTRIBUTES = {
    "style", "dir", "lang", "title", "href", "src", "alt", "border", "hspace", "vspace", "width", "height", "align",
    "valign", "bgcolor", "color", "face", "size", "start", "type", "value", "cellpadding", "cellspacing", "background",
    "colspan", "rowspan", "nowrap", "rel", "target", "class",
}  # fmt: skip


PICTURES = {"logo": "/mail/1/cid/0", "a@b": "/c"}


def links(html: str) -> list[tuple[str, str]]:
    """Where the links of a message lead, and what is said of it."""
    return [
        (token.attributes["href"], token.attributes["title"])
        for token in tokens(framed(html, PICTURES).html)
        if isinstance(token, Tag) and "href" in token.attributes
    ]


pieces = st.lists(st.one_of(st.sampled_from(VECTORS), st.text(alphabet="<>/!-='\"& \nabpresvgmathlidu:;", max_size=20)))


@given(pieces.map("".join))
@example("".join(VECTORS))
def test_nothing_is_left_that_runs_loads_or_moves(html: str) -> None:
    shown = framed(html, PICTURES).html
    for token in tokens(shown):
        if not isinstance(token, Tag):
            continue
        assert not {"<", ">"} & set(token.written)
        assert token.attributes.keys() <= ATTRIBUTES, shown
        assert token.attributes.get("class") in {None, "leads-to"}
        assert token.attributes.get("target") in {None, "_blank"}
        for name in ("src", "background"):
            assert token.attributes.get(name) in {None, "/mail/1/cid/0"}
        if href := token.attributes.get("href"):
            assert re.match(r"https?://[a-z0-9._-]+(?::\d+)?(?:[/?#]|$)|mailto:|tel:", href), href
            assert token.attributes["rel"] == "noopener noreferrer nofollow"
            assert token.attributes["target"] == "_blank"
        style = token.attributes.get("style", "")
        assert not re.search(r"url|position|expression|@|\\|float|transform|\dvh|margin[^;]*-\d", style, re.IGNORECASE)


@pytest.mark.parametrize("html", VECTORS)
def test_what_is_written_is_read_in_one_way(html: str) -> None:
    shown = framed(html, PICTURES).html
    assert "<!" not in shown
    assert framed(shown, PICTURES).html.count("<") == shown.count("<")


@pytest.mark.parametrize(
    ("href", "opens", "said"),
    [
        ("https://bank.example@evil.example/x", "https://evil.example/x", "evil.example"),
        ("https://bank.example%2f@evil.example", "https://evil.example", "evil.example"),
        ("https://evil.example\\a?b\\c", "https://evil.example/a?b\\c", "evil.example"),
        ("https://///evil.example", "https://evil.example", "evil.example"),
        ("https://evil.example\\@bank.example", "https://evil.example/@bank.example", "evil.example"),
        ("https://EVIL.example:8443/", "https://evil.example:8443/", "evil.example"),
        ("https://%65vil.example", "https://evil.example", "evil.example"),
        ("https://ｅvil.example", "https://evil.example", "evil.example"),
        ("https://bücher.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("https://ev\nil.example", "https://evil.example", "evil.example"),
        ("http://192.0.2.1/", "http://192.0.2.1/", "192.0.2.1"),
    ],
)
def test_a_link_says_where_a_browser_goes(href: str, opens: str, said: str) -> None:
    assert links(f'<a href="{href}" title="bank.example">x</a>') == [(opens, f"Opens {said}")]


@pytest.mark.parametrize(
    "href",
    ["https://", "https://@", "https:evil.example", "//evil.example", "/people", "#x", "x", "https:\\\\x.example"],
)
def test_what_leads_nowhere_is_no_link(href: str) -> None:
    assert links(f'<a href="{href}">x</a>') == []


@pytest.mark.parametrize(
    ("html", "told"),
    [
        ('<a href="https://evil.example">bank.example</a>', "evil.example"),
        ('<a href="https://evil.example"><b>https://www.</b>bank.example/login</a>', "evil.example"),
        ('<a href="https://bank.example.evil.example">bank.example</a>', "bank.example.evil.example"),
        ('<a href="mailto:x@evil.example">x@bank.example</a>', "evil.example"),
        ('<a href="https://www.bank.example/a">bank.example</a>', None),
        ('<a href="https://bank.example/a">www.bank.example</a>', None),
        ('<a href="https://mail.bank.example/a">bank.example</a>', None),
        ('<a href="https://evil.example">Our offer</a>', None),
    ],
)
def test_a_link_that_names_another_host_says_so(html: str, told: str | None) -> None:
    found = re.findall(r'<span class="leads-to"> \(leads to ([^<]*)\)</span></a>', framed(html, PICTURES).html)
    assert found == ([told] if told else [])


def test_pictures_come_from_the_message_alone_and_the_others_are_counted() -> None:
    html = (
        '<img src="cid:a%40b" alt="ours"><img src="CID:none"><img src="https://x.example/1" width=1 height=1>'
        '<img src="//x.example/2"><img src="\\\\x.example\\3"><img src="data:image/png;base64,AAAA">'
        '<table background="cid:a@b"><tr><td background="https://x.example/4">x</table>'
    )
    found = framed(html, PICTURES)
    assert (found.blocked, found.missing, found.cut) == (4, 2, False)
    assert '<img src="/c" alt="ours">' in found.html.replace('alt="ours" src="/c"', 'src="/c" alt="ours"')
    assert found.html.count('"/c"') == 2
    assert found.html.count("This picture was not loaded") == 4  # and the one of a pixel shows nothing


def test_what_is_too_long_is_cut() -> None:
    assert framed("x" * (LONGEST + 1), PICTURES).cut
    assert not framed("x" * LONGEST, PICTURES).cut
