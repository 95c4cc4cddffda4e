"""Published lists with slips of the pen in them, in wrong codings, and of wrong shapes."""

import json
import random
import shutil
import time

import pytest
from annotationfiles import DATA, kinetics, something_v2, write, write_file
from spoiling import spoil_text, spoil_value, write_json

from actlib.datasets.errors import DataError
from actlib.datasets.lists.annotations import read_annotations

TEMPLATES = ["Opening [something]", "Closing [something], slowly"]
LISTS = [("7", TEMPLATES[0]), ("8", TEMPLATES[1])]


def make(name: str, folder):
    """The lists of a data set in `folder`: (data set, path)."""
    if name == "something_v2":
        return name, something_v2(folder, TEMPLATES, train=LISTS, validation=[("9", TEMPLATES[0])], test=[("5", "")])
    if name == "something_v1":
        train, validation = "1;Opening it\n2;Closing it\n", "3;Opening it\n"
        lists = {"labels": "Opening it\nClosing it\n", "train": train, "validation": validation}
        return name, write(folder, **{f"something-v1-{part}_csv": text for part, text in lists.items()})
    if name == "moments":
        texts = {"moments_categories_txt": "a b,0\nc,1\n", "trainingSet_csv": "a b/x.mp4,a b,3,1\nc/y.mp4,c,3,1\n"}
        return name, write(folder, **texts)
    if name == "numbers":
        return "", write(folder, train_txt="a/x 1 10 1\na/y 1 9 0\n", val_txt="a/z 1 10 1\n", labels_txt="A\nB\n")
    if name == "exchange":
        shutil.copy(DATA / "hmdb51" / "expected_with_segments.json", write_file(folder / "own.json"))
        return "", folder / "own.json"
    sources = {"ucf101": "ucf101", "hmdb51": "hmdb51/splits", "jester": "jester", "kinetics400": "kinetics"}
    shutil.copytree(DATA / sources.get(name, name), folder)
    for path in folder.glob("*expected*"):
        path.unlink()
    for path in folder.glob("frame_counts.json"):
        path.unlink()
    return name, folder


NAMES = ["kinetics400", "ucf101", "hmdb51", "jester", "something_v1", "something_v2", "moments", "activitynet"]
NAMES += ["numbers", "exchange"]


def content(listed):
    return listed.classes, listed.videos.drop(columns=["file", "line"]).astype(str).to_csv(index=False)


def read(made):
    return content(read_annotations(made[0], made[1]))


def one_of(tmp_path, seed):
    """(random numbers, the lists of a data set, what they say, one of their files to be spoilt)."""
    rng = random.Random(seed)
    made = make(NAMES[seed % len(NAMES)], tmp_path / "lists")
    return rng, made, read(made), rng.choice(sorted(tmp_path.glob("lists/*.*")))


@pytest.mark.seeds(20, 600)
def test_a_list_in_another_coding(judge, tmp_path, seed):
    rng, made, unspoilt, path = one_of(tmp_path, seed)
    how = spoil_text(path, rng)
    names = [path.name]
    if how in ("utf-16-le", "utf-32"):  # then a JSON is not even known as a list, nor a CSV by its columns
        names = [tmp_path.name]
    judge(lambda: read(made), kind="list: coding", errors=DataError, names=names, same=lambda found: found == unspoilt)


@pytest.mark.seeds(20, 600)
def test_a_line_that_is_none_of_the_list(judge, tmp_path, seed):
    rng, made, unspoilt, path = one_of(tmp_path, seed)
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    odd = ['"', "x" * 100_000, "1 " * 50_000 + "x", "²", "\x01\x02", "../../../etc/passwd 1", "[" * 30_000]
    lines.insert(rng.randint(0, len(lines)), f"{rng.choice(odd)}\n")
    path.write_text("".join(lines), encoding="utf-8")

    def same(found):  # a class list takes any name, and Kinetics' first line any column
        known = found[0] == unspoilt[0] or path.name.lower().startswith(("classind", "something-v1-labels", "labels"))
        return known and len(found[1].splitlines()) <= len(unspoilt[1].splitlines()) + 1

    judge(lambda: read(made), kind="list: line", errors=DataError, names=[path.name], same=same)


@pytest.mark.seeds(30, 1500)
def test_a_wrong_value_in_json(judge, tmp_path, seed):
    rng = random.Random(seed)
    made = make(["exchange", "activitynet", "something_v2"][seed % 3], tmp_path / "lists")
    unspoilt = read(made)
    path = rng.choice(sorted(tmp_path.glob("lists/*.json")))
    document = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, spoil_value(document, rng)[0])
    judge(
        lambda: read(made),
        kind="list: wrong value in JSON",
        errors=DataError,
        names=[path.name],
        same=lambda found: found == unspoilt,
    )


@pytest.mark.seeds(10, 300)
def test_json_that_breaks_off_or_goes_too_deep(judge, tmp_path, seed):
    rng = random.Random(seed)
    made = make(["exchange", "activitynet", "something_v2"][seed % 3], tmp_path / "lists")
    path = rng.choice(sorted(tmp_path.glob("lists/*.json")))
    text = path.read_text(encoding="utf-8").rstrip()
    start = text.index(":") + 1 if text[0] == "{" else 1
    wrong = ["[" * 100_000 + "]" * 100_000, "9" * 5000, '"\\ud83d"', '"\\u0000"', "NaN,", "'a'", "{1: 2}"]
    spoilt = rng.choice([text[: rng.randrange(len(text))], text[:start] + rng.choice(wrong) + "," + text[start:]])
    path.write_text(spoilt, encoding="utf-8")
    names = [] if '"labels"' not in spoilt and '"taxonomy"' not in spoilt else [path.name]
    judge(lambda: read(made), kind="list: broken JSON", errors=DataError, names=names)


@pytest.mark.parametrize("wrong", ["a label that no class has", "x" * 3_000_000])
def test_very_many_or_very_long_wrong_labels(judge, tmp_path, wrong):
    """All of them are counted, and only those that are shown are compared with the classes."""
    count = 20_000 if len(wrong) < 100 else 1
    classes = [f"class number {number}" for number in range(700)]
    train = kinetics([(name, f"{number:011d}", 1) for number, name in enumerate(classes)], "train")
    val = kinetics([(wrong, f"{number:011d}", 5) for number in range(count)], "val")
    write(tmp_path, kinetics_train_csv=train, kinetics_val_csv=val)
    begin = time.process_time()
    with pytest.raises(DataError) as error:
        read_annotations("kinetics700", tmp_path)
    assert time.process_time() - begin < 15  # of one; it was minutes once
    assert "kinetics_val.csv" in str(error.value) and len(str(error.value)) <= 4_000
    if count > 1:
        assert f"{count:,} problems" in str(error.value) and "did you mean" not in str(error.value)
