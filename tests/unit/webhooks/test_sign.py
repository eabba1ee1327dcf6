"""What we sign, others verify."""

import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from router.webhooks.sign import new_secret, signed


def test_the_library_of_standard_webhooks_verifies_what_we_sign() -> None:
    secret = new_secret()
    body = '{"type":"sent","data":{"name":"Bürö"}}'.encode()
    headers = signed(secret, "7231-42", int(time.time()), body)
    assert Webhook(secret).verify(body, headers)["type"] == "sent"
    for wrong in ({"webhook-id": "7231-43"}, {"webhook-timestamp": str(int(time.time()) + 1)}):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers | wrong)
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret()).verify(body, headers)


def test_a_signature_is_that_of_the_specification() -> None:
    headers = signed(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
