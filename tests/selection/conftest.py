import pytest
from pools import make_inputs


@pytest.fixture
def inputs():
    return make_inputs()
