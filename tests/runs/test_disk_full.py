"""Full disks, real ones: what does not fit is named, what stood there stays, and the same command goes on."""

import contextlib
import json
import os
import subprocess
import sys

import nbformat
import pytest
import torch
from batches import batch_of, make_project, status
from training import params, weights

from actlib.files import DiskFull, write_json, write_text, write_with
from actlib.loops import prepare, train
from actlib.models.weights.checkpoint import read_checkpoint

FILLS = """
if "fill" in p.runs:
    (run.folder / "filler").write_bytes(b"x" * 300_000)
    run.save_table(__import__("pandas").DataFrame({"a": range(200_000)}), "table.csv")
"""


def fill(folder, leave=0):
    """Take all of the disk but `leave` bytes."""
    path = folder / "all"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(file, b"x" * 4096)
    os.ftruncate(file, os.fstat(file).st_size - leave)
    os.close(file)
    return path


def test_what_does_not_fit_is_named_and_what_was_there_stays(small_disk):
    disk = small_disk(1_000_000)
    write_json(disk / "a.json", {"old": True})
    write_with(disk / "net.pt", lambda path: torch.save(torch.zeros(10), path))
    with pytest.raises(DiskFull, match=r"net.pt: the disk is full: its 4.0 MB do not fit into the \d+.\d kB"):
        write_with(disk / "net.pt", lambda path: torch.save(torch.zeros(10**6), path), needed=4 * 10**6)
    with pytest.raises(DiskFull, match="net.pt: the disk is full: it does not fit"):  # torch says "enforce fail"
        write_with(disk / "net.pt", lambda path: torch.save(torch.zeros(10**6), path))
    fill(disk)
    with pytest.raises(DiskFull, match="a.json: the disk is full.*make room, and the same command goes on"):
        write_json(disk / "a.json", ["new"] * 10_000)
    with pytest.raises(DiskFull, match="new/b.txt: the disk is full"):
        write_text(disk / "new" / "b.txt", "b")
    assert json.loads((disk / "a.json").read_text()) == {"old": True} and len(torch.load(disk / "net.pt")) == 10
    assert not [each for each in disk.rglob(".part*")]
    with pytest.raises(ValueError, match="my own"):  # an error of another kind stays what it is
        write_with(disk / "a.json", lambda path: int("my own"))


@pytest.mark.slow
def test_a_training_whose_disk_fills_goes_on_from_its_last_checkpoint(motion_table, tmp_path, small_disk):
    whole = params(motion_table, tmp_path / "whole", epochs=3)
    list(train(prepare(whole)))
    disk = small_disk(32_000_000)
    p = params(motion_table, disk / "run", epochs=3)
    rows = train(prepare(p))
    next(rows)
    filler = fill(disk, leave=100_000)
    with pytest.raises(DiskFull) as error:
        next(rows)
    words = str(error.value)
    assert f"{disk}/run/checkpoints/" in words and "last.pt is intact: the run goes on from there" in words
    assert len(read_checkpoint(disk / "run" / "checkpoints" / "last.pt").content["history"]) == 1
    filler.unlink()
    assert len(list(train(prepare(p)))) == 3
    for name, tensor in weights(disk / "run").items():
        assert torch.equal(tensor, weights(tmp_path / "whole")[name])


@pytest.mark.slow
def test_a_batch_goes_on_with_what_does_not_need_the_full_disk(tmp_path, monkeypatch, small_disk):
    project = make_project(tmp_path, monkeypatch)
    notebook = nbformat.read(project / "notebooks" / "06_compare.ipynb", 4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell(FILLS))
    nbformat.write(notebook, project / "notebooks" / "06_compare.ipynb")
    disk = small_disk(600_000, project / "outputs" / "b" / "a")
    path = batch_of(project, [{"name": "a", "set": {"runs": ["fill"]}}, {"name": "b"}, {"name": "c", "after": ["a"]}])

    def batch():
        return subprocess.run([sys.executable, "-m", "actlib", "batch", path], capture_output=True, text=True)

    done = batch()
    assert done.returncode == 1 and "Traceback" not in done.stdout.split("done")[-1]
    told = status(disk)
    assert told["state"] == "failed" and "the disk is full" in told["why"] and "table.csv" in told["why"]
    table = done.stdout[done.stdout.rindex("\n\n") :].split("\n")
    rows = [line.split()[:2] for line in table if line and not line.startswith("report:")]
    assert rows == [["failed", "a"], ["done", "b"], ["done", "c"]]
    assert "outputs/b/a/table.csv: the disk is full" in "".join(table)
    (disk / "filler").unlink()
    assert batch().returncode == 1
    (disk / "notebook.ipynb").unlink()
    fill(disk)  # before it starts, now
    done = batch()
    assert f"a: failed: {disk}/batch.json: the disk is full" in done.stdout and "b: skipped" in done.stdout
