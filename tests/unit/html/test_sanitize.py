import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.html.markup import Tag, shallow, tokens
from router.html.sanitize import LONGEST, sanitize


@pytest.mark.parametrize(
    "html",
    [
        "<script>alert(1)</script>",
        "<SCRIPT/SRC=//x.example/a.js></SCRIPT>",
        "<img src=x onerror=alert(1)>",
        "<a href='javascript:alert(1)'>x</a>",
        "<a href='java\tscript:alert(1)'>x</a>",
        "<a href='&#106;avascript:alert(1)'>x</a>",
        "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
        "<a href='vbscript:x'>x</a>",
        "<svg onload=alert(1)><script>alert(1)</script></svg>",
        "<svg><style><img src=x onerror=alert(1)></style></svg>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
        "<iframe src=https://x.example></iframe><object data=x></object><embed src=x>",
        "<form action=https://x.example><input name=a><button>b</button></form>",
        "<base href=https://x.example><link rel=stylesheet href=https://x.example><meta http-equiv=refresh content=0>",
        "<p style='background:url(javascript:alert(1))'>x</p>",
        "<p style='width:expression(alert(1))'>x</p>",
        "<p style='behavior:url(x);-moz-binding:url(x)'>x</p>",
        "<p style='position:fixed;top:0;left:0;z-index:9;opacity:0'>x</p>",
        "<p style='margin-top:-900px'>x</p>",
        r"<p style='background:u\72l(//x.example/a)'>x</p>",
        "<p style='background:url(/**//x.example)'>x</p>",
        "<p style='@import url(//x.example)'>x</p>",
        "<style>@import url(//x.example/a.css); @font-face{src:url(//x.example)}</style>",
        "<img src=//x.example/a.png srcset='https://x.example/b.png 2x' lowsrc=https://x.example/c>",
        "<table background=https://x.example/a.png><tr><td background=//x.example/b.png>x</table>",
        "<video src=https://x.example poster=https://x.example></video><audio src=https://x.example></audio>",
        "<img src='data:image/svg+xml;base64,PHN2Zz4='>",
        "<textarea></textarea><img src=x onerror=alert(1)>",
        "<xmp><img src=x onerror=alert(1)></xmp>",
        "<!--><img src=x onerror=alert(1)>-->",
        "<![CDATA[<img src=x onerror=alert(1)>]]>",
        "<a id=login class=x name=body href=https://x.example>y</a>",
        "<p title='\"><script>alert(1)</script>'>x",
        "<a href='//x.example'>x</a><a href='/admin'>y</a>",
        "<div\x0conclick=alert(1)>x</div>",
        "<<script>alert(1)//<</script>",
    ],
)
def test_nothing_of_a_hostile_mail_runs_or_loads(html: str) -> None:
    shown = sanitize(html).html
    for token in tokens(shown):
        if isinstance(token, Tag):
            assert token.name not in {
                "script",
                "svg",
                "math",
                "style",
                "iframe",
                "form",
                "input",
                "base",
                "link",
                "meta",
            }
            assert not any(name.startswith("on") or name in {"id", "class", "srcset"} for name in token.attributes)
            for name, value in token.attributes.items():
                if name != "title":
                    assert not re.search(
                        r"javascript|vbscript|expression|url\(|data:(?!image/png)|@import|\\", value
                    ), shown
                if name == "src":
                    assert value.startswith(("cid:", "data:image/png"))
                if name == "style":
                    assert not re.search(r"position|opacity|margin[^;]*-\d", value)
                if name == "href":
                    assert value.startswith("https://")


def test_what_a_mail_looks_like_is_kept() -> None:
    html = (
        '<div align="center" style="color: #333; font-family: Arial, \'Open Sans\'; background-color: rgb(1, 2, 3)">'
        '<table width="600" cellpadding="0"><tbody><tr><td colspan="2" bgcolor="#fff">A <b>bold</b> word</td></tr>'
        '</tbody></table><img src="cid:logo@x" alt="Logo" width="10"><ul><li>one</li></ul></div>'
    )
    shown = sanitize(html).html
    for kept in ("#333", "'Open Sans'", "rgb(1, 2, 3)", 'width="600"', 'colspan="2"', "<b>bold</b>", "cid:logo@x"):
        assert kept in shown.replace("&quot;", '"'), (kept, shown)
    assert sanitize(shown).html == shown


def test_remote_images_come_only_when_asked_for() -> None:
    html = (
        '<img src="https://x.example/a.png"><td background="http://x.example/b.png">'
        "<p style=\"color:red;background:#fff url('https://x.example/c.png') no-repeat\">x</p>"
        "<p style='list-style:url(https://x.example/d.png)'>y</p>"
    )
    html = f"<table><tr>{html}</table>"
    quiet = sanitize(html)
    assert ("x.example" not in quiet.html, quiet.withheld) == (True, 4)
    asked = sanitize(html, remote=True)
    assert asked.withheld == 0
    assert re.findall(r"[abcd]\.png", asked.html) == ["a.png", "b.png", "c.png"]
    assert "color:red" in quiet.html


def test_links_are_kept_and_tell_nothing_of_us() -> None:
    shown = sanitize(
        '<a href="https://x.example/?a=1&amp;b=2" target="_top">x</a><a href="mailto:a@x.example">y</a>'
    ).html
    assert 'href="https://x.example/?a=1&amp;b=2" rel="noopener noreferrer nofollow"' in shown
    assert "mailto:a@x.example" in shown
    assert "target" not in shown


@pytest.mark.parametrize("piece", ["<div>", "<b><p>", "<table><tr><td>", "<ul><li>", "<a><i>", "<font color=red>x"])
def test_depth_is_capped_and_the_text_is_kept(piece: str) -> None:
    shown = sanitize(piece * 20_000 + "the end").html
    assert "the end" in shown
    assert len(re.findall(r"<[a-z]", shown)) < 1_000


@pytest.mark.parametrize(
    "piece",
    ["<", "&", "<!--", "<a b='", "<a b=\"c' ", "</x ", "<script>", "<svg>", "</p>", "<p style='a:b(' c>", "<x y=1 "],
)
def test_long_hostile_html_is_cut_and_read(piece: str) -> None:
    sanitize(piece * (2 * LONGEST // len(piece)))


@pytest.mark.parametrize("piece", ["<p>", "x<tr>", "<col>x", "<tbody>x", "<caption>x</caption>y", "<tr><td><b><tr>x"])
def test_t96_what_may_not_stand_in_a_table_gets_a_cell(piece: str) -> None:
    shown = sanitize("<b></b>" * 20_000 + "<table>" + piece * 50_000).html
    assert shown.count("<td>") >= 1
    assert shallow("<table>a<tr>b<tr><td>c</table>", 9) == (
        "<table><td>a</td><tr><td>b</td></tr><tr><td>c</td></tr></table>"
    )


@pytest.mark.parametrize(
    ("html", "written"),
    [
        ("<p>a<p>b", "<p>a</p><p>b</p>"),
        ("<b><i>x</b>y</i>", "<b><i>x</i></b>y"),
        ("<div><div><div>x</div></div></div>y", "<div><div>x</div></div>y"),
        ("<IMG SRC=a SRC=b>", '<img src="a">'),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "<tr><td>a</td><td>b</td></tr><tr><td>c</td></tr>"),
        ("a<b", "a"),
        ("1 < 2 & 3", "1 &lt; 2 &amp; 3"),
    ],
)
def test_html_is_written_anew_so_that_all_read_it_alike(html: str, written: str) -> None:
    assert shallow(html, 2) == written


@given(st.text(alphabet="<>/!-='\"& \nabpreliultdbrq;", max_size=300))
def test_what_is_written_anew_is_balanced_and_stays_as_it_is(html: str) -> None:
    written = shallow(html, 5)
    assert shallow(written, 5) == written
    depth = deepest = 0
    for token in tokens(written):
        if isinstance(token, Tag) and token.name not in {"br", "hr"}:
            depth += -1 if token.end else 1
            deepest = max(deepest, depth)
    assert (depth, deepest <= 5) == (0, True)
