"""Messages: short whatever they name, printable whatever the names, and worked out only where they are shown."""

import time

import pytest

from actlib.messages import PROBLEMS_SHOWN, cut, did_you_mean, is_utf8, listed, misfit, printable, problems_in_words


def test_problems_are_worked_out_only_where_they_are_shown():
    asked = []
    problems = [lambda number=number: asked.append(number) or f"problem {number}" for number in range(1000)]
    text = problems_in_words("a.csv", problems)
    assert asked == list(range(PROBLEMS_SHOWN)) and text.splitlines()[0] == "a.csv: 1,000 problems"
    assert text.splitlines()[-1] == f"  … and {1000 - PROBLEMS_SHOWN} more"


def test_no_message_is_longer_than_a_screen():
    long = "x" * 3_000_000
    begin = time.process_time()
    assert len(problems_in_words("a.csv", [long, f"one\n{long}"])) < 900
    assert len(problems_in_words("a.csv", [long] * 50)) < 4000
    assert len(listed([long] * 50)) < 1200 and len(listed([long] * 50, quote=True)) < 1200
    assert did_you_mean(long, [long, "a"]) == "" and len(did_you_mean("ab", ["abc", "abd" + long])) < 200
    assert len(misfit("results", "a number", {long: [long] * 1000})) < 400
    assert time.process_time() - begin < 5  # of a fifth of a second; it was minutes once


def test_names_that_are_not_utf8_can_be_printed():
    assert printable("café 😀") == "café 😀"
    assert printable("caf\udce9") == "caf\\xe9" and printable("\ud83d") == "\\ud83d"
    assert [is_utf8(name) for name in ("a", "é😀", "caf\udce9")] == [True, True, False]
    assert cut("a\nb\r\udce9") == "a\\nb\\r\\xe9" and cut("abc", 2) == "ab…"


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, "nothing"), ("a", "'a'"), (2.5, "2.5"), (True, "True"), ([], "a list: []"), ({"a": 1}, "a dict: {'a': 1}")],
)
def test_what_was_expected_where(value, found):
    assert misfit("labels[0]", "a name", value) == f"labels[0]: expected a name, found {found}"
