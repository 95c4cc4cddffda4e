"""Files at addresses: their sizes before they are fetched, what they should be, and fetching one of them."""

import hashlib
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from actlib.datasets.addresses import Remote
from actlib.datasets.errors import DataError
from actlib.datasets.fetching.archives import how_to_unpack_rar, kind_of_archive, rar_tool
from actlib.downloads import DownloadError, download
from actlib.files import read_text
from actlib.messages import shown

_ASK_S = 20.0  # for an answer about a size
_PAGE = (b"<!doctype html", b"<html")


def usable(remotes: Iterable[Remote]) -> list[Remote]:
    """The files that can be unpacked here: of a rar without a program for it, what there is instead. Raises DataError
    where there is nothing."""
    found = []
    for remote in remotes:
        if remote.is_rar and not rar_tool():
            if remote.instead is None:
                raise DataError(f"{remote.file}: {how_to_unpack_rar()}. Nothing was fetched")
            remote = replace(remote.instead, subset=remote.subset)
        found.append(remote)
    return found


def parts_of(subset: str, path: Path) -> list[Remote]:
    """The archives that a text file names, an address a line. Raises DataError for other lines."""
    found = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if line := line.strip():
            if not line.startswith(("http://", "https://")):
                what = f"{shown(line)}: expected an address; delete the file and try again"
                raise DataError(f"{path} line {number}: {what}")
            url = urllib.parse.quote(line, safe="/:,%?=&+")  # some have blanks in them
            name = urllib.parse.unquote(url).rpartition("/")[2]
            found.append(Remote(f"{subset}_{name}", (url,), subset=subset))
    if not found:
        raise DataError(f"{path}: names no archive; delete it and try again")
    return found


def sizes_of(remotes: list[Remote], workers: int) -> dict[str, int]:
    """Bytes of each file, by its name, as its server says, or else as they were published; without those that nobody
    knows."""
    with ThreadPoolExecutor(workers) as pool:
        told = list(pool.map(_size, remotes))
    return {remote.file: size or remote.bytes for remote, size in zip(remotes, told) if size or remote.bytes}


def _size(remote: Remote) -> int:
    if not remote.urls:  # a file of a user's
        return came(Path(remote.file))
    for url in remote.urls:
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "actlib"}, method="HEAD")
            with urllib.request.urlopen(request, timeout=_ASK_S) as answer:
                if answer.headers.get_content_type() != "text/html":
                    return int(answer.headers.get("Content-Length") or 0)
        except (OSError, ValueError):  # fetching it will say what is wrong
            continue
    return 0


def bring(remote: Remote, folder: Path, watch: Callable[[int], None] | None = None) -> Path:
    """Fetch a file into `folder`, from the first of its addresses that gives it, or what there is instead of it. What
    lies there already is taken if it is right. Raises DownloadError that says what each address gave, and DiskFull."""
    wrong = []
    for each in (remote, remote.instead) if remote.instead else (remote,):
        target = folder / each.file
        if target.is_file():
            if not (why := why_wrong(target, each)):
                return target
            wrong.append(f"{target}: {why}; delete it")
            continue
        for url in each.urls:
            try:
                return download(url, target, lambda path, each=each: why_wrong(path, each), watch=watch)
            except DownloadError as error:
                if came(target):  # the next try goes on from there
                    raise
                wrong.append(str(error))
    raise DownloadError("; ".join(wrong))


def came(target: Path) -> int:
    """Bytes of `target` that are there, of a download that broke off too."""
    for path in (target, target.with_name(f"{target.name}.part") / "content"):
        if path.is_file():
            return path.stat().st_size
    return 0


def why_wrong(path: Path, remote: Remote) -> str:
    """In words why a file that came is not `remote`; empty for the right one."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512).lstrip().lower()
        if head.startswith(_PAGE):
            return "it is a page of HTML"
        if not size:
            return "it is empty"
        if remote.bytes and size != remote.bytes:
            return f"it has {size:,} bytes, not the {remote.bytes:,} that are published"
        for kind, digest in (("md5", remote.md5), ("sha256", remote.sha256)):
            file.seek(0)
            if digest and (found := hashlib.file_digest(file, kind).hexdigest()) != digest.lower():
                return f"its {kind} is {found}, not {digest}: it is damaged or another file"
    if remote.is_archive and not kind_of_archive(path):
        return "it is no archive (tar, zip or rar)"
    return ""
