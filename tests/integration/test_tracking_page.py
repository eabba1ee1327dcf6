"""The examples of docs/tracking.md: each is brought in, and becomes what the page says."""

import re
from typing import NamedTuple

import pytest

from router.model import Rule
from router.operations import never_track, settings
from tests.support.build import mail
from tests.support.correlating import Correlating
from tests.support.crm import Crm
from tests.support.paths import ROOT
from tests.support.promoting import Promoting

ANN, BOB, KIM, EVE = "ann@example.com", "bob@example.com", "kim@kunde.example", "eve@out.example"
SERVER = "mx.example.com"
TOKEN = "k3m9x2p7"
OFFER = "<offer@example.com>"


class Example(NamedTuple):
    """A row of the table; `flags` are those that it names."""

    rule: str
    situation: str
    becomes: str
    flags: list[str]


def _examples() -> list[Example]:
    page = (ROOT / "docs/tracking.md").read_text(encoding="utf-8")
    table = page.partition("\n### Examples\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(\S+)` \| (.+) \| (\w+)(.*) \|$", table, re.MULTILINE)
    return [
        Example(rule, re.sub(r"\[(.+?)\]\(.+?\)", r"\1", situation), becomes, re.findall(r"`(.+?)`", rest))
        for rule, situation, becomes, rest in rows
    ]


EXAMPLES = _examples()

ANSWER = {"subject": "Re: Offer", "in_reply_to": OFFER}
BY_TOKEN = {"subject": f"Chairs CRM:{TOKEN}"}
DENIED = {"authentication_results": f"{SERVER}; dmarc=fail header.from=kunde.example"}
MAIL = {
    "Kim's new mail": {"from": KIM},
    "Kim's answer": {"from": KIM, **ANSWER},
    'Kim\'s answer with the subject "Holiday party"': {"from": KIM, **ANSWER, "subject": "Holiday party"},
    'Kim\'s "Fw: Offer"': {"from": KIM, **ANSWER, "subject": "Fw: Offer"},
    "Kim's out-of-office on the offer": {"from": KIM, **ANSWER, "auto_submitted": "auto-replied"},
    "Kim's new mail with the token": {"from": KIM, **BY_TOKEN},
    "Eve's answer to the offer, which Kim showed her": {"from": EVE, **ANSWER},
    "Eve's new mail with the token": {"from": EVE, **BY_TOKEN},
    "Eve's new mail, Kim in Cc": {"from": EVE, "cc": KIM},
    "Bob's new mail, Kim in Cc": {"from": BOB, "cc": KIM},
    "Ann's new mail to Kim, in Sent": {"from": ANN, "to": KIM},
    "Kim's answer; `dmarc=fail`": {"from": KIM, **ANSWER, **DENIED},
    "Kim's new mail; `dmarc=fail`": {"from": KIM, **DENIED},
    "Eve's new mail; `dmarc=fail`": {"from": EVE, **DENIED},
    "Kim's answer; Kim is never tracked": {"from": KIM, **ANSWER},
    "Bob's answer; `internal_mail` is none": {"from": BOB, **ANSWER},
}
"""The headers of each situation, beside those of new mail to Ann."""


def test_each_situation_of_the_page_is_tried() -> None:
    assert len(EXAMPLES) > 20
    assert {example.situation for example in EXAMPLES} == set(MAIL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda one: f"{one.rule}: {one.situation}")
async def test_an_example_becomes_what_the_page_says(crm: Crm, correlating: Correlating, example: Example) -> None:
    way = Promoting(correlating.database)
    for owner in (ANN, BOB):
        await crm.owner(owner, example.rule)
    await crm.record("contact", "Kim", KIM)
    offer = await correlating.past("Offer", (ANN, KIM), message_id=OFFER.strip("<>"))
    await crm.admin.execute("UPDATE crm.email SET token = $2 WHERE id = $1", offer, TOKEN)
    if "never tracked" in example.situation:
        await never_track.add(way.database, KIM, None, "the test")
    if "internal_mail" in example.situation:
        await settings.choose(way.database, "internal_mail", "none", "the test")

    raw = mail(**({"to": ANN, "subject": "Chairs"} | MAIL[example.situation]))
    sent = example.situation.endswith("in Sent")
    decision = await way.promote(ANN, raw, sent=sent, rule=Rule.NONE, authserv=SERVER)
    flags = list(decision.email.flags) if decision.email else []
    assert (decision.disposition, flags) == (example.becomes, example.flags), decision.reasons
