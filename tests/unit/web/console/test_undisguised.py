"""What strangers write is taken for nothing else."""

import pytest

from router.web.console.undisguised import undisguised


def test_a_name_turns_no_text_around_it() -> None:
    assert undisguised("<b>Ann \u202e</b> &lt;moc.knab@nna&gt;") == "<b>Ann \u2039202E\u203a</b> &lt;moc.knab@nna&gt;"
    assert undisguised("\u202a+49 30 1\u202c \u2067é\u2069") == "+49 30 1 é"
    assert undisguised('<input value="a\u202eb@x.test"> \u05d0\u200f') == '<input value="a\u202eb@x.test"> \u05d0\u200f'


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("lena@\u0430\u0440\u0440\u04cf\u0435.com", "lena@\u0430\u0440\u0440\u04cf\u0435.com ‹xn--80ak6aa92e.com›"),
        ("@p\u0430ypal.test", "@p\u0430ypal.test ‹xn--pypal-4ve.test›"),
        ("a@mail.\u0261oogle.test", "a@mail.\u0261oogle.test ‹mail.xn--oogle-qmc.test›"),
        ("a@b\u0131g.test", "a@b\u0131g.test ‹xn--bg-hpa.test›"),
        ("an\u200bna@velo.test", "an‹200B›na@velo.test"),
        ("a\u200bn\u00adna@velo.test", "a‹200B›n‹AD›na@velo.test"),
        ("\u3164@velo.test", "‹3164›@velo.test"),
        ("anna\U000e0041@velo.test", "anna‹E0041›@velo.test"),
    ],
)
def test_an_address_that_looks_like_another_is_told_from_it(address: str, shown: str) -> None:
    assert undisguised(f"<b>{address}</b>, é") == f"<b>{shown}</b>, é"
    assert undisguised(f"é &lt;{address}&gt;") == f"é &lt;{shown}&gt;"
    assert undisguised(f'<input value="{address}">') == f'<input value="{address}">'


@pytest.mark.parametrize(
    "text",
    [
        "lena@bücher.example, jörg@łódź.test",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 and \U0001f469\u200d\U0001f4bb ❤\ufe0f",
        "offers\u200c\u00ad\u034f of the day",
        "\u041f\u0440\u0438\u0432\u0435\u0442, anna@velo.test",
        "@ é @é",
        "an\u200bna, anna@velo.test",
    ],
)
def test_other_languages_are_no_disguise(text: str) -> None:
    assert undisguised(text) == text
