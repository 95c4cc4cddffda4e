"""What several tests share: small synthetic data sets, made once a session, and the project's folder."""

from actlib.runs import papermill_sooner  # noqa: F401  (before anything imports nbformat)

# isort: split
import subprocess
from pathlib import Path

import pytest
from lab_fixtures import lab, page  # noqa: F401
from warmed import run_notebook, warmed  # noqa: F401

from actlib.datasets import synthetic
from actlib.datasets.table import write_table

ROOT = Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers(config):
    """For `-n auto`: one more than there are cores, since many tests wait for what they have started or killed."""
    return (yield) + 1


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
def small_disk(tmp_path):
    """Makes a disk of so many bytes of its own, mounted at a folder below tmp_path."""
    mounted = []

    def make(size: int, at: Path | None = None) -> Path:
        folder = at or tmp_path / f"disk{len(mounted)}"
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"a disk that can be filled needs the right to mount one: {getattr(error, 'stderr', error)}")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def unregistered(monkeypatch) -> None:
    """The networks that a test registers are forgotten after it."""
    from actlib.models import registry

    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
