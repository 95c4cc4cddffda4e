"""What TensorBoard reads of a training."""

import pytest
from training import params

from actlib.loops import prepare, train

accumulators = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
)


def scalars_of(folder) -> dict[str, list[tuple[int, float]]]:
    found = accumulators.EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(each.step, each.value) for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_the_scalars_of_a_run_that_went_on_are_there_once(motion_table, tmp_path):
    without = prepare(params(motion_table, tmp_path, epochs=1))
    list(train(without))
    assert not (tmp_path / "tensorboard").exists()
    rows = list(train(prepare(params(motion_table, tmp_path, epochs=2, tensorboard=True))))
    rows = list(train(prepare(params(motion_table, tmp_path, epochs=3, tensorboard=True))))
    found = scalars_of(tmp_path / "tensorboard")
    assert set(found) == {"loss/training", "loss/validation", "top-1/training", "top-1/validation",
                          "macro-F1/validation", "learning rate", "clips per second"}  # fmt: skip
    for tag, column in (("loss/training", "loss"), ("top-1/validation", "val_top1"), ("learning rate", "lr")):
        assert found[tag] == [(row["epoch"], pytest.approx(row[column], rel=1e-5)) for row in rows], tag
    assert len(rows) == 3 and len(list((tmp_path / "tensorboard").iterdir())) == 1
