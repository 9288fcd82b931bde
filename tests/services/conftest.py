"""Hubs for the tests of services."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.running import Hub, running_hub


@pytest.fixture
def hub(kafka_bootstrap: str, tmp_path: Path) -> Iterator[Hub]:
    """A hub of a test's own, without connections and processes."""
    with running_hub(kafka_bootstrap, tmp_path) as found:
        yield found


@pytest.fixture(scope="module")
def shared_hub(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub that the tests of a module share; each has connections of its own there."""
    with running_hub(kafka_bootstrap, tmp_path_factory.mktemp("hub")) as found:
        yield found
