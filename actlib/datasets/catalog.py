"""What is known beforehand of every data set: its classes, its published size, its files, and what a mirror does to it.

Facts only, no reading: `annotations.py` reads the lists. This module imports nothing heavy, so that the parameters of
a notebook can be checked in no time.
"""

import difflib
import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Sampling:
    """How the reference codebases take a training clip: `kind` is a rule of `sampling.training_window`; `num_frames`
    frames, every `frame_stride`-th."""

    kind: str
    num_frames: int
    frame_stride: int


@dataclass(frozen=True)
class Dataset:
    """One data set. `format` names the reader of its lists (`annotations.py`); `published` its videos by subset, of the
    first split where there are several (None: nobody says); `unit` what a row of its table is, videos or segments;
    `mirrored_pairs`: the classes that a horizontal flip exchanges; `files`: the lists as
    they are published; `layouts`: where below data_root the videos usually lie (any other place is found too);
    `parent`: the data set whose lists a mini set takes its videos from."""

    name: str
    title: str
    num_classes: int
    format: str
    published: dict[str, int | None]
    sampling: Sampling
    files: tuple[str, ...]
    layouts: tuple[str, ...]
    splits: int = 1
    unit: str = "videos"
    mirrored_pairs: tuple[tuple[str, str], ...] = ()
    parent: str = ""
    published_by_split: dict[int, dict[str, int]] = field(default_factory=dict)

    @property
    def needs_class_list(self) -> bool:
        """Whether the user has to name the file of the classes (the mini sets)."""
        return bool(self.parent)

    @property
    def flip_changes_label(self) -> bool:
        """Whether a mirrored video may show another class."""
        return bool(self.mirrored_pairs)

    def published_in(self, split: int) -> dict[str, int | None]:
        """Videos by subset in split number `split`."""
        return dict(self.published_by_split.get(split, self.published))


def _counts(training=None, validation=None, testing=None) -> dict[str, int | None]:
    return {"training": training, "validation": validation, "testing": testing}


_HARA = Sampling("random", 16, 1)  # 16 neighbouring frames, kenshohara/3D-ResNets-PyTorch
_DOWNSAMPLED = Sampling("random", 16, 2)  # every second frame, okankop/Efficient-3DCNNs's command for Jester
_SEGMENTS = Sampling("segments", 8, 1)  # a frame of each of 8 segments, IBM/action-recognition-pytorch

_CLASS_FOLDERS = ("<class>/<id>.mp4", "<subset>/<class>/<id>.mp4", "<class>/<id>/image_00001.jpg", "<subset>.lmdb")
_FLAT = ("<id>.webm", "<id>/00001.jpg", "<subset>/<id>/00001.jpg", "<subset>.lmdb")


def _kinetics(classes: int, published: dict) -> Dataset:
    files = (f"kinetics-{classes}_train.csv", f"kinetics-{classes}_val.csv", f"kinetics-{classes}_test.csv (optional)")
    name, title = f"kinetics{classes}", f"Kinetics-{classes}"
    return Dataset(name, title, classes, "kinetics", published, _HARA, files, _CLASS_FOLDERS)


_JESTER_PAIRS = (
    ("Swiping Left", "Swiping Right"),
    ("Sliding Two Fingers Left", "Sliding Two Fingers Right"),
    ("Turning Hand Clockwise", "Turning Hand Counterclockwise"),
)
_SOMETHING_PAIRS = (
    ("Pulling something from left to right", "Pulling something from right to left"),
    ("Pushing something from left to right", "Pushing something from right to left"),
    ("Turning the camera left while filming something", "Turning the camera right while filming something"),
)
_JSON_FILES = tuple(f"something-something-v2-{part}.json" for part in ("labels", "train", "validation"))
_CSV_FILES = tuple(f"something-something-v1-{part}.csv" for part in ("labels", "train", "validation"))

_ALL = (
    # Videos per subset: tables of arXiv:1808.01340 (Kinetics-400 and -600) and arXiv:1907.06987 (-700).
    # The lists in circulation are shorter, since videos disappear.
    _kinetics(400, _counts(246_245, 20_000, 40_000)),
    _kinetics(600, _counts(392_622, 30_000, 60_000)),
    _kinetics(700, _counts(545_317, 35_000, 70_000)),
    Dataset(  # half of the classes, their videos as in the lists of Kinetics-400
        "mini_kinetics", "Mini-Kinetics", 200, "kinetics", _counts(), _SEGMENTS,
        (*_kinetics(400, {}).files, "class_list"), _CLASS_FOLDERS, parent="kinetics400",
    ),
    Dataset(
        "ucf101", "UCF-101", 101, "ucf101", _counts(9_537, 3_783), _HARA,
        ("classInd.txt", "trainlist01.txt", "testlist01.txt"),
        ("<class>/<id>.avi", "<class>/<id>/image_00001.jpg", "<subset>.lmdb"), splits=3,
        # The lengths of the lists in UCF101TrainTestSplits-RecognitionTask; all 13,320 videos are in every split.
        published_by_split={2: _counts(9_586, 3_734), 3: _counts(9_624, 3_696)},
    ),
    Dataset(  # 70 training and 30 test videos of each class in each split, says the readme of the split files
        "hmdb51", "HMDB-51", 51, "hmdb51", _counts(3_570, 1_530), _HARA,
        ("<class>_test_split1.txt, one a class",),
        ("<class>/<id>.avi", "<class>/<id>/image_00001.jpg", "<subset>.lmdb"), splits=3,
    ),
    Dataset(  # instances of release 1.3, as activity-net.org/download.html states them; the test labels are withheld
        "activitynet", "ActivityNet 1.3", 200, "activitynet", _counts(15_410, 7_654, 5_044), _HARA,
        ("activity_net.v1-3.min.json",),
        ("v_<id>.mp4", "<id>.mp4", "v_<id>/image_00001.jpg", "<subset>/v_<id>.mp4"), unit="segments",
    ),
    Dataset(  # 148,092 videos, says the page of the data set
        "jester", "Jester", 27, "jester", _counts(118_562, 14_787, 14_743), _DOWNSAMPLED,
        ("classInd.txt, trainlist.txt, vallist.txt", "or jester-v1-labels.csv, -train.csv, -validation.csv"),
        ("<id>/00001.jpg", "<subset>.lmdb", "<id>.webm"), mirrored_pairs=_JESTER_PAIRS,
    ),
    Dataset(  # 108,499 videos, arXiv:1706.04261 and the page of the data set
        "something_v1", "Something-Something v1", 174, "something_v1", _counts(86_017, 11_522, 10_960), _SEGMENTS,
        _CSV_FILES, ("<id>/00001.jpg", "<subset>.lmdb", "<id>.webm"), mirrored_pairs=_SOMETHING_PAIRS,
    ),
    Dataset(  # 220,847 videos, the page of the data set
        "something_v2", "Something-Something v2", 174, "something_v2", _counts(168_913, 24_777, 27_157), _SEGMENTS,
        _JSON_FILES, _FLAT, mirrored_pairs=_SOMETHING_PAIRS,
    ),
    Dataset(
        "mini_something", "Mini-Something-Something v2", 87, "something_v2", _counts(), _SEGMENTS,
        (*_JSON_FILES, "class_list"), _FLAT, mirrored_pairs=_SOMETHING_PAIRS, parent="something_v2",
    ),
    Dataset(  # arXiv:1801.03150, the release with 339 classes
        "moments", "Moments in Time", 339, "moments", _counts(802_264, 33_900, 67_800), _SEGMENTS,
        ("moments_categories.txt", "trainingSet.csv", "validationSet.csv"),
        ("<class>/<id>.mp4", "training/<class>/<id>.mp4", "<subset>.lmdb"),
    ),
    Dataset(  # 100,000 and 10,000 videos of 200 classes, the page of the data set
        "mini_moments", "Mini-Moments in Time", 200, "moments", _counts(100_000, 10_000), _SEGMENTS,
        ("moments_categories.txt", "trainingSet.csv", "validationSet.csv", "class_list"),
        ("<class>/<id>.mp4", "training/<class>/<id>.mp4", "<subset>.lmdb"), parent="moments",
    ),
)  # fmt: skip
_BY_NAME = {dataset.name: dataset for dataset in _ALL}


def list_datasets() -> list[str]:
    """The names of all data sets."""
    return list(_BY_NAME)


def find_dataset(name: str) -> Dataset:
    """The data set called `name`. Raises ValueError with the nearest name, or all of them."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    plain = {re.sub(r"[^a-z0-9]", "", known): known for known in _BY_NAME}
    near = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, n=1, cutoff=0.6)
    hint = f"did you mean {plain[near[0]]!r}? All: " if near else "known are "
    raise ValueError(f"no data set {name!r}; {hint}{', '.join(_BY_NAME)}")


_MIRRORED = re.compile(
    r"(?:(?<![A-Za-z])(?:left|right|(?:counter[-_ ]?)?clockwise)|Left|Right|Counter[-_ ]?[Cc]lockwise|Clockwise)"
    r"(?![a-z])"
)
_TWIN = {"left": "right", "right": "left", "counterclockwise": "clockwise", "clockwise": "counterclockwise"}


def mirrored_name(name: str) -> str:
    """What a mirrored video of class `name` shows: the name with left and right, clockwise and counterclockwise
    exchanged wherever they are words of their own; the name itself if it has none of them."""

    def twin(match: re.Match) -> str:
        word = match.group(0)
        other = _TWIN[re.sub("[-_ ]", "", word.lower())]
        return other.capitalize() if word[0].isupper() else other

    return _MIRRORED.sub(twin, name)


def mirrored_names(classes: list[str], pairs: tuple[tuple[str, str], ...] = ()) -> dict[str, str]:
    """The class that a mirrored video of a class shows, where that is another one.

    Guessed from the words in the names where both twins are in `classes`; and known from the `pairs` of a catalogue
    entry also where one of them is not: the mini sets keep `Turning the camera right …` without its left one, and a
    mirrored video of that has no label. (Guessing there would go wrong: `pulling it right out` has no twin.)
    """
    names = set(classes)
    twins = {name: mirrored_name(name) for name in classes}
    found = {name: twin for name, twin in twins.items() if twin != name and twin in names}
    spelled = {plain_name(name): name for name in classes}
    for one, other in (*pairs, *((other, one) for one, other in pairs)):
        name = spelled.get(plain_name(one))
        if name is not None:
            underscores = "_" in name and " " not in name
            found[name] = spelled.get(plain_name(other), other.replace(" ", "_") if underscores else other)
    return found


def plain_name(name: str) -> str:
    """A class's name for comparing: published lists differ in capitals, underscores, brackets and stray punctuation at
    the end (the one of Mini-Kinetics ends in `yoga''.`)."""
    return re.sub(r"[\[\]]", "", name.casefold().replace("_", " ")).strip(" '\".,;")
