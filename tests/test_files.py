"""Reading JSON strictly."""

import json

import pytest

from actlib.files import parse_json, read_mapping


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
