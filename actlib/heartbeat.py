"""What the file of a lock tells other machines, which often see no locks of each other: who holds it and is alive.

Who it is stands in the file's content; its time of change, which the holder renews every BEAT_S seconds, is his last
sign of life. Times are compared with those that the file system gives to another file at the same moment, never with
this machine's clock. See `locks`, which alone uses this; the environment's ACTLIB_LOCK_… are for tests.
"""

import contextlib
import errno
import json
import os
import re
import socket
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from actlib.files import TEMPORARY

BEAT_S = float(os.environ.get("ACTLIB_LOCK_BEAT_S", 5))
STALE_S = 12 * BEAT_S  # without a sign of life, and who holds a lock is taken for dead
CONFIRM_S = 3 * BEAT_S  # it is then watched for so long: not every file system's times come from one clock
SETTLE_S = BEAT_S / 5  # what is written has then arrived everywhere
_TEST_HOST = os.environ.get("ACTLIB_LOCK_HOST", "")  # believe to be on a machine of this name, in a folder of several
_SIZE = 2048  # bytes of a content, which is written in one piece
# File systems of one machine, on which its own locks are enough.
_LOCAL = re.compile(
    "apfs|bcachefs|btrfs|exfat|ext[234]|f2fs|fuseblk|hfs|hfsplus|jfs|msdos|ntfs3?|overlay|ramfs|reiserfs|tmpfs|ufs|"
    "vfat|xfs|zfs"
)


def host() -> str:
    return _TEST_HOST or socket.gethostname()


@cache
def machine() -> str:
    """What tells this machine from others: containers on several may have one name."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    with contextlib.suppress(OSError):
        return _TEST_HOST or f"{host()} {boot.read_text().strip()}"
    return host()


def is_shared(folder: Path) -> bool:
    """Whether other machines may see `folder`: its file system is none that is known to be of one alone."""
    import psutil

    if _TEST_HOST:
        return True
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    found = next((mounts[each] for each in (folder, *folder.parents) if each in mounts), "")
    return not _LOCAL.fullmatch(found.lower())


def introduce(token: str, flock: bool) -> dict:
    """What this process writes into the file of its lock; `flock`: whether it has locked that for its machine."""
    command = " ".join(" ".join([Path(sys.executable).name, *sys.orig_argv[1:]]).split())[:200]
    told = {"pid": os.getpid(), "host": host(), "machine": machine(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    return told | {"command": command, "token": token, "flock": flock}


def is_here(told: dict) -> bool:
    """Whether who wrote `told` is, or was, on this machine since it was started."""
    return told.get("machine", told.get("host")) in (machine(), host())


def read(file: int, path: Path) -> dict:
    """What the open file of a lock says; empty if nobody has it. Of what cannot be read only that somebody wrote it.
    Raises OSError."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_RDONLY))  # a network file system's client then asks the server
    try:
        found = json.loads(os.pread(file, _SIZE, 0).strip() or b"{}")
    except (ValueError, PermissionError):  # half written; on some file systems a lock forbids others to read
        found = None
    return found if isinstance(found, dict) else {"token": "?"}


def claim(file: int, path: Path, before: dict, told: dict, *, shared: bool) -> bool:
    """Write `told` into the open file of a lock that is free, and still says `before`. Where several machines may do so
    at once (`shared`), returns whether this one has it now: the one that wrote last, as each waits until the others'
    writing must have arrived (Fischer's algorithm: L. Lamport, A fast mutual exclusion algorithm, 1987)."""
    begin = time.monotonic()
    if shared and read(file, path) != before:
        return False
    os.pwrite(file, json.dumps(told).encode().ljust(_SIZE), 0)
    if not shared:
        return True
    os.fsync(file)
    in_time = time.monotonic() - begin < SETTLE_S / 2
    # Who was so slow may have written over one that waited and went on; that one notices at its next beat.
    time.sleep(SETTLE_S if in_time else CONFIRM_S)
    return read(file, path).get("token") == told["token"]


def clear(file: int) -> None:
    """Nobody has the lock: nobody need wait until he is taken for dead. The file keeps its room on the disk, which may
    be full when the next one writes there."""
    os.pwrite(file, b" " * _SIZE, 0)


def beat(file: int, path: Path, token: str) -> dict:
    """Renew the sign of life in the open file of a lock; returns what another says who took it over, else nothing.
    Raises OSError while the file system is away."""
    try:
        told = read(file, path)
        if told.get("token") == token:
            os.utime(file)
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
        with open(path, "rb") as other:  # who took it over put the folder aside, and its file is gone
            told = read(other.fileno(), path)
    return told if told.get("token", token) != token and told["token"] != "?" else {}


def last_sign(path: Path) -> float | None:
    """Seconds since who holds a lock gave the last sign of life; None if he is dead: silent for STALE_S, and while he
    is watched for CONFIRM_S."""
    with tempfile.NamedTemporaryFile(prefix=TEMPORARY, dir=path.parent) as now:
        os.utime(now.fileno())  # by who keeps the files, as each beat
        before = _changed(path)
        age = (os.fstat(now.fileno()).st_mtime_ns - before) / 1e9
    if age < STALE_S:
        return max(0.0, age)
    deadline = time.monotonic() + CONFIRM_S
    while time.monotonic() < deadline:
        time.sleep(SETTLE_S)
        if _changed(path) != before:
            return 0.0
    return None


def _changed(path: Path) -> int:
    """When the file of a lock was changed, in nanoseconds; opened for that, as in `read`."""
    with open(path, "rb") as file:
        return os.fstat(file.fileno()).st_mtime_ns
