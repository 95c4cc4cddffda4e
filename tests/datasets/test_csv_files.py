"""CSVs that people give: what is refused, with its line, and what is read as it is."""

import pandas as pd
import pytest

from actlib.datasets.csv_files import CsvFile
from actlib.datasets.errors import DataError
from actlib.files import write_csv


def rows(tmp_path, text: str | bytes, **how):
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(CsvFile(path, ["a", "b"], **how).rows())


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    found = rows(tmp_path, 'a,b\n\n1,"two\nlines, ""quoted"""\r\n  \n3,4\n')
    assert found == [(1, ["a", "b"]), (3, ["1", 'two\nlines, "quoted"']), (6, ["3", "4"])]
    assert rows(tmp_path, "a,b\n1,é\n".encode("utf-16")) == rows(tmp_path, "\ufeffa,b\n1,é\n") == [
        (1, ["a", "b"]), (2, ["1", "é"]),
    ]  # fmt: skip
    assert rows(tmp_path, 'a, b\n1, "2, 3"\n', skip_blanks=True)[1] == (2, ["1", "2, 3"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first line must name the columns a,b"),
        ("\n\n", "is empty"),
        ("a;b\n1;2\n", "separated by semicolons: save it with commas"),
        ("a,c\n1,2\n", r"no column b in its first line \(found: a, c\)"),
        ("a,b,b\n1,2,3\n", "column b stands there more than once"),
        ("a,b\n1,2,3\n4,5,6\n", "line 2: 3 fields, expected 2 .*\n.* line 3: 3 fields"),
        ("a,b\n1,2\n3\n", "line 3: 1 fields, expected 2"),
        ('a,b\n1,"2\n3,4\n', "line 2: a quotation mark without its other half"),
        ('a,b\n1,"2"x\n', "line 2: a quotation mark without its other half, or text behind it"),
        ('a,b\n1,"2\n3,4,5,6,7,8,9\n1",5\n', "line 2: a quotation mark that is not closed in its line"),
        ("a,b\n1,caf\xe9\n".encode("latin-1"), "line 2: byte 0xe9 is not UTF-8"),
        ("a,b\n1,\0\n", "line 2: holds a NUL"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as error:
        rows(tmp_path, text)
    assert "list.csv" in str(error.value)


def test_what_is_written_is_read_as_it_was(tmp_path):
    names = ["a\rb", "a\r\nb", "a\nb", " a ", '"', "NA", "", "😀,;'", "\u2028", "\x85"]
    path = write_csv(tmp_path / "list.csv", pd.DataFrame({"a": names, "b": range(len(names))}))
    assert [fields[0] for _, fields in CsvFile(path, ["a", "b"]).rows()][1:] == names
    plain = write_csv(tmp_path / "plain.csv", pd.DataFrame({"a": ["x"], "b": ["\udce9"]}))
    assert plain.read_text(encoding="utf-8") == "a,b\nx,\\udce9\n"
