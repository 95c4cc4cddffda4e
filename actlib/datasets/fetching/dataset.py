"""Fetching a data set: its lists, its archives, several at a time, and of these the videos that are wanted.

    <lists>/                  the lists, as their authors publish them
    <videos>/<class>/<file>   the videos, each under its temporary name until it is whole
    <videos>/.fetch/          archives while they are at work, and fetched.jsonl: which have been gone through
    <videos>/LICENCE.txt      licence and citation; while it is there they are not shown again

An archive's videos are committed one by one, then the archive is noted in fetched.jsonl, then it is removed: a fetch
that was killed at any moment goes on from there.
"""

import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from actlib import locks
from actlib.datasets.addresses import Addresses, Remote, find_addresses, is_archive, stem_of
from actlib.datasets.catalog import find_dataset
from actlib.datasets.errors import DataError
from actlib.datasets.fetching.archives import ArchiveError, Member, members
from actlib.datasets.fetching.bar import Bar
from actlib.datasets.fetching.choice import Choice, read_classes
from actlib.datasets.fetching.remotes import bring, came, parts_of, sizes_of, usable
from actlib.datasets.prepare.journal import Journal
from actlib.datasets.table import VIDEO_SUFFIXES
from actlib.downloads import DownloadError
from actlib.files import TEMPORARY, DiskFull, atomic_path, free_bytes, in_bytes, write_text
from actlib.progress import told_if_slow

WORK, TERMS = ".fetch", "LICENCE.txt"
SUBSETS = ("training", "validation")  # by default: the labels of most test sets are withheld
_LISTS = (".txt", ".csv", ".json")


class _Stopped(Exception):
    """A download that is not needed any more."""


@dataclass
class Fetched:
    """What a fetch left: videos that are `kept` of those `wanted`, and the archives that did not come, in words."""

    kept: int
    wanted: int
    classes: list[str]
    failed: list[str] = field(default_factory=list)


def fetch(
    name: str,
    videos: str | Path,
    lists: str | Path,
    *,
    subsets: Sequence[str] = SUBSETS,
    classes: Sequence[str] = (),
    limit: int | None = None,
    workers: int = 4,
    archive: str = "",
    keep_archives: bool = False,
) -> Fetched:
    """Fetch the data set `name` of the catalogue: its lists into the folder `lists`, its videos into `videos`.

    Of `subsets` and `classes` (names, or a file of names; () are all) at most `limit` videos a class and subset are
    kept; of a mini set its `classes` are needed. `workers` archives are fetched at once. `archive`: address or path of
    the archive that a person was sent. Archives that do not come or are damaged are told and left out, the others
    still arrive.

    Raises DataError where only a person can fetch it, or the lists do not come or cannot be used; DiskFull, with
    numbers, before any archive is fetched; Locked where another process fetches into `videos`.
    """
    if classes and (parent := find_dataset(name).parent):  # a mini set is some classes of another one
        name = parent
    entry, videos, lists = find_addresses(name), Path(videos), Path(lists)
    archives = _archives_of(entry, videos, lists, archive)
    archives = usable([each for each in archives if each.subset in ("", *subsets)])
    given = usable([each for each in entry.lists if each.subset in ("", "training", "validation", *subsets)])
    work = videos / WORK
    with locks.take(work):
        _show_terms(entry, videos)
        _clean(videos)
        journal = Journal(work / "fetched.jsonl", "archive")
        try:
            for remote in given:
                _bring_list(remote, lists, work, journal)
            if entry.given:
                _bring_given_lists(archives[0], lists, work, journal)
            parts = [_bring_parts(subset, url, work) for subset, url in entry.parts.items() if subset in subsets]
        except (DownloadError, ArchiveError) as error:
            raise DataError(f"{find_dataset(name).title}: {error}") from error
        with told_if_slow("reading the lists, and what is there already"):
            choice = Choice(name, lists, tuple(subsets), read_classes(list(classes)), limit)
            choice.keep_what_is_in(videos)
        all_parts = [part for some in parts for part in some]
        left = [each for each in (*archives, *all_parts) if _has_more(each, choice, journal)]
        run = _Run(videos, work, choice, journal, keep_archives, given=archive)
        if left and not choice.is_complete:
            run.check_disk(left, entry, workers)
            run.go(left, workers, name)
        return Fetched(len(choice.kept), choice.wanted, choice.classes, run.failed)


def _archives_of(entry: Addresses, videos: Path, lists: Path, archive: str) -> list[Remote]:
    """The archives, without the parts. Raises DataError where only a person can fetch them."""
    title = find_dataset(entry.name).title
    if archive and not (entry.given or len(entry.archives) == 1 and not entry.parts):
        raise DataError(f"{title}: comes in several archives; it takes none by address or path ({archive})")
    if archive:
        address = archive.startswith(("http://", "https://"))
        if not address and not os.path.isfile(archive):
            raise DataError(f"{archive}: neither an address nor a file")
        file = entry.given or entry.archives[0].file
        return [Remote(file, (archive,)) if address else Remote(os.path.abspath(archive))]
    if entry.is_open:
        return list(entry.archives)
    known = find_dataset(entry.name)
    raise DataError(
        f"{title} cannot be fetched by a program: {entry.page}\n{entry.how}.\nThen put the lists "
        f"({'; '.join(known.files)}) into {lists} and the videos ({' or '.join(known.layouts)}) below {videos}: "
        "notebook 01 reads them there"
    )


def _show_terms(entry: Addresses, videos: Path) -> None:
    path = videos / TERMS
    if not path.is_file():
        title = find_dataset(entry.name).title
        note = f"{entry.note}\n" if entry.note else ""
        print(f"{title}\n{entry.terms}{note}", flush=True)
        write_text(path, f"{title}\n{entry.terms}{note}")


def _clean(videos: Path) -> None:
    """Remove what killed fetches left under temporary names."""
    for folder in [videos / WORK, *(path for path in videos.iterdir() if path.is_dir())]:
        for path in folder.glob(f"{TEMPORARY}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _bring_list(remote: Remote, lists: Path, work: Path, journal: Journal) -> None:
    """Fetch a list, or an archive of lists, which are written side by side into `lists`."""
    if not remote.is_archive:
        bring(remote, lists)
    elif not _has_lists(remote.file, lists, journal):
        path = bring(remote, work)
        journal.add({"archive": remote.file, "lists": _lists_of(path, lists)})
        path.unlink()


def _bring_given_lists(remote: Remote, lists: Path, work: Path, journal: Journal) -> None:
    """Write the lists that lie beside the videos in a person's archive, which stays for these."""
    if not _has_lists(key := f"lists of {remote.file}", lists, journal):
        journal.add({"archive": key, "lists": _lists_of(bring(remote, work), lists)})


def _has_lists(key: str, lists: Path, journal: Journal) -> bool:
    names = journal.entries.get(key, {}).get("lists")
    return bool(names) and all((lists / each).is_file() for each in names)


def _lists_of(path: Path, lists: Path) -> list[str]:
    """Write the lists that are in an archive. Returns their names."""
    found = []
    for member in members(path):
        if member.path.suffix.lower() in _LISTS and not member.path.name.startswith("."):
            with atomic_path(lists / member.path.name) as temporary:
                member.copy_to(temporary)
            found.append(member.path.name)
    if not found:
        raise ArchiveError(f"{path}: no lists in it ({', '.join(_LISTS)})")
    return found


def _bring_parts(subset: str, url: str, work: Path) -> list[Remote]:
    return parts_of(subset, bring(Remote(f"{subset}_parts.txt", (url,)), work))


def _has_more(remote: Remote, choice: Choice, journal: Journal) -> bool:
    known = journal.entries.get(remote.file)
    return not choice.leaves_out(remote.stem) and not (known and choice.covered_by(known))


class _Run:
    """Archives that come several at a time, and are unpacked in their order, so that a limit keeps the same videos
    whoever is faster."""

    def __init__(self, videos: Path, work: Path, choice: Choice, journal: Journal, keep_archives: bool, given: str):
        self.videos, self.work, self.choice, self.journal = videos, work, choice, journal
        self.keep_archives, self.failed, self._stop = keep_archives, [], threading.Event()
        self.given = os.path.abspath(given)  # a user's own file stays where it is

    def check_disk(self, left: list[Remote], entry: Addresses, workers: int) -> None:
        """Say what is to come, and raise DiskFull where the disk has no room for the videos that stay, and the archives
        that are there at the same time."""
        with told_if_slow(f"asking how large {len(left):,} archives are"):
            sizes = sizes_of(left, max(workers, 8))
        if not sizes and entry.size:
            sizes = dict.fromkeys((each.file for each in left), entry.size // len(left))
        mean = sum(sizes.values()) // max(1, len(sizes))
        self.sizes = {each.file: sizes.get(each.file, mean) for each in left}
        total = sum(self.sizes.values())
        share = (self.choice.wanted - len(self.choice.kept)) / self.choice.listed_in([each.stem for each in left])
        kept = int(total * min(1.0, share))
        largest = sorted(self.sizes.values(), reverse=True)
        aside = total if self.keep_archives else sum(largest[:workers])
        there = sum(came(self.work / each.file) for each in left)
        coming = f"to come: {in_bytes(total)} in {len(left):,} archive{'s' if len(left) > 1 else ''}"
        print(f"{coming}; about {in_bytes(kept)} of videos will stay", flush=True)
        if (need := kept + aside - there) > (free := free_bytes(self.videos)):
            raise DiskFull(self.videos, need, free, "No archive was fetched")

    def go(self, left: list[Remote], workers: int, name: str) -> None:
        there = {each.file: done for each in left if (done := came(self.work / each.file))}
        total = 0 if self.choice.limit is not None else sum(self.sizes.values())  # it may end long before
        self.bar = Bar(name, total, there)
        with ThreadPoolExecutor(workers) as pool:
            try:
                for remote, coming in self._ahead(left, pool, workers):
                    self._take(remote, coming)
                    if self.choice.is_complete:
                        break
            finally:
                self._stop.set()
                self.bar.end()
        for each in left if self.choice.is_complete else ():  # what else was on its way
            shutil.rmtree(self.work / f"{each.file}.part", ignore_errors=True)
            if not self.keep_archives and not os.path.isabs(each.file):
                (self.work / each.file).unlink(missing_ok=True)

    def _ahead(self, left: list[Remote], pool: ThreadPoolExecutor, workers: int) -> Iterator[tuple[Remote, Future]]:
        """Each archive with its download, of which `workers` are always at work or wait to be unpacked."""
        coming, rest = deque(), iter(left)
        while True:
            while len(coming) < workers and (remote := next(rest, None)):
                coming.append((remote, pool.submit(bring, remote, self.work, partial(self._watch, remote.file))))
            if not coming:
                return
            yield coming.popleft()

    def _watch(self, file: str, done: int) -> None:
        if self._stop.is_set():
            raise _Stopped
        self.bar.at(file, done)

    def _take(self, remote: Remote, coming: Future) -> None:
        """Wait for an archive, keep what is wanted of it, note it, remove it."""
        path = None
        try:
            path = coming.result()
            kept = self._unpack(path, remote)
        except (DownloadError, ArchiveError) as error:
            self.failed.append(str(error))
            print(f"left out: {error}", flush=True)
            if isinstance(error, ArchiveError) and str(path) != self.given:
                path.unlink(missing_ok=True)  # it would not be fetched again
            return
        self.journal.add({"archive": remote.file, **self.choice.as_entry(), "videos": kept})
        if not self.keep_archives and str(path) != self.given:
            path.unlink()

    def _unpack(self, path: Path, remote: Remote) -> list[str]:
        """Keep what is wanted of an archive. Returns the paths of all its videos that are kept, before it too."""
        kept, wanted = [], self.choice
        for member, place in self._videos_in(path, remote):
            if wanted.wants(place):
                with atomic_path(self.videos / place, member.size) as temporary:
                    member.copy_to(temporary)
                wanted.keep(place)
                self.bar.unpacked()
            if wanted.has(place):
                kept.append(place)
            if wanted.limit is not None and wanted.is_complete:
                break
        return kept

    def _videos_in(self, path: Path, remote: Remote, within: str = "") -> Iterator[tuple[Member, str]]:
        """The videos of an archive that are among the chosen, each with its place; of archives in it too (HMDB-51's are
        a rar of rars, one a class)."""
        for member in members(path, within or path.name):
            inner = PurePosixPath(remote.stem if within else "") / member.path
            if member.path.suffix.lower() in VIDEO_SUFFIXES:
                if place := self.choice.place_of(inner):
                    yield member, place
            elif is_archive(member.name) and not within and not self.choice.leaves_out(stem_of(member.name)):
                with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=self.work) as folder:
                    nested = Remote(member.path.name)
                    member.copy_to(Path(folder, nested.file))
                    yield from self._videos_in(Path(folder, nested.file), nested, f"{path.name}: {nested.file}")
