"""Where each data set is handed out, under which licence, and what to cite: data, in `addresses.yaml`.

The environment's ACTLIB_ADDRESSES may name another file in its place: of a mirror in one's own house, say.
"""

import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from actlib.datasets.errors import DataError, reading
from actlib.datasets.vocabulary import SUBSETS
from actlib.files import read_text

VARIABLE = "ACTLIB_ADDRESSES"
_ARCHIVE = re.compile(r"\.(?:tar\.(?:gz|bz2|xz)|tgz|tar|zip|rar)$", re.IGNORECASE)


@dataclass(frozen=True)
class Remote:
    """A file to be fetched: its name here; its `urls`, tried in turn; what is published of it (0 bytes, no checksum:
    nothing is); the `subset` that it belongs to, "" for all; `instead`: a file that has the same content, for who
    cannot unpack or get this one."""

    file: str
    urls: tuple[str, ...] = ()
    bytes: int = 0
    md5: str = ""
    sha256: str = ""
    subset: str = ""
    instead: "Remote | None" = None

    __pydantic_config__ = {"extra": "forbid"}

    @property
    def is_archive(self) -> bool:
        return bool(_ARCHIVE.search(self.file))

    @property
    def is_rar(self) -> bool:
        return self.file.lower().endswith(".rar")

    @property
    def stem(self) -> str:
        """Its name at its origin, without suffix: some archives are called after the one class that they hold."""
        return stem_of(unquote(urlsplit(self.urls[0]).path) if self.urls else self.file)


@dataclass(frozen=True)
class Addresses:
    """One data set's. `lists` and `archives` are fetched; `parts` are addresses, by subset, of text files that name an
    archive's address a line. `size`: of all archives, roughly. `given`: the archive whose address a person is sent;
    `how`: what he does for that, or for a data set without addresses. `page`: where all this stands."""

    name: str
    page: str
    license: str
    citation: str
    lists: tuple[Remote, ...] = ()
    archives: tuple[Remote, ...] = ()
    parts: dict[str, str] = field(default_factory=dict)
    size: int = 0
    given: str = ""
    how: str = ""
    note: str = ""

    __pydantic_config__ = {"extra": "forbid"}

    @property
    def is_open(self) -> bool:
        """Whether anybody can fetch it."""
        return bool(self.archives or self.parts)

    @property
    def terms(self) -> str:
        """Licence and citation as a text of four lines."""
        return f"Licence: {self.license}\nPlease cite: {self.citation}\nFrom: {self.page}\n"


def stem_of(path: str) -> str:
    """An archive's name without folders and suffixes: `yoga` of `val/yoga.tar.gz`."""
    return _ARCHIVE.sub("", path.replace("\\", "/").rpartition("/")[2])


def is_archive(path: str) -> bool:
    """Whether a name is that of an archive."""
    return bool(_ARCHIVE.search(path))


def all_addresses() -> dict[str, Addresses]:
    """Those of all data sets, by name. Raises DataError for a file of a user's that is none of addresses."""
    return _read(Path(os.environ.get(VARIABLE) or Path(__file__).with_name("addresses.yaml")))


@cache
def _read(path: Path) -> dict[str, Addresses]:
    import yaml
    from pydantic import TypeAdapter, ValidationError

    with reading(path, f"{VARIABLE} must name a file like actlib/datasets/addresses.yaml"):
        try:
            entries = yaml.safe_load(read_text(path))
            named = {name: {"name": name, **entry} for name, entry in entries.items()}
            found = TypeAdapter(dict[str, Addresses]).validate_python(named)
        except (yaml.YAMLError, AttributeError, TypeError, ValidationError) as error:
            raise ValueError(f"not a file of addresses ({error})") from error
        for each in found.values():
            _check(each)
    return found


def _check(entry: Addresses) -> None:
    remotes = [remote for remote in (*entry.lists, *entry.archives)]
    remotes += [remote.instead for remote in remotes if remote.instead]
    urls = [url for remote in remotes for url in remote.urls] + list(entry.parts.values())
    if wrong := [url for url in urls if not re.match(r"https?://", url)]:
        raise ValueError(f"{entry.name}: {wrong[0]}: no address of the web")
    if wrong := [each.subset for each in remotes if each.subset and each.subset not in SUBSETS] or (
        [each for each in entry.parts if each not in SUBSETS]
    ):
        raise ValueError(f"{entry.name}: subset {wrong[0]}: expected one of {', '.join(SUBSETS)}")
    if wrong := [each.file for each in remotes if not re.fullmatch(r"[\w][\w.+-]*", each.file)]:
        raise ValueError(f"{entry.name}: file {wrong[0]}: no plain name of a file")


def find_addresses(name: str) -> Addresses:
    """Those of the data set called `name`, one of the catalogue's. Raises DataError where the file has none."""
    found = all_addresses()
    if name not in found:
        where = os.environ.get(VARIABLE) or "addresses.yaml"
        raise DataError(f"{where}: nothing about {name}; it has {', '.join(found)}")
    return found[name]


def terms_of(name: str) -> tuple[str, str]:
    """(licence, citation) of a data set of the catalogue; empty where the file of addresses has nothing about it."""
    entry = all_addresses().get(name)
    return (entry.license, entry.citation) if entry else ("", "")
