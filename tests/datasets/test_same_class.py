"""Names that mean the same class, whatever their spelling."""

import pytest

from actlib.datasets.errors import DataError
from actlib.datasets.same_class import ClassNames, loose_name, plain_name, respelled, same_classes, spelled_twice


def test_case_blanks_underscores_and_hyphens_make_no_class():
    same = ["Swiping Up", "Swiping_Up", "swiping-up", "SwipingUp", " swiping  up "]
    assert len({plain_name(name) for name in same}) == 1
    assert loose_name("adult+female+singing") == loose_name("Adult Female Singing") and loose_name("yoga''.") == "yoga"
    assert plain_name("Turning Hand Counter-clockwise") == plain_name("Turning Hand Counterclockwise")
    # Not the same: another sign, another number, another word.
    apart = ["C", "C+", "C++", "n", "n.", "11_2", "1_12", "112", "+", "-", "_", "Swiping Up", "Swiping Down"]
    assert len({plain_name(name) for name in apart}) == len(apart)
    assert same_classes(["a b", "c"], ["A_B", "c"]) and not same_classes(["a b", "c"], ["c", "a b"])
    assert not same_classes(["a b", "a_b"], ["a_b", "a b"]) and not same_classes(["a"], [])
    assert spelled_twice(["a b", "c", "A_B", "a b", "a-b"]) == [("a b", "A_B"), ("a b", "a-b")]


def test_an_exact_match_wins_and_two_that_could_be_meant_are_named():
    known = ClassNames(["Thumb Up", "Thumb_Up", "Stop Sign"], "classInd.txt")
    assert [known.find(name) for name in ("Thumb Up", "Thumb_Up", "stop_sign", "Thumb")] == [
        "Thumb Up", "Thumb_Up", "Stop Sign", None,
    ]  # fmt: skip
    with pytest.raises(DataError, match="class 'thumb-up': 'Thumb Up' and 'Thumb_Up' of classInd.txt differ in case"):
        known.find("thumb-up")


def test_one_list_is_spelled_as_the_other():
    network = ["Doing_other_things", "Stop_Sign", "Thumb_Up", "never seen"]
    assert respelled(network, ["Thumb Up", "Stop_Sign", "another"]) == [
        "Doing_other_things", "Stop_Sign", "Thumb Up", "never seen",
    ]  # fmt: skip
    assert respelled(["A B", "a_b"], ["a_b", "A B"]) == ["A B", "a_b"]  # each has its own
    for wanted in (["Thumb Up", "Thumb_Up"], ["Thumb Up", "thumb up"]):
        with pytest.raises(DataError, match=f"'{wanted[1]}'|'{wanted[0]}'.* of t.csv") as error:
            respelled(["Thumb_Up"], wanted, "the network", "t.csv")
        assert all(repr(name) in str(error.value) for name in wanted) and "t.csv" in str(error.value)
    with pytest.raises(DataError, match="'A B' and 'a_b' of the network"):
        respelled(["A B", "a_b"], ["a-b"], "the network")
