"""Reading texts and JSON strictly; showing values in messages."""

import json

import pytest

from actlib.files import parse_json, read_mapping, read_text
from actlib.messages import shown


def test_doubled_keys_are_named_and_the_last_one_counts():
    value, doubled = parse_json('{"a": 1, "b": {"c": 1, "c": 2}, "a": 3, "d": [{"e": 0}, {"e": 0}]}')
    assert value == {"a": 3, "b": {"c": 2}, "d": [{"e": 0}, {"e": 0}]} and sorted(doubled) == ["a", "c"]
    with pytest.raises(json.JSONDecodeError) as error:
        parse_json('{"a": 1,\n,}')
    assert error.value.lineno == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "^expected a mapping, found a list$"),
        ("null", "^expected a mapping, found nothing$"),
        ("1", "^expected a mapping, found an int$"),
        ('{"a": 1, "a": 1}', "^a: stands there more than once$"),
    ],
)
def test_what_is_no_mapping_is_told_without_the_file(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_mapping(tmp_path / "x.json")
    (tmp_path / "x.json").write_text('{"a": "é"}', encoding="utf-8")
    assert read_mapping(tmp_path / "x.json") == {"a": "é"}


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_in_the_usual_unicode_codings_are_read(tmp_path, coding):
    (tmp_path / "x.txt").write_bytes("Übung 1\r\n日本".encode(coding))
    assert read_text(tmp_path / "x.txt") == "Übung 1\r\n日本"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("eins\nÜbung".encode("latin-1"), "line 2: byte 0xdc is not UTF-8 .*save it as UTF-8"),
        ("Übung".encode("utf-16")[:-1], "not whole UTF-16.*save it as UTF-8"),
        ("a\nb".encode("utf-16-le"), "line 1: holds a NUL character.*save it as UTF-8"),
        (b"a\n\xff\xd8\xff\xe0", "line 2: byte 0xff is not UTF-8"),
    ],
)
def test_other_bytes_are_refused_with_line_and_fix(tmp_path, data, message):
    (tmp_path / "x.txt").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_text(tmp_path / "x.txt")


def test_a_value_is_never_shown_longer_than_a_few_lines():
    bomb = ["lol"] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    for value in ("x" * 10**6, list(range(10**6)), bomb, {str(n): bomb for n in range(99)}, 10**3000, b"x" * 10**6):
        assert len(shown(value)) <= 201
    assert shown("a b") == "'a b'" and shown([1, 2.5, None]) == "[1, 2.5, None]"


def test_a_huge_file_that_is_no_text_is_not_read_whole(tmp_path):
    with (tmp_path / "video.mp4").open("wb") as file:
        file.truncate(1 << 36)
    with pytest.raises(ValueError, match="line 1: holds a NUL character"):
        read_text(tmp_path / "video.mp4")


def test_json_with_what_no_file_can_hold(tmp_path):
    for text, what in (('["\\u0000"]', "u0000"), ('[\n"\\ud83d"]', "line 2"), ("[" * 100_000, "too deep")):
        with pytest.raises(ValueError, match=what):
            parse_json(text)
    assert parse_json('["\\ud83d\\ude00", "\\\\u0000", "\\\\\\ud83d\\ude00"]')[0] == ["😀", "\\u0000", "\\😀"]
