"""What tests of networks share."""

from collections.abc import Iterator

import pytest
from networks import QuickNorms


@pytest.fixture
def quick_norms() -> Iterator[None]:
    """Clips without storage pass batch norms at once."""
    with QuickNorms():
        yield
