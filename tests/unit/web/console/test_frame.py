"""What every page is made of."""

from router.web.console.frame import unturned


def test_a_name_turns_no_text_around_it() -> None:
    assert unturned("<b>Ann \u202e</b> &lt;moc.knab@nna&gt;") == "<b>Ann \u2039202E\u203a</b> &lt;moc.knab@nna&gt;"
    assert unturned("\u202a+49 30 1\u202c \u2067é\u2069") == "+49 30 1 é"
    assert unturned('<input value="a\u202eb@x.test"> \u05d0\u200f') == '<input value="a\u202eb@x.test"> \u05d0\u200f'
