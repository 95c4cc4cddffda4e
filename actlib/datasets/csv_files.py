"""CSV files whose first line names their columns: every one that a user gives is checked here before it is read.

Each line must have as many fields as the first, and each quotation mark its other half: pandas would shift the fields
of the former, and swallow what follows the latter. A field in quotation marks may hold commas and line breaks.
"""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice, repeat
from pathlib import Path

from actlib.datasets.errors import DataError, raise_problems, reading
from actlib.files import read_text, text_coding
from actlib.messages import listed

_LINES = 20_000  # that are looked at together
_SWALLOWED = 5  # commas beside a line break in one field: no name has them, what follows an open quotation mark has


class CsvFile:
    """A CSV that has the columns `needed`. `header`: all columns; `coding`: of its text. `skip_blanks`: those after a
    comma do not belong to a field without quotation marks.

    Raises DataError for a file that is no text, is empty or lacks a column, with the `hint`; and with all lines that
    have other fields than the first.
    """

    def __init__(self, path: str | Path, needed: Sequence[str], *, skip_blanks: bool = False, hint: str = ""):
        self.path, self._skip_blanks = Path(path), skip_blanks
        with reading(path):
            read_text(path)  # its lines are read one after another, but what is no text is refused as such
            self.coding = text_coding(path)
        self.header = next(self.rows(), (1, []))[1]
        if not self.header:
            raise DataError(f"{path}: is empty; its first line must name the columns {','.join(needed)}")
        if missing := [name for name in needed if name not in self.header]:
            if len(self.header) == 1 and ";" in self.header[0]:
                hint = "Its fields are separated by semicolons: save it with commas."
            there = f"(found: {listed(self.header, 12)})"
            raise DataError(f"{path}: no column {', '.join(missing)} in its first line {there}. {hint}".rstrip())
        if doubled := sorted({name for name in self.header if name in needed and self.header.count(name) > 1}):
            raise DataError(f"{path}: line 1: column {listed(doubled)} stands there more than once; keep one")
        if not self._is_plain():
            raise_problems(path, self._problems())

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """(line, fields) of each row, that of the columns' names too; lines that are blank are left out."""
        with self._open() as file:
            reader, line = csv.reader(file, strict=True, skipinitialspace=self._skip_blanks), 0
            try:
                for fields in reader:
                    first, line = line + 1, reader.line_num
                    if len(fields) > 1 or "".join(fields).strip():
                        yield first, fields
            except csv.Error as error:
                what = "a quotation mark without its other half, or text behind it"
                raise DataError(f"{self.path}: line {line + 1}: {what} ({error})") from None

    def lines(self) -> list[int]:
        """The line of each row after the first, for messages: the file is read once more."""
        return [line for line, _ in self.rows()][1:]

    def _open(self):
        return self.path.open(encoding=self.coding, newline="")

    def _is_plain(self) -> bool:
        """Whether each line is a row with as many fields as the first: at a tenth of the price of `rows`."""
        width = len(self.header)

        def is_row(line: str) -> bool:
            if '"' not in line:
                return line.count(",") == width - 1
            try:
                return [len(fields) for fields in csv.reader([line], strict=True)] == [width]
            except csv.Error:
                return False

        with self._open() as file:
            while lines := list(islice(file, _LINES)):
                usual = '"' not in "".join(lines) and set(map(str.count, lines, repeat(","))) == {width - 1}
                if not usual and not all(map(is_row, lines)):
                    return False
        return True

    def _problems(self) -> list[str]:
        """What is wrong with the lines, up to one that cannot be read."""
        width, found = len(self.header), []
        expected = f"expected {width} ({listed(self.header, 12)}); one with a comma needs quotation marks"
        try:
            for line, fields in self.rows():
                if any("\n" in field and field.count(",") >= _SWALLOWED for field in fields):
                    found.append(f"line {line}: a quotation mark that is not closed in its line")
                elif len(fields) != width:
                    found.append(f"line {line}: {len(fields)} fields, {expected}")
        except DataError as error:
            found.append(str(error).removeprefix(f"{self.path}: "))
        return found
