"""The token in an address of the owner's."""

import pytest

from router.model.token import untag


@pytest.mark.parametrize(
    ("address", "base", "token"),
    [
        ("sales+crm-k3m9x2p7@example.com", "sales@example.com", "k3m9x2p7"),
        ("Sales+CRM-K3M9X2P7@XN--BRO-HOA.example", "sales@büro.example", "k3m9x2p7"),
        (" sales+news+crm-k3m9x2p7@example.com ", "sales+news@example.com", "k3m9x2p7"),
    ],
)
def test_t39_a_tag_of_ours_is_taken_off(address: str, base: str, token: str) -> None:
    assert untag(address) == (base, token)


@pytest.mark.parametrize(
    "address",
    [
        "sales@example.com",
        "Sales+news@example.com",
        "sales+crm-k3m9x2p@example.com",
        "sales+crm-k3m9x2p77@example.com",
        "sales+crm-k3m9x2p0@example.com",  # 0 is in no token
        "sales+k3m9x2p7@example.com",
        "+crm-k3m9x2p7@example.com",
        "sales+crm-k3m9x2p7",
        "sales+crm-k3m9x2p7@a@example.com",
        "",
    ],
)
def test_t39_any_other_address_stays_as_it_is(address: str) -> None:
    assert untag(address) == (address, None)
