"""Real mail is read as two independent parsers read it where they agree, and as a person does where they differ."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from router.parse.message import parse
from tests.support.paths import CORPORA

EXPECTED: dict[str, Any] = json.loads(Path(__file__).with_name("expected.json").read_text(encoding="utf-8"))
MAILS = [name for name in EXPECTED if name != "about"]

pytestmark = pytest.mark.skipif(
    not CORPORA.is_dir(), reason="the corpora of real mail are not here (../shared/corpora)"
)


def test_the_table_is_of_every_mail() -> None:
    files = {
        f"{path.parent.name}/{path.name}"
        for folder in ("enmime", "james-mime4j", "mikel-mail")
        for path in (CORPORA / folder).iterdir()
    }
    assert files == set(MAILS)


@pytest.mark.parametrize("name", MAILS)
def test_subject_sender_text_and_attachments(name: str) -> None:
    message = parse((CORPORA / name).read_bytes())
    text = message.text or "" if message.text_from == "plain" else ""
    assert {
        "subject": message.subject,
        "sender": message.sender,
        "text": re.sub(r"\s+", " ", text).strip()[:40],
        "attachments": [attachment.filename for attachment in message.attachments],
    } == EXPECTED[name]
