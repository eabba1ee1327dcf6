"""For which profiles a person logs in."""

from pathlib import Path

import pytest

from router.operations import logins
from router.profile import read_folder

PROFILE = """
[incoming.{name}]
transport = "imap"
host = "imap.example.com"
owners = ["{owners}"]
auth.user = "{{mailbox}}"
auth.oauth2 = {{ issuer = "https://login.example.com", client_id = "{client}", scope = "mail" }}
"""


@pytest.mark.parametrize(
    ("client", "users"), [("crm", ["[incoming.sales]", "[incoming.staff]"]), ("other", ["[incoming.sales]"])]
)
def test_a_login_names_all_profiles_that_go_by_it(tmp_path: Path, client: str, users: list[str]) -> None:
    text = PROFILE.format(name="sales", owners="*@sales.test", client="crm")
    (tmp_path / "all.toml").write_text(text + PROFILE.format(name="staff", owners="*@in.test", client=client))
    asked = logins.find(read_folder(tmp_path).profiles, "sales", "")
    assert sorted(asked.users) == users
