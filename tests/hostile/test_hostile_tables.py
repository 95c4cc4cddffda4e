"""Tables, CSVs of own videos, dataset.json, result files, scores and run folders with slips in them."""

import io
import json
import random
import zipfile

import numpy as np
import pandas as pd
import pytest
from spoiling import spoil_text, spoil_value, write_json

from actlib.analysis.results.runs import read_runs
from actlib.analysis.results.scores import Scores, ScoresError, load_scores, save_scores
from actlib.analysis.results.val_json import ResultError, read_results, read_truth, scores_of, video_accuracy
from actlib.datasets.dataset_info import DatasetInfo, read_dataset_info, write_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.own_videos import from_csv
from actlib.datasets.prepare.convert import claim_root
from actlib.datasets.prepare.journal import Journal
from actlib.datasets.prepare.layout import StorageOptions
from actlib.datasets.table import COLUMNS, read_table, write_table

LABELS = ["run", "walk, slowly", 'jump "high"', "Übung 😀"]


def table_of(folder, count=6):
    rows = [
        {
            "video_id": f"v{n} ü", "path": str(folder / f"v{n}, ü.mp4"), "label": LABELS[n % 4],
            "subset": ("training", "validation")[n % 2], "start": 2 if n % 3 else None, "end": 20 if n % 3 else None,
            "num_frames": 32, "fps": 29.97, "width": 64, "height": 48,
        }
        for n in range(count)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def own_csv(folder, count=6):
    lines = ["path,label,subset,start,end"]
    for n in range(count):
        (folder / f"v{n}, ü.mp4").touch()
        lines.append(f'"v{n}, ü.mp4",{LABELS[0]},{("train", "val")[n % 2]},{"2,9" if n % 3 else ","}')
    path = folder / "list.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def same_table(unspoilt):
    return lambda found: found.astype(str).to_csv() == unspoilt.astype(str).to_csv()


SPOILT = {
    "field more": lambda lines, place: lines.__setitem__(place, f"{lines[place]},x"),
    "field less": lambda lines, place: lines.__setitem__(place, lines[place].rpartition(",")[0]),
    "field more in all": lambda lines, place: lines.__setitem__(slice(1, None), [f"{line},x" for line in lines[1:]]),
    "field less in all": lambda lines, place: lines.__setitem__(
        slice(1, None), [line.rpartition(",")[0] for line in lines[1:]]
    ),
    "open quote": lambda lines, place: lines.__setitem__(place, '"' + lines[place].replace('"', "")),
    "open quote at end": lambda lines, place: lines.__setitem__(-1, f'{lines[-1]},"x'),
    "text after a quote": lambda lines, place: lines.__setitem__(place, f'"{lines[place]}"x'),
    "empty": lambda lines, place: lines.clear(),
    "no rows": lambda lines, place: lines.__setitem__(slice(1, None), []),
    "two columns of one name": lambda lines, place: lines.__setitem__(
        slice(None), [f"{lines[0]},label", *(f"{line},x" for line in lines[1:])]
    ),
    "semicolons": lambda lines, place: lines.__setitem__(slice(None), [line.replace(",", ";") for line in lines]),
    "blank line": lambda lines, place: lines.insert(place, ""),
    "line of blanks": lambda lines, place: lines.insert(place, "   "),
    "comma in all": lambda lines, place: lines.__setitem__(slice(None), [f"{line}," for line in lines]),
    "no column": lambda lines, place: lines.__setitem__(0, lines[0].replace("label", "class")),
    "header twice": lambda lines, place: lines.insert(place, lines[0]),
    "long field": lambda lines, place: lines.__setitem__(place, "x" * 300_000 + lines[place]),
}


def spoil_csv(path, rng) -> str:
    """Spoil a CSV with a header line. Returns how."""
    lines, how = path.read_text(encoding="utf-8").splitlines(), rng.choice(list(SPOILT))
    SPOILT[how](lines, rng.randrange(1, len(lines)))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return how


@pytest.mark.seeds(24, 800)
@pytest.mark.parametrize("kind", ["table.csv", "own csv"])
def test_a_spoilt_csv(judge, tmp_path, seed, kind):
    rng = random.Random(seed)
    if kind == "table.csv":
        path, read = write_table(table_of(tmp_path), tmp_path / "table.csv"), read_table
    else:
        path, read = own_csv(tmp_path), from_csv
    same = same_table(read(path))
    how = spoil_csv(path, rng) if seed % 2 else spoil_text(path, rng)
    if how == "no rows":
        same = lambda found: len(found) == 0  # noqa: E731
    judge(lambda: read(path), kind=f"{kind}: lines, coding", errors=DataError, names=[path.name], same=same)


NO_NUMBERS = ["soon", "²", "1_0", "１２", "nan", "inf", "-3", "1e9", "2.5.1", "0x10", "True", "1O", "½", " ", "--"]


@pytest.mark.seeds(15, 300)
@pytest.mark.parametrize("kind", ["table.csv", "own csv"])
def test_text_where_a_number_belongs(judge, tmp_path, seed, kind):
    rng = random.Random(seed)
    text = NO_NUMBERS[seed % len(NO_NUMBERS)]
    if kind == "table.csv":
        path, read = write_table(table_of(tmp_path), tmp_path / "table.csv"), read_table
        column = rng.choice(COLUMNS[4:])
    else:
        path, read, column = own_csv(tmp_path), from_csv, rng.choice(["start", "end"])
    unspoilt = read(path)
    spoilt = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows = list(range(len(spoilt))) if rng.random() < 0.3 else [rng.randrange(len(spoilt))]
    spoilt.loc[rows, column] = text
    spoilt.to_csv(path, index=False)

    def same(found):  # blanks are an empty field
        return text == " " and found[column].isna()[rows].all() or same_table(unspoilt)(found)

    judge(lambda: read(path), kind=f"{kind}: numbers", errors=DataError, names=[path.name, "line "], same=same)


@pytest.mark.seeds(30, 1000)
def test_a_spoilt_dataset_json(judge, tmp_path, seed):
    rng = random.Random(seed)
    table = table_of(tmp_path)
    videos = {"training": {"published": None, "listed": 3, "found": 3, "readable": 3}, "validation": {"listed": 3}}
    info = DatasetInfo("own", "Own", sorted(LABELS), videos, {"run": "walk, slowly"})
    path = write_dataset_info(info, tmp_path)
    if seed % 3:
        write_json(path, spoil_value(json.loads(path.read_text(encoding="utf-8")), rng)[0])
    else:
        spoil_text(path, rng)

    def same(found):  # a number that is not known may be left empty
        return found == info or seed % 3 and json.dumps(found.videos).count("null") == 2

    judge(
        lambda: read_dataset_info(tmp_path / "table.csv", table),
        kind="dataset.json", errors=DataError, names=["dataset.json"], same=same,
    )  # fmt: skip


def results_and_truth(folder):
    videos = {f"v{n}": "ab"[n % 2] for n in range(5)}
    entries = {video: [{"label": label, "score": 0.75}, {"label": "c", "score": 1}] for video, label in videos.items()}
    results = write_json(folder / "val.json", {"version": "1", "results": entries})
    database = {video: {"subset": "validation", "annotations": {"label": label}} for video, label in videos.items()}
    database["v9"] = {"subset": "training", "annotations": {"label": "a"}, "n_frames": 7}
    return results, write_json(folder / "truth.json", {"labels": ["a", "b", "c"], "database": database})


@pytest.mark.seeds(40, 1500)
def test_spoilt_results_and_truth(judge, tmp_path, seed):
    rng = random.Random(seed)
    paths = results_and_truth(tmp_path)

    def read():
        results, truth = read_results(paths[0]), read_truth(paths[1])
        scores = scores_of(results, truth, "x")
        return scores.top(1), scores.scores.tolist(), video_accuracy(results, truth, "accuracy", 1)

    unspoilt, path = read(), paths[seed % 2]
    if seed % 5:
        write_json(path, spoil_value(json.loads(path.read_text(encoding="utf-8")), rng)[0])
    else:
        spoil_text(path, rng)
    # Which of the two is wrong cannot be known where their ids or classes differ.
    judge(read, kind="val.json, truth", errors=ResultError, names=[".json"], same=lambda found: found == unspoilt)


@pytest.mark.parametrize("number", [10**400, -(10**400), "1e400", "NaN", "Infinity", 10**39])
@pytest.mark.parametrize("label", ["a", "none"])
def test_scores_that_are_no_numbers_of_known_and_unknown_labels(judge, tmp_path, number, label):
    path = tmp_path / "val.json"
    path.write_text(f'{{"results": {{"v": [{{"label": "{label}", "score": {number}}}]}}}}')
    judge(lambda: read_results(path), kind="val.json, truth", errors=ResultError, names=["results.v[0].score"])


def scores():
    values = np.array([[0.1, 0.9], [0.6, 0.4], [np.nan, np.nan]], np.float32)
    return Scores("one", list("abc"), ["run", "walk", "run"], ["run", "walk"], values, "10 clips", expected=3)


@pytest.mark.seeds(30, 1000)
def test_a_spoilt_file_of_scores(judge, tmp_path, seed):
    rng = random.Random(seed)
    path = save_scores(tmp_path / "scores.npz", scores())
    data = path.read_bytes()
    if seed % 2:  # what was written by another program, or by a person
        arrays = dict(np.load(path))
        name = rng.choice(["scores", "scores", "label", "classes", "video_id", "expected"])
        wrong = [np.zeros(0), np.zeros((2, 2, 2), np.float32), np.array("x"), np.array([["a", "b"]] * 3), np.arange(6)]
        wrong += [np.array(["run", "run", "run"]), np.array(["swim", "run", "walk"]), np.array([1, 2]), np.arange(3)]
        wrong += [np.full((3, 2), np.inf, np.float32), np.array([[np.nan, 1]] * 3, np.float32), np.zeros((3, 2), int)]
        del arrays[name]
        if rng.random() < 0.7:
            arrays[name] = rng.choice(wrong)
        given = arrays.get(name, np.zeros(0))
        if name in ("label", "video_id") and given.shape == (3,) and given.dtype.kind == "U":
            arrays[name][0] = ""  # other names are no slip that anybody could see
        np.savez(path, **arrays)
    elif seed % 4:
        path.write_bytes(data[: rng.randrange(len(data))])
    elif seed % 8:
        place = rng.randrange(len(data))
        path.write_bytes(data[:place] + bytes([data[place] ^ rng.randint(1, 255)]) + data[place + 1 :])
    else:  # a head that promises 2**60 numbers
        with zipfile.ZipFile(path, "a") as archive:
            head, shape = io.BytesIO(), (2**30, 2**30)
            np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": shape})
            archive.writestr("more.npy", head.getvalue())
    expected = scores()

    def same(found):
        names = ("video_ids", "labels", "classes", "subset", "protocol")
        alike = all(getattr(found, name) == getattr(expected, name) for name in names) and len(found.table) == 3
        return alike and np.array_equal(found.scores, expected.scores, equal_nan=True)

    judge(lambda: load_scores(path, "one"), kind="scores.npz", errors=ScoresError, names=["scores.npz"], same=same)


@pytest.mark.seeds(20, 600)
def test_a_spoilt_run_folder(judge, tmp_path, seed):
    rng = random.Random(seed)
    folder = tmp_path / "run"
    folder.mkdir()
    numbers = {"video_top1": {"value": 71.2, "protocol": "10 clips", "videos": 5, "expected": 6}}
    result = {"kind": "evaluation", "model": "resnet18", "dataset": "own", "numbers": numbers, "gmacs": 2.5}
    write_json(folder / "result.json", result)
    write_json(folder / "status.json", {"state": "done", "time": "2026"})
    unspoilt = read_runs([str(folder)]).to_csv()
    path, place = folder / rng.choice(["result.json", "result.json", "status.json"]), ()
    if seed % 3:
        spoilt, place = spoil_value(json.loads(path.read_text()), rng)
        write_json(path, spoilt)
    else:
        spoil_text(path, rng)

    def same(found):  # one plain value for another is not for this table to judge
        return found.to_csv() == unspoilt or place and found["run"].tolist() == ["run"]

    judge(lambda: read_runs([str(folder)]), kind="run folder", errors=ValueError, names=[path.name], same=same)


@pytest.mark.seeds(20, 600)
def test_a_spoilt_journal_and_a_claimed_folder(judge, tmp_path, seed):
    """What a folder of converted videos was made by is said or refused; of a journal whole lines alone count."""
    rng = random.Random(seed)
    options = StorageOptions("short_gop", tmp_path / "short_gop")
    claim_root(options)
    path = tmp_path / "short_gop" / "storage.json"
    write_json(path, spoil_value(json.loads(path.read_text()), rng)[0]) if seed % 2 else spoil_text(path, rng)
    names = [tmp_path.name]
    judge(lambda: claim_root(options), kind="storage.json", errors=DataError, names=names, same=lambda found: True)

    journal, numbers = tmp_path / "done.jsonl", ("num_frames", "width")
    entry = {"path": "/ü.mp4", "num_frames": 5, "width": 64, "source": [1, 2]}
    for name in "ab":
        Journal(journal, "path", numbers).add(entry | {"path": name})
    if seed % 2:
        lines = journal.read_text().splitlines()
        lines[-1] = json.dumps(spoil_value(json.loads(lines[-1]), rng, passed_over=("path",))[0])
        journal.write_text("\n".join(lines))
    else:
        data = journal.read_bytes()
        journal.write_bytes(data[: rng.randrange(len(data))] + rng.choice([b"", b"\0" * 4096, b"\xff\xfe", b"\n[]\n7"]))

    def same(found):
        values = [each[name] for each in found.values() for name in numbers]
        return set(found) <= set("ab") and all(type(each) in (int, float) for each in values)

    judge(lambda: Journal(journal, "path", numbers).entries, kind="journal", errors=(), same=same)


def test_a_table_of_wrong_rows_alone_is_refused_in_little_time(judge, tmp_path):
    table = pd.concat([table_of(tmp_path)] * 2_000, ignore_index=True)
    table["subset"], table["label"] = "holdout", ""
    path = write_table(table, tmp_path / "table.csv")
    judge(lambda: read_table(path), kind="table.csv: numbers", errors=DataError, names=["35,994 problems", "line 3:"])
