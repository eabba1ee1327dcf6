import pytest

from router.outgoing.relay_reply import ids_of_reply

SES = "010201932f6e1c7b-8f1d2c3b-11aa-22bb-33cc-0123456789ab-000000"


@pytest.mark.parametrize(
    ("reply", "ids"),
    [
        (f"250 Ok {SES}", (f"{SES}@",)),
        (
            "250 2.6.0 <AM0PR01@eurprd01.prod.outlook.test> [InternalId=4242, Hostname=AM0PR01.eurprd01] Queued",
            ("AM0PR01@eurprd01.prod.outlook.test",),
        ),
        ("250 2.0.0 Ok: queued as 7f3e1c90-1b2d-4f5a-8c6d-0123456789ab", ("7f3e1c90-1b2d-4f5a-8c6d-0123456789ab@",)),
        ("250 OK id=1tEx4m-00000005Zq1-2abc", ("1tEx4m-00000005Zq1-2abc@",)),
        ("250 2.0.0 Ok: queued as 4F2A1B3C9D", ()),
        ("250 OK id=1abcDE-0004Ab-2x", ()),
        ("250 2.0.0 Message-accepted-for-delivery", ()),
        ("250 2.0.0 from user-0123456789-abcdef@example.com", ()),
        ("", ()),
    ],
)
def test_t24_the_id_in_the_relays_answer(reply: str, ids: tuple[str, ...]) -> None:
    assert ids_of_reply(reply) == ids


def test_t24_a_relay_that_talks_too_much_names_a_few() -> None:
    assert len(ids_of_reply(" ".join(f"<{n}@relay.test>" for n in range(100)))) == 4
