import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.html.text import html_to_text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Hello   <b>big</b>\n world", "Hello big world\n"),
        ("<p>One<p>Two", "One\n\nTwo\n"),
        ("<div>One</div><div>Two</div>", "One\nTwo\n"),
        ("One<br>Two<br><br>Four", "One\nTwo\n\nFour\n"),
        ("<ul><li>One<li>Two</ul>After", "- One\n- Two\n\nAfter\n"),
        ("<table><tr><td>a<td>b<tr><td>c<td>d</table>", "a\tb\nc\td\n"),
        ("<pre>a\n  b</pre>", "a\n  b\n"),
        ("Yes.<blockquote>Why?<blockquote>Old</blockquote></blockquote>", "Yes.\n\n> Why?\n>\n> > Old\n"),
        ("a &amp; b &lt;c&gt; &uuml; &#8364;", "a & b <c> ü €\n"),
        ("1 < 2 <3 a<b>c", "1 < 2 <3 ac\n"),
        ("<style>p{}</style><script>x('</p>')</script><title>t</title>shown<!-- <p>no -->", "shown\n"),
        ("<svg><text>no</text></svg>a<template>no</template>b", "ab\n"),
        ("<p title='a > b'>text", "text\n"),
        ("one<hr>two", "one\n---\ntwo\n"),
        ("<a href=https://x.example>link</a>", "link\n"),
        ("<p>&nbsp;</p><p>x", "x\n"),
        ("shown<!-- never closed", "shown\n"),
        ("", ""),
    ],
)
def test_html_becomes_what_a_person_would_read(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    "piece",
    [
        "<",
        "&",
        "&#1",
        "<a ",
        "<a b=c ",
        "<a b='\">",
        "</",
        "<!--",
        "<<<a<",
        "<li>",
        "<blockquote>x",
        "<svg>",
        "<title>",
    ],
)
def test_t96_ten_megabytes_of_broken_html_are_bounded(piece: str) -> None:
    text = html_to_text("before " + piece * (10_000_000 // len(piece)))
    assert text.startswith("before")
    assert len(text) < 10_000_000


@given(st.text(alphabet="<>/!-='\"& \nabpreliultdbrq;", max_size=300))
def test_any_html_becomes_a_text(html: str) -> None:
    text = html_to_text(html)
    assert "\n\n\n" not in text
    assert len(text) <= 30 * len(html) + 10
