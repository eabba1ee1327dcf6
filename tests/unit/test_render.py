"""Templates: values come out as they are, escaped in HTML; what is hostile or wrong is told in words, and in time."""

import asyncio
from dataclasses import replace
from time import perf_counter

import pytest

from router.model.answer import Rendered, TemplateText, Values
from router.outgoing.answers import RENDERED_WITHIN, render_one, renderers
from router.render import LONGEST_SUBJECT, Wrong, render

VALUES = Values(
    record={"id": "1", "kind": "contact", "name": "Berta <Büro>"},
    email={"subject": "A & B\r\nBcc: x@y.test", "from_name": "", "from_address": "b@x.test", "message_id": "1@x.test"},
    owner={"name": "Support", "mailbox": "s@x.test"},
    token="k3m9x2p7",
    signature_text="Yours\n<Support>",
)
SECRET = replace(VALUES, email={**VALUES.email, "subject": "very private"})


def text(source: str, values: Values = VALUES) -> str:
    made = render(TemplateText("Hello", source, None), values)
    assert isinstance(made, Rendered), made
    assert made.text is not None
    return made.text


def html(source: str, values: Values = VALUES) -> str:
    made = render(TemplateText("Hello", None, source), values)
    assert isinstance(made, Rendered), made
    assert made.html is not None
    return made.html


def wrong(source: str, values: Values = VALUES) -> str:
    made = render(TemplateText("Hello", source, None), values)
    assert isinstance(made, Wrong), made
    return made.words


def test_values_are_escaped_in_html_and_nowhere_else() -> None:
    source = "{{ record.name }} {{ owner.name }} {{ token }}"
    assert text(source) == "Berta <Büro> Support k3m9x2p7"
    assert html(source) == "Berta &lt;Büro&gt; Support k3m9x2p7"


def test_a_signature_is_made_of_the_other_where_there_is_one() -> None:
    assert text("{{ signature }}") == "Yours\n<Support>"
    assert html("{{ signature }}") == "Yours<br>\n&lt;Support&gt;"
    only_html = replace(VALUES, signature_text=None, signature_html="<p>Yours</p><p>Support</p>")
    assert text("{{ signature }}", only_html).split() == ["Yours", "Support"]
    assert html("{{ signature }}", only_html) == "<p>Yours</p><p>Support</p>"
    assert text("({{ signature }})", replace(VALUES, signature_text=None)) == "()"


def test_a_subject_is_one_line_and_not_long() -> None:
    made = render(TemplateText("Re: {{ email.subject }}", "x", None), VALUES)
    assert isinstance(made, Rendered)
    assert made.subject == "Re: A & B Bcc: x@y.test"
    long = render(TemplateText("{{ email.subject * 100 }}", "x", None), VALUES)
    assert isinstance(long, Rendered)
    assert len(long.subject) == LONGEST_SUBJECT


def test_what_postgresql_cannot_hold_is_left_out() -> None:
    assert text("a{{ '\\0' }}b\ud800") == "ab?"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a\n{% if %}", "text_body: line 2: Expected an expression, got 'end of statement block'"),
        ("a\n{{ nothing }}", "text_body: line 2: it names what is not there"),
        ("{{ record.nothing }}", "text_body: line 1: it names what is not there"),
        ("{{ record.__class__ }}", "text_body: line 1: it does what a template may not"),
        ("{{ ''.__class__.__mro__ }}", "text_body: line 1: it does what a template may not"),
        ("{{ cycler.__init__.__globals__ }}", "text_body: line 1: it does what a template may not"),
        ("{{ lipsum() }}", "text_body: line 1: it names what is not there"),
        ("{% include 'x' %}", "text_body: line 1: it names another template, and none can be part of it"),
        ("{% import 'x' as x %}", "text_body: line 1: it names another template, and none can be part of it"),
        ("{{ 1 / 0 }}", "text_body: line 1: it fails (ZeroDivisionError)"),
        ("{% for i in range(10**9) %}x{% endfor %}", "text_body: line 1: it fails (OverflowError)"),
        ("{% for i in range(99999) %}{{ 'xxxxxxxxxx' }}{% endfor %}", "text_body: it makes more than 256 KB"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "text_body: line 1: it fails (RecursionError)"),
        (" \n", "it has no words: text_body and html_body are empty"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(source: str, words: str) -> None:
    assert wrong(source) == words


@pytest.mark.parametrize(
    "source", ["{{ email.subject + 1 }}", "{{ record[email.subject] }}", "{{ 1 | attr(email.subject) }}"]
)
def test_no_word_of_a_mail_is_in_what_is_told(source: str) -> None:
    assert "private" not in wrong(source, SECRET)


def test_a_template_changes_nothing_for_the_next() -> None:
    wrong("{% set record.name = 'x' %}")
    assert text("{{ record.name }}") == "Berta <Büro>"


async def test_one_that_takes_long_or_much_is_given_up_and_the_next_is_made() -> None:
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    async with renderers() as workers:
        for source, words in (
            (endless, f"it took longer than {RENDERED_WITHIN:g} s"),
            ("{{ 7 ** (10 ** 8) }}", f"it took longer than {RENDERED_WITHIN:g} s"),
            ("{{ 'x' * 10 ** 9 }}", "text_body: it takes more than 256 MB of memory"),
            ("{{ '%2000000000d' % 1 }}", "text_body: it takes more than 256 MB of memory"),
        ):
            began = perf_counter()
            rendering = asyncio.create_task(render_one(workers, TemplateText("Hello", source, None), VALUES))
            turns = 0
            while not rendering.done():
                await asyncio.sleep(0.01)
                turns += 1
            assert await rendering == Wrong(words)
            assert turns > 10 * (perf_counter() - began)  # the loop had its turns meanwhile
        made = await render_one(workers, TemplateText("Hello", "Dear {{ record.name }}", None), VALUES)
        assert made == Rendered("Hello", "Dear Berta <Büro>", None)
