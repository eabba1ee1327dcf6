"""The import contracts of pyproject.toml name every transport there is."""

import tomllib
from pathlib import Path

import transports

ROOT = Path(__file__).parents[2]


def test_every_transport_is_in_the_contracts_that_name_them() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {one["name"]: one for one in settings["tool"]["importlinter"]["contracts"]}
    kinds = [f"transports.{kind}" for kind in transports.kinds()]
    for contract, key in (
        ("Transports are independent of one another", "modules"),
        ("Nothing in router names a transport kind", "forbidden_modules"),
    ):
        assert sorted(contracts[contract][key]) == kinds, f"write them as {key!r} of {contract!r} in pyproject.toml"
