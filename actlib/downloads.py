"""Downloads that end whole or say why: one that breaks off goes on where it stopped, now or the next time.

What came of a file lies in the folder FILE.part beside it, with what the server called it (its ETag or the time of its
last change), so that the rest is asked for only of the same content. `torch.hub`'s download waits for a silent server
for ever, and takes half a file without a checksum for whole.
"""

import http.client
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from actlib import locks
from actlib.files import DiskFull, free_bytes, naming_full_disk, read_mapping, write_json
from actlib.progress import progress

CHUNK = 1 << 20  # bytes a step of the bar
TIMEOUT_S = 30.0  # without a byte
SLOWEST, WINDOW_S = 1024, 60.0  # fewer bytes a second over so long, and the download is given up
TRIES, PAUSE_S = 4, 1.0  # connections in a row that bring less than a CHUNK; the pause grows with each
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class DownloadError(RuntimeError):
    """A file that did not come whole, or is not what it should be. Names its address and says what to do."""


class _BrokenOff(Exception):
    """A connection that ended early; it is tried again."""


def download(
    url: str, target: Path, check: Callable[[Path], str], *, watch: Callable[[int], None] | None = None
) -> Path:
    """Fetch `url` to `target` with a progress bar. `check`: of what came, in words why it is not what it should be, or
    nothing; only then it is kept. `watch`, in place of the bar, is told how many bytes are there, now and then; what it
    raises ends the download.

    Another process that fetches the same file is waited for. Raises DownloadError, and DiskFull; what came then stays
    in `target`.part for the next call, unless it is wrong.
    """
    if watch is None:
        print(f"{url} → {target}", flush=True)
    part = target.with_name(f"{target.name}.part")
    try:
        with _alone(part):
            path = part / "content"
            try:
                if target.is_file():  # by who was waited for
                    return target
                _fetch(url, part, target, watch)
                if why := check(path):
                    path.unlink()
                    raise DownloadError(f"{url}: not what it should be: {why}. {_by_hand(target)}")
                os.replace(path, target)
            finally:
                if not _length(part):
                    shutil.rmtree(part)
    except (DownloadError, DiskFull):
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise DownloadError(f"{url}: not fetched ({error}); fetch it by hand and put it at {target}") from error
    return target


def _alone(part: Path) -> locks.Lock:
    """The lock of a download, as soon as no other process has it."""
    said = False
    while True:
        try:
            return locks.take(part)
        except FileNotFoundError:  # who had it took the folder away at this moment
            continue
        except locks.Locked:
            if not said:
                print(f"{part.stem}: another process is fetching it; waiting for that", flush=True)
                said = True
            time.sleep(0.5)


def _by_hand(target: Path) -> str:
    return f"Nothing was kept; fetch it by hand and put it at {target}"


# --- the bytes --------------------------------------------------------------------------------------------------------


@dataclass
class _Origin:
    """What a server calls the content that it sends: `validator` is empty where it calls it nothing."""

    url: str
    validator: str
    size: int  # bytes of all of it; 0 where it is not told


def _fetch(url: str, part: Path, target: Path, watch: Callable[[int], None] | None) -> None:
    """Bring `part`/content to its full length. Raises DownloadError, DiskFull and what urllib and sockets raise."""
    tries = 0
    while True:
        before = _length(part)
        try:
            return _connect(url, part, target, watch)
        except (*_BROKEN, _BrokenOff) as error:
            after = _length(part)
            tries = 0 if after - before >= CHUNK else tries + 1
            reason = getattr(error, "reason", None) or error
            if isinstance(error, urllib.error.HTTPError) or (not after and not isinstance(error, _BrokenOff)):
                raise  # a plain no, or nothing ever came
            if tries >= TRIES:
                kept = f"what came is kept: the next fetch goes on from there. By hand: put the file at {target}"
                raise DownloadError(f"{url}: it broke off {tries} times ({reason}); try again, {kept}") from error
            print(f"{target.name}: broke off after {after:,} bytes ({reason}); goes on", flush=True)
            time.sleep(PAUSE_S * (tries + 1))


def _length(part: Path) -> int:
    path = part / "content"
    return path.stat().st_size if path.is_file() else 0


def _connect(url: str, part: Path, target: Path, watch: Callable[[int], None] | None) -> None:
    """Ask for what is missing, once."""
    path, done, known = part / "content", _length(part), _origin(part)
    if done and known and (known.url, known.size) == (url, done):  # killed before it was looked at
        return
    headers = {"User-Agent": "actlib"}
    if done and known and known.url == url and known.validator:
        headers |= {"Range": f"bytes={done}-", "If-Range": known.validator}
    else:
        done = 0
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and done:  # there is no more than that: another file
            path.unlink()
            raise _BrokenOff("the server has another file now") from error
        raise
    with answer:
        length = int(answer.headers.get("Content-Length") or 0)
        if answer.headers.get_content_type() == "text/html":
            raise DownloadError(f"{url}: the server sent a page, a login perhaps, not the file. {_by_hand(target)}")
        etag = answer.headers.get("ETag", "")
        validator = answer.headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag
        if answer.status == 206:
            begin, _, size = answer.headers.get("Content-Range", "").removeprefix("bytes ").replace("/", "-").split("-")
            found = _Origin(url, validator, int(size) if size.isdigit() else 0)
            if int(begin) != done or found != known:
                path.unlink(missing_ok=True)
                raise _BrokenOff("the server sent another part than was asked for")
        else:
            done, found = 0, _Origin(url, validator, length)
        if (free := free_bytes(part) + _length(part)) < found.size:  # what came before is taken up, or goes
            raise DiskFull(target, found.size, free, "What came is kept")
        with path.open("ab") as out:
            out.truncate(done)
            write_json(part / "origin.json", vars(found))
            total = -(-(found.size - done) // CHUNK) if found.size else None
            with naming_full_disk(target, found.size or None, kinds=(), kept="What came is kept"):
                megabytes = _megabytes(answer, out, url)
                if watch is None:
                    megabytes = progress(megabytes, total=total, desc=f"{target.name}, MB")
                for _ in megabytes:
                    if watch is not None:
                        watch(out.tell())
        if found.size and (came := _length(part)) != found.size:
            raise _BrokenOff(f"{came:,} of {found.size:,} bytes came")


def _megabytes(answer: http.client.HTTPResponse, out, url: str) -> Iterator[None]:
    """Write what comes, and yield once a CHUNK. Raises DownloadError where it comes too slowly."""
    since, came, whole = time.monotonic(), 0, 0
    while piece := answer.read1(CHUNK):
        out.write(piece)
        came, whole, now = came + len(piece), whole + len(piece), time.monotonic()
        if now - since >= WINDOW_S:
            if came < SLOWEST * (now - since):
                out.flush()
                raise DownloadError(
                    f"{url}: {came:,} bytes came in {now - since:,.0f} s, which is given up; what came is kept: the "
                    "next fetch goes on from there"
                )
            since, came = now, 0
        while whole >= CHUNK:
            whole -= CHUNK
            yield
    if whole:
        yield


def _origin(part: Path) -> _Origin | None:
    try:
        return _Origin(**read_mapping(part / "origin.json"))
    except (OSError, ValueError, TypeError):  # nothing came yet, or a write was killed: all is asked for again
        return None
