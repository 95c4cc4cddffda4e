"""The catalogue of data sets: its numbers add up, its names are found, and it knows what a mirror does."""

import subprocess
import sys
import tomllib

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from actlib.datasets.catalog import (
    Dataset,
    backwards_names,
    find_dataset,
    list_datasets,
    mirrored_name,
    mirrored_names,
)
from actlib.datasets.clips import sampling
from actlib.datasets.lists.annotations import _READERS
from actlib.datasets.vocabulary import LABEL_SETS, SUBSETS

NAMES = [
    "kinetics400", "kinetics600", "kinetics700", "mini_kinetics", "ucf101", "hmdb51", "activitynet", "jester",
    "something_v1", "something_v2", "mini_something", "moments", "mini_moments",
]  # fmt: skip
RIGHT = "Turning the camera right while filming something"


def test_all_datasets_are_there():
    assert list_datasets() == NAMES
    assert all(find_dataset(name).name == name for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_is_complete(name):
    dataset = find_dataset(name)
    assert dataset.format in _READERS and dataset.unit in ("videos", "segments")
    assert dataset.title and dataset.files and dataset.layouts
    assert not dataset.parent or "class_list" in dataset.files
    assert set(dataset.published_by_split) <= set(range(2, dataset.splits + 1))
    for split in range(1, dataset.splits + 1):
        assert tuple(dataset.published_in(split)) == SUBSETS
    for one, other in dataset.mirrored_pairs:
        assert mirrored_name(one) == other
    # One data set's facts are not another's.
    assert len({find_dataset(each).title for each in NAMES}) == len(NAMES)


def test_the_file_of_facts_belongs_to_the_package_and_a_misspelled_field_is_an_error(root):
    files = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert {"catalog.yaml", "addresses.yaml"} <= set(files["actlib.datasets"])
    entry = {"name": "x", **yaml.safe_load((root / "actlib/datasets/catalog.yaml").read_text())["hmdb51"]}
    assert TypeAdapter(Dataset).validate_python(entry).splits == 3
    with pytest.raises(ValidationError, match="unit_of"):
        TypeAdapter(Dataset).validate_python({**entry, "unit_of": "videos"})
    with pytest.raises(ValidationError, match="published.training"):
        TypeAdapter(Dataset).validate_python({**entry, "published": {"training": "many"}})


@pytest.mark.parametrize(
    ("name", "classes", "videos"),
    [
        # The totals that the authors state, where they state one.
        ("kinetics400", 400, 306_245),
        ("kinetics700", 700, 650_317),
        ("ucf101", 101, 13_320),
        ("hmdb51", 51, 51 * 100),
        ("jester", 27, 148_092),
        ("something_v1", 174, 108_499),
        ("something_v2", 174, 220_847),
    ],
)
def test_published_counts_add_up_to_the_stated_total(name, classes, videos):
    dataset = find_dataset(name)
    assert dataset.num_classes == classes
    for split in range(1, dataset.splits + 1):
        assert sum(filter(None, dataset.published_in(split).values())) == videos


def test_the_splits_of_ucf101_differ():
    dataset = find_dataset("ucf101")
    assert [dataset.published_in(split)["training"] for split in (1, 2, 3)] == [9_537, 9_586, 9_624]


def test_mini_sets_are_parts_of_their_parents():
    minis = [find_dataset(name) for name in NAMES if name.startswith("mini_")]
    assert len(minis) == 3
    for mini in minis:
        parent = find_dataset(mini.parent)
        assert mini.needs_class_list and not parent.needs_class_list
        assert mini.num_classes < parent.num_classes and mini.format == parent.format


@pytest.mark.parametrize("name", NAMES)
def test_default_sampling_is_one_that_exists(name):
    rule = find_dataset(name).sampling
    frames = sampling.training_window(rule.kind, 90, rule.num_frames, rule.frame_stride, np.random.default_rng(0))
    assert frames.shape == (rule.num_frames,)


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(ValueError, match="no data set 'UCF-101'; did you mean 'ucf101'"):
        find_dataset("UCF-101")
    with pytest.raises(ValueError, match="known are kinetics400, "):
        find_dataset("imagenet")


def test_a_mirror_changes_labels_of_gestures_and_directions_only():
    changing = {name for name in NAMES if find_dataset(name).flip_changes_label}
    assert changing == {"jester", "something_v1", "something_v2", "mini_something"}


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("Swiping_Left", "Swiping_Right"),
        ("Turning Hand Counterclockwise", "Turning Hand Clockwise"),
        ("Turning_Hand_Clockwise", "Turning_Hand_Counterclockwise"),
        ("Pulling something from left to right", "Pulling something from right to left"),
        ("turn_left", "turn_right"),
        ("brightening leftovers of a cleft", "brightening leftovers of a cleft"),
        ("Putting something upright on the table", "Putting something upright on the table"),
    ],
)
def test_names_in_a_mirror(name, twin):
    assert mirrored_name(name) == twin
    assert mirrored_name(twin) == name


def test_pairs_need_both_classes_unless_the_data_set_is_known():
    out = "Plugging something into something but pulling it right out as you remove your hand"
    classes = [RIGHT, out, "Unfolding something"]
    assert mirrored_names(classes) == {}
    left = RIGHT.replace("right", "left")
    # A mini set keeps one of the two: its mirrored videos show a class that is none, and dataset.json must say so.
    assert mirrored_names(classes, find_dataset("mini_something").mirrored_pairs) == {RIGHT: left}
    assert mirrored_names([*classes, left]) == {RIGHT: left, left: RIGHT}
    # `right out` is no direction, and in the full set too it has no twin.
    assert out not in mirrored_names([*classes, left], find_dataset("something_v2").mirrored_pairs)


def test_pairs_of_jester_in_both_spellings():
    pairs = find_dataset("jester").mirrored_pairs
    for space in (" ", "_"):
        classes = [name.replace(" ", space) for pair in pairs for name in pair]
        found = mirrored_names([*classes, f"Thumb{space}Up"], pairs)
        assert len(found) == 6 and set(found) == set(classes)
        assert all(found[found[name]] == name for name in found)


def test_what_a_class_shows_when_it_is_played_backwards():
    motion = dict(zip(LABEL_SETS["motion"][::2], LABEL_SETS["motion"][1::2]))
    both_ways = motion | {other: one for one, other in motion.items()}
    assert backwards_names(list(LABEL_SETS["motion"])) == both_ways
    assert backwards_names([*LABEL_SETS["motion_finetune"], "left", "Lifting something up"]) == {}  # no twin is there
    for one, other in [
        ("Pushing something from left to right", "Pushing something from right to left"),
        ("Opening something", "Closing something"),
        ("Zooming_In_With_Full_Hand", "Zooming_Out_With_Full_Hand"),
        ("Rolling Hand Backward", "Rolling Hand Forward"),
    ]:
        assert backwards_names([one, other, "Thumb Up"]) == {one: other, other: one}


def test_it_is_imported_in_no_time():
    code = "import sys, actlib.datasets.catalog as catalog; catalog.list_datasets(); "
    code += "print(sorted({'torch', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
