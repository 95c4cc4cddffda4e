"""Which table a file of weights is measured on, how much of it has to be there, and what a person sees of it."""

import matplotlib
import pandas as pd
import pytest

from actlib.analysis.plots import published_and_reproduced
from actlib.analysis.widgets import FilteredTable
from actlib.datasets.dataset_info import DatasetInfo, write_dataset_info
from actlib.datasets.table import write_table
from actlib.ledger.book import PATH
from actlib.ledger.data import find_tables, published_videos, table_of
from actlib.ledger.reproduce import coverage
from actlib.ledger.table import for_reading, read_ledger, rows_on
from actlib.models import find_published

matplotlib.use("Agg")
UCF = "resnext-101-kinetics-ucf101_split1.pth"


def data_set(folder, title, classes=101, videos=3, subset="validation", storage="original") -> None:
    names = list(find_published(UCF).classes)[:classes]
    rows = {"video_id": [f"v{number}" for number in range(videos)], "path": "v.mp4", "label": names[0]}
    write_table(pd.DataFrame(rows).assign(subset=subset), folder / "table.csv")
    write_dataset_info(DatasetInfo(title, title, names, storage=storage), folder)


def test_a_table_is_found_by_its_data_sets_name_and_classes(tmp_path):
    data_set(tmp_path / "a" / "few", "UCF-101, split 1")
    data_set(tmp_path / "a" / "more", "UCF-101, split 1", videos=5)
    data_set(tmp_path / "a" / "unlike", "UCF-101, split 1", classes=100, videos=9)
    data_set(tmp_path / "a" / "other", "UCF-101, split 2", videos=9)
    data_set(tmp_path / "a" / "flow", "UCF-101, split 1", videos=9, storage="flow")
    data_set(tmp_path / "a" / "learnt", "UCF-101, split 1", videos=9, subset="training")
    data_set(tmp_path / "a" / "jester", "Jester", classes=27)
    write_table(pd.DataFrame(columns=["path"]), tmp_path / "a" / "bare" / "table.csv")
    (tmp_path / "a" / "jester" / "dataset.json").write_text("{")
    tables, problems = find_tables(["a/*/table.csv", "a/few"], tmp_path)
    assert sorted(each.path.split("/")[1] for each in tables) == ["few", "flow", "more", "other", "unlike"]
    assert len(problems) == 1 and "a/jester/dataset.json: not valid JSON" in problems[0]
    row = find_published(UCF)
    assert table_of(row, tables).path == "a/more/table.csv"
    assert table_of(find_published("jester_squeezenet_RGB_16_best.pth"), tables) is None


@pytest.mark.parametrize(
    ("dataset", "decoded", "listed", "expected"),
    [
        ("Jester", 14, 14, ("partial", "14 of 14,787")),
        ("Jester", 14_787, 14_787, ("measured", "14,787 of 14,787")),
        ("Kinetics-400", 18_434, 19_796, ("measured", "18,434 of 19,796")),
        ("Kinetics-400", 17_999, 18_000, ("partial", "17,999 of 18,000")),
        ("UCF-101 split 1", 3_405, 3_783, ("measured", "3,405 of 3,783")),
        ("UCF-101 split 1", 3_404, 3_783, ("partial", "3,404 of 3,783")),
        ("nobody's", 9, 10, ("measured", "9 of 10")),
    ],
)
def test_a_figure_on_few_videos_is_none(dataset, decoded, listed, expected):
    assert coverage(dataset, decoded, listed) == expected


def test_every_data_set_with_figures_is_known_with_its_number_of_videos(root):
    ledger = read_ledger(root / PATH)
    named = set(ledger["dataset"][ledger["top1"].notna() & (ledger["clip"] != "images")])
    assert len(named) >= 7 and not [each for each in named if not published_videos(each)]


def test_the_ledger_as_a_person_sees_it(root, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    ledger = read_ledger(root / PATH)
    browser = FilteredTable(for_reading(ledger), {"data set": "Jester", "state": ""}, interactive=True)
    assert len(browser.rows) == 18
    assert "shufflenet width_mult=0.5" in browser.html.value and "89.23" in browser.html.value
    browser.choices["data set"].value = "Kinetics-400"
    browser.choices["state"].value = "not run: weights need a person"
    assert len(browser.rows) < (ledger["dataset"] == "Kinetics-400").sum() and "Jester" not in browser.html.value
    with pytest.raises(ValueError, match="'Kinetics-40': no published .*; did you mean Kinetics-400"):
        rows_on(ledger, "Kinetics-40")

    rows = rows_on(ledger, "jester").assign(state="not run", ours_top1=float("nan"))
    rows.loc[0, ["state", "ours_top1", "difference", "videos"]] = "partial", 100.0, 10.77, "14 of 14,787"
    ax = published_and_reproduced(rows)
    faces = [each.get_facecolors()[0][:3].min() for each in ax.collections if len(each.get_offsets())]
    assert faces == [1.0] and ax.get_ylim()[1] < 97, "nothing filled, and no point for what few videos gave"
    assert "1 measured on part of the videos, and not drawn" in ax.get_xlabel()
    labels = [each.get_window_extent() for each in ax.texts]
    assert len(labels) == 18 and not any(one.overlaps(other) for one in labels for other in labels if one is not other)
