"""Locks of folders: one process, with those that it hands the lock on to, works in a folder at a time.

The lock is held on the open file `.lock` in the folder, so it ends with the process, however that ends; its content
says who holds it. A process that starts another to do the work there gives it the lock's `token` in the environment
(TOKEN): whoever has it joins, and the folder stays locked until the last one is gone. This module knows nobody else of
the package; everybody may use it.
"""

import contextlib
import errno
import json
import os
import secrets
import socket
import sys
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: no folder is locked there
    fcntl = None

NAME = ".lock"
TOKEN = "ACTLIB_LOCK"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # some clusters' file systems
_held: dict[Path, "Lock"] = {}


class Locked(RuntimeError):
    """Another process is at work in a folder. The message says which, since when, and how to stop it."""


class Lock:
    """A lock that this process holds; end it with `release`, or by leaving its `with`."""

    def __init__(self, folder: Path, file: int, token: str):
        self.folder, self.file, self.token, self.users = folder, file, token, 1

    @property
    def files(self) -> tuple[int, ...]:
        """What a new process must be passed (`pass_fds` of subprocess) to keep the folder locked with this one."""
        return () if fcntl is None else (self.file,)

    def release(self) -> None:
        """Give the folder back, once as often as it was taken here."""
        self.users -= 1
        if self.users or self.file < 0:
            return
        if _held.get(self.folder) is self:
            del _held[self.folder]
        with contextlib.suppress(OSError):  # its file system may be gone
            if fcntl is not None:
                fcntl.flock(self.file, fcntl.LOCK_UN)  # closing alone would not, where a child has the file open too
            os.close(self.file)
        self.file = -1

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exception) -> None:
        self.release()


def take(folder: str | Path) -> Lock:
    """Lock `folder`, which is made if need be; what this process holds already is shared, and released as often.

    Raises Locked where another process works there, unless that handed its token on, and OSError.
    """
    folder = Path(folder).resolve()
    path = folder / NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = _held.get(folder)
        if held is not None and _is_at(held.file, path):
            held.users += 1
            return held
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            token = _lock(file, path)
            if not _is_at(file, path):  # the folder was renamed meanwhile, its lock with it
                os.close(file)
                continue
        except BaseException:
            os.close(file)
            raise
        _held[folder] = Lock(folder, file, token)
        return _held[folder]


def _lock(file: int, path: Path) -> str:
    """Lock an open file for this process alone, or join those whose token it was given. Returns the token."""
    if fcntl is None:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        token = _read(path).get("token", "")
        if token and token == os.environ.get(TOKEN):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return token
        raise Locked(_in_words(path)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        print(f"{path.parent}: its file system has no locks: see to it that one process at a time works there")
        return ""
    token = secrets.token_hex(8)
    command = " ".join(" ".join([Path(sys.executable).name, *sys.orig_argv[1:]]).split())
    told = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(told | {"command": command[:200], "token": token}).encode(), 0)
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # so that others can join; who begins needs it alone
    except BlockingIOError:
        raise Locked(_in_words(path)) from None
    return token


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one that `path` names now."""
    try:
        return file >= 0 and os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # who holds it is writing just now
        return {}
    return found if isinstance(found, dict) else {}


def _in_words(path: Path) -> str:
    """Who works in the folder of a lock, since when, and how to stop it."""
    told = _read(path)
    pids, here = _holders(path), told.get("host") in (None, socket.gethostname())
    pid = told.get("pid") if told.get("pid") in pids or not here else next(iter(pids), told.get("pid"))
    who = f"process {pid}" + (f" ({told['command']})" if pid == told.get("pid") and told.get("command") else "")
    where = "" if here else f" on {told['host']}"
    return (
        f"{path.parent}: {who}{where} has been at work in this folder since {told.get('since', 'just now')}. Wait "
        f"for it, stop it (a notebook: shut down its kernel; else `kill {pid}`{where}), or use another folder"
    )


def _holders(path: Path) -> list[int]:
    """The processes that have a file open, as far as this user may know; the oldest first."""
    import psutil

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(each.path == str(path) for each in process.open_files()):
                found.append((process.create_time(), process.pid))
    return [pid for _, pid in sorted(found)]


def _forget() -> None:
    """A child that is forked holds nothing: it would keep a folder locked after its parent's end. It may join."""
    for lock in _held.values():
        with contextlib.suppress(OSError):
            os.close(lock.file)
        lock.file = -1
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
