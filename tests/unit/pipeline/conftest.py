import pytest

from tests.unit.pipeline.build import World


@pytest.fixture
def world() -> World:
    return World()
