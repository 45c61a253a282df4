import pytest

from tests.train.runs import forget_launch


@pytest.fixture(autouse=True)
def fresh_state():
    yield
    forget_launch()
