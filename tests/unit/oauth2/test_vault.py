"""What is kept in the database is sealed by keys that are not in it."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from router.oauth2.vault import Secrets, Vault
from transports.errors import Permanent

SECRETS = Secrets("the-access", "the-refresh", "m", "s")


def test_what_is_sealed_opens(tmp_path: Path) -> None:
    vault = Vault(tmp_path / "data" / "token-keys", make=True)
    sealed = vault.seal(SECRETS)
    opened = vault.open(sealed)
    assert opened is not None
    assert (opened.secrets, opened.again) == (SECRETS, None)
    assert b"the-" not in sealed
    assert "the-" not in repr(opened)


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    Vault(tmp_path / "keys", make=True).seal(SECRETS)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_many_that_need_it_first_make_one(tmp_path: Path) -> None:
    vaults = [Vault(tmp_path / "keys", make=True) for _ in range(16)]
    with ThreadPoolExecutor(16) as pool:
        sealed = list(pool.map(lambda vault: vault.seal(SECRETS), vaults))
    assert all(vault.open(one) for vault in vaults for one in sealed)


def test_one_that_is_named_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match=r"there is no file .*EMAIL_ROUTER_TOKEN_KEYS"):
        Vault(tmp_path / "keys", make=False).seal(SECRETS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "no-key\n", "ä" * 44])
def test_a_file_without_keys_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(Permanent, match="has to hold keys") as raised:
        Vault(tmp_path / "keys", make=True).seal(SECRETS)
    assert "no-key" not in str(raised.value)


def test_the_key_that_the_advice_makes_is_one(tmp_path: Path) -> None:
    with pytest.raises(Permanent) as raised:
        Vault(tmp_path / "keys", make=False).seal(SECRETS)
    command = str(raised.value).split('"')[1]
    assert os.system(f"{command} > {tmp_path / 'keys'}") == 0
    Vault(tmp_path / "keys", make=False).seal(SECRETS)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Permanent, match="cannot be"):
        Vault(tmp_path / "file" / "keys", make=True).seal(SECRETS)


def test_the_first_key_seals_and_all_open(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    old, new = Fernet.generate_key(), Fernet.generate_key()
    file.write_bytes(old)
    sealed = Vault(file, make=False).seal(SECRETS)
    file.write_bytes(new + b"\n" + old)
    opened = Vault(file, make=False).open(sealed)
    assert opened is not None
    assert opened.again is not None
    file.write_bytes(new)
    assert Vault(file, make=False).open(opened.again) is not None
    assert Vault(file, make=False).open(sealed) is None
    assert Vault(file, make=False).open(b"nonsense") is None


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    vault = Vault(file, make=True)
    sealed = vault.seal(SECRETS)
    other = tmp_path / "other"
    other.write_bytes(Fernet.generate_key())
    other.rename(file)
    assert vault.open(sealed) is None
