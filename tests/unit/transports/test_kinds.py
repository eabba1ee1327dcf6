"""Every kind of transport is a value that says who it is."""

import pytest

import transports


@pytest.mark.parametrize("name", transports.kinds())
def test_a_kind_is_named_as_its_file(name: str) -> None:
    transport = transports.load(name)
    offered = [kind for kind in (transport.incoming, transport.outgoing) if kind is not None]
    assert offered
    assert {kind.name for kind in offered} == {transport.name} == {name}
