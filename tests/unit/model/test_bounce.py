"""What a bounce means for the address."""

import pytest

from router.model.bounce import Bounce, kind_of_bounce


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, "hard") for code in ("5.1.1", "5.1.2", "5.1.6", "5.1.10", "5.2.1")),
        *((code, "soft") for code in ("5.2.2", "5.2.0", "4.4.7", "5.4.4", "5.1.0", "550", "")),
        *((code, None) for code in ("5.7.1", "5.7.26", "5.6.0", "5.3.4", "5.5.2")),
    ],
)
def test_only_a_missing_or_closed_mailbox_is_hard_and_what_says_nothing_of_it_is_none(
    code: str, kind: str | None
) -> None:
    assert kind_of_bounce(code) == kind


def test_the_words_tell_day_and_code_once() -> None:
    assert Bounce("5.1.1", "user unknown", "2026-11-28").words == "bounced on 2026-11-28: 5.1.1 user unknown"
    assert Bounce("5.1.1", "550 5.1.1 none", "2026-11-28").words == "bounced on 2026-11-28: 550 5.1.1 none"
