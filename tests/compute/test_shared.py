"""What processes of one machine share: made once, mapped by all, gone from the disk; an error is everybody's."""

import os
import tempfile
from pathlib import Path

import pytest
import torch
from processes import on_ranks

from actlib.compute.processes import ALONE
from actlib.compute.shared import shared_on_node
from actlib.datasets.dataset_info import read_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.table import read_table, rows_of
from actlib.files import DiskFull
from actlib.loops.videos import read_videos


def as_rank(ranks, folder, table):
    tempfile.tempdir = str(folder)
    made = []

    def numbers():
        made.append(True)
        return {"by": os.getpid(), "numbers": torch.arange(100_000)}

    found = shared_on_node(numbers, ranks)
    answer = {"made": len(made), "by": found["by"], "sum": int(found["numbers"].sum()), "words": []}
    maps = Path("/proc/self/maps").read_text().splitlines()
    answer["mapped"] = [line.split()[4] for line in maps if "shared.pt" in line]
    ranks.wait()
    answer["left"] = os.listdir(folder)
    ranks.wait()

    class Ours(Exception):
        """One that another process cannot open."""

    for error in (DataError("table.csv: line 3: no such ä"), DiskFull("/tmp/x", 10, 5), Ours("what it says")):

        def fails(error=error):
            if ranks.rank == 2:
                raise error
            return 1

        try:
            shared_on_node(fails, ranks)
        except Exception as caught:
            answer["words"].append((type(caught).__name__, str(caught)))
    info, rows, validation = read_videos(str(table), ["validation", "training"], ranks)
    answer["classes"], answer["videos"] = info.classes, [videos_of(each) for each in rows]
    answer["table"] = None if validation is None else validation["video_id"].tolist()
    ranks.wait()
    return answer


def videos_of(rows):
    numbers = (rows.labels.tolist(), rows.begins.tolist(), rows.ends.tolist())
    return [rows.paths[each] for each in range(len(rows))], *numbers, rows.classes


@pytest.fixture(scope="module")
def answers(tmp_path_factory, motion_table):
    """What each of three processes on two machines, which are one here, saw."""
    folder = tmp_path_factory.mktemp("shared")
    return on_ranks(3, as_rank, tmp_path_factory.mktemp("ranks"), folder, motion_table, machines=(2, 1))


def test_each_machine_makes_it_once_and_all_map_its_file(answers):
    assert [each["made"] for each in answers] == [1, 0, 1]
    assert answers[0]["by"] == answers[1]["by"] != answers[2]["by"]
    assert {each["sum"] for each in answers} == {sum(range(100_000))}
    assert answers[0]["mapped"] and answers[0]["mapped"] == answers[1]["mapped"] != answers[2]["mapped"]
    assert [each["left"] for each in answers] == [[]] * 3


def test_an_error_of_one_is_raised_by_all_in_its_words(answers):
    full = str(DiskFull("/tmp/x", 10, 5))
    assert [each["words"] for each in answers] == [
        [("DataError", "table.csv: line 3: no such ä"), ("DiskFull", full), ("RuntimeError", "what it says")]
    ] * 3


def test_the_videos_are_those_of_the_table(answers, motion_table):
    table = read_table(motion_table)
    info, rows, validation = read_videos(str(motion_table), ["validation", "training"])
    expected = [videos_of(each) for each in rows]
    assert expected[0][0] == rows_of(table, "validation")["path"].tolist()
    assert expected[1][0] == rows_of(table, "training")["path"].tolist()
    assert info.classes == read_dataset_info(motion_table, table).classes
    for each in answers:
        assert each["classes"] == info.classes and each["videos"] == expected
    assert [each["table"] for each in answers] == [validation["video_id"].tolist(), None, None]


def test_one_alone_gets_what_was_made():
    made = object()
    assert shared_on_node(lambda: made, ALONE) is made
