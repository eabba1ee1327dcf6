import pytest
from hypothesis import settings

from tests.unit.pipeline.build import World

settings.register_profile("router", deadline=None)  # the machine may be busy
settings.load_profile("router")


@pytest.fixture
def world() -> World:
    return World()
