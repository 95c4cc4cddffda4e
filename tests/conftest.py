"""What several tests share: small synthetic data sets, made once a session, and the project's folder."""

from pathlib import Path

import pytest

from actlib.datasets import synthetic
from actlib.datasets.table import write_table

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's folder."""
    return ROOT


def _dataset(folder: Path, label_set: str, training: int, validation: int) -> Path:
    per_class = {"training": training, "validation": validation}
    table = synthetic.generate(folder / "videos", label_set=label_set, videos_per_class=per_class)
    return write_table(table, folder / "table.csv")


@pytest.fixture(scope="session")
def motion_table(tmp_path_factory) -> Path:
    """table.csv of 8 classes with 3 training and 2 validation videos each. Not to be written to."""
    return _dataset(tmp_path_factory.mktemp("motion"), "motion", 3, 2)


@pytest.fixture(scope="session")
def finetune_table(tmp_path_factory) -> Path:
    """table.csv of 4 other classes with 3 training and 2 validation videos each. Not to be written to."""
    return _dataset(tmp_path_factory.mktemp("finetune"), "motion_finetune", 3, 2)


@pytest.fixture
def unregistered(monkeypatch) -> None:
    """The networks that a test registers are forgotten after it."""
    from actlib.models import registry

    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
