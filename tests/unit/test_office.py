"""The search for secrets, which other tests rely on."""

import base64

import pytest

from tests.support.office import forms_of

SECRET = "it?~is>~secret-0"


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("after", range(4))
def test_a_secret_is_found_wherever_it_is_in_what_is_in_base64(encode: object, before: int, after: int) -> None:
    assert callable(encode)
    words = encode(b"x" * before + SECRET.encode() + b"y" * after).decode()
    assert any(form in words for form in forms_of(SECRET))


def test_what_is_no_secret_is_not_found() -> None:
    words = base64.b64encode(b"it?~is>~Secret-0 it?~is>~secret").decode()
    assert not any(form in words for form in forms_of(SECRET))
