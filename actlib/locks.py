"""Locks of folders: one process, with those that it hands the lock on to, works in a folder at a time.

The lock is held on the open file `.lock` in the folder, so it ends with the process, however that ends; its content
says who holds it. A process that starts another to do the work there gives it the lock's `token` in the environment
(TOKEN): whoever has it joins, and the folder stays locked until the last one is gone.

Where several machines see a folder, their file system may keep such locks from each other, or have none. There all who
hold a lock give signs of life (see `heartbeat`), and a machine that sees none for a minute takes the folder over. Who
was only away, suspended or without network, then finds another's name in its lock's file and ends at once, as a process
that does not know what it has to write any more: nothing but its next beat tells it, and by then the other is at work.
"""

import atexit
import contextlib
import errno
import os
import secrets
import threading
import time
from pathlib import Path

from actlib import heartbeat, lifeline

try:
    import fcntl
except ImportError:  # Windows: no folder is locked there
    fcntl = None

NAME = ".lock"
TOKEN = "ACTLIB_LOCK"
LOST = 75  # the exit status of who lost its folder: try again (EX_TEMPFAIL)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # some clusters' file systems
_held: dict[Path, "Lock"] = {}


class Locked(RuntimeError):
    """Another process is at work in a folder. The message says which, since when, and how to stop it; `who` is its
    first sentence."""

    def __init__(self, who: str, advice: str = ""):
        super().__init__(f"{who}. {advice}" if advice else who)
        self.who = who


class Lock:
    """A lock that this process holds; end it with `release`, or by leaving its `with`."""

    def __init__(self, folder: Path, file: int, token: str, *, began: bool, shared: bool, ends: bool):
        self.folder, self.file, self.token, self.users = folder, file, token, 1
        self.lost = ""  # in words who took the folder over, where this process does not end of it
        self._began, self._ends = began, ends
        self._released, self._in_use = threading.Event(), threading.Lock()
        if shared:
            threading.Thread(target=self._live, name=f"lock of {folder}", daemon=True).start()

    @property
    def files(self) -> tuple[int, ...]:
        """What a new process must be passed (`pass_fds` of subprocess) to keep the folder locked with this one."""
        return () if fcntl is None else (self.file,)

    def check(self) -> None:
        """Raise Locked where another machine took the folder over."""
        if self.lost:
            raise Locked(self.lost)

    def release(self) -> None:
        """Give the folder back, once as often as it was taken here."""
        self.users -= 1
        if self.users:
            return
        self._released.set()
        if _held.get(self.folder) is self:
            del _held[self.folder]
        with self._in_use, contextlib.suppress(OSError):  # its file system may be gone
            if self.file < 0:
                return
            if fcntl is not None:
                self._clear()
                with contextlib.suppress(OSError):  # it has none
                    fcntl.flock(self.file, fcntl.LOCK_UN)  # closing would not do, where a child has the file open too
            file, self.file = self.file, -1
            os.close(file)

    def _clear(self) -> None:
        """Say that nobody is at work here, if that is so: others that joined may still be."""
        path = self.folder / NAME
        mine = self._began and heartbeat.read(self.file, path).get("token") == self.token
        if mine and _flock(self.file, fcntl.LOCK_EX) is not False:
            heartbeat.clear(self.file)

    def _live(self) -> None:
        """Give signs of life until the lock is released; notice who took it over."""
        while not self._released.wait(heartbeat.BEAT_S):
            with self._in_use, contextlib.suppress(OSError):  # its file system is away for now
                other = heartbeat.beat(self.file, self.folder / NAME, self.token)
                if other and not self._released.is_set():
                    self.lost = (
                        f"{self.folder}: {_who(other)} took this folder over: it had seen no sign of life of process "
                        f"{os.getpid()} on {heartbeat.host()} for {heartbeat.STALE_S:.0f} s"
                    )
                    break
        if self.lost and self._ends:
            lifeline.end_at_once(f"{self.lost}. So this one ends, and writes nothing more", LOST)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *exception) -> None:
        self.release()


def take(folder: str | Path, wait: float = 0.0, *, ends: bool = True) -> Lock:
    """Lock `folder`, which is made if need be; what this process holds already is shared, and released as often.

    `wait`: seconds to wait for another process that works there, after a line that says so: one that died on another
    machine is known for dead only after `heartbeat.STALE_S`. `ends`: this process ends, with its descendants and the
    exit status LOST, where another machine takes the folder over; without it who holds the lock has to look at its
    `lost`, or `check`, and must not write there any more. Raises Locked where another process works there, unless that
    handed its token on, and OSError.
    """
    deadline, said = time.monotonic() + wait, False
    while True:
        try:
            return _take(Path(folder).resolve(), ends)
        except Locked as locked:
            if (left := deadline - time.monotonic()) <= 0:
                raise
            if not said:
                print(f"{locked.who}; waiting for it for up to {left:.0f} s", flush=True)
            said = True
            time.sleep(min(left, heartbeat.SETTLE_S))


def _take(folder: Path, ends: bool) -> Lock:
    path = folder / NAME
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = _held.get(folder)
        if held is not None and _is_at(held.file, path):
            held.users += 1
            return held
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            how = _lock(file, path)
            if not _is_at(file, path):  # the folder was renamed meanwhile, its lock with it
                os.close(file)
                continue
        except BaseException:
            os.close(file)
            raise
        _held[folder] = Lock(folder, file, **how, ends=ends)
        return _held[folder]


def _lock(file: int, path: Path) -> dict:
    """Lock an open file for this process alone, or join those whose token it was given. Returns how: the `token`,
    whether this process `began` it, and whether the folder is `shared` with other machines."""
    if fcntl is None:
        return {"token": "", "began": False, "shared": False}
    alone, told = _flock(file, fcntl.LOCK_EX), heartbeat.read(file, path)
    shared = alone is None or heartbeat.is_shared(path.parent)
    token = told.get("token", "")
    if token and token == os.environ.get(TOKEN):
        if alone is not None and not _flock(file, fcntl.LOCK_SH):  # who begins needs it alone
            raise _locked(path, told)
        return {"token": token, "began": False, "shared": shared}
    if alone is False and (not shared or not told or heartbeat.is_here(told)):
        raise _locked(path, told)
    # Of a process of this machine it is known whether it is dead. Another machine may have died and left its lock with
    # the server: that counts for nothing.
    dead = heartbeat.is_here(told) and (alone and told.get("flock", True) or not lifeline.is_there(told.get("pid", 0)))
    if told and shared and not dead and (silent_for := heartbeat.last_sign(path)) is not None:
        raise _locked(path, heartbeat.read(file, path), silent_for)  # it may have changed hands meanwhile
    mine = heartbeat.introduce(secrets.token_hex(8), flock=bool(alone))
    if not heartbeat.claim(file, path, told, mine, shared=shared):
        raise _locked(path, heartbeat.read(file, path), 0.0)
    if alone and not _flock(file, fcntl.LOCK_SH):  # so that others can join; who begins needs it alone
        raise _locked(path, heartbeat.read(file, path))
    return {"token": mine["token"], "began": True, "shared": shared}


def _flock(file: int, how: int) -> bool | None:
    """Lock an open file as `fcntl.flock` does; False where another process holds it, None where its file system has no
    locks."""
    try:
        if "ACTLIB_LOCK_NONE" in os.environ:  # for tests
            raise OSError(errno.ENOLCK, "")
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one that `path` names now."""
    try:
        return file >= 0 and os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False


def _locked(path: Path, told: dict, silent_for: float | None = None) -> Locked:
    """Who works in the folder of a lock, since when, when it was last heard of, and how to stop it."""
    here, since = not told or heartbeat.is_here(told), told.get("since", "just now")
    if here and told.get("pid") not in (pids := _holders(path)) and pids:  # he is gone, who joined him is not
        told = {"pid": pids[0], "machine": heartbeat.machine()}
    who, pid = f"{path.parent}: {_who(told)} has been at work in this folder since {since}", told.get("pid")
    where = "" if here else f" on {told.get('host', 'its machine')}"
    advice = f"Wait for it, stop it (a notebook: shut down its kernel; else `kill {pid}`{where}), or use another folder"
    if silent_for is not None:
        who += f"; its last sign of life is {silent_for:.0f} s old"
    if silent_for is not None and not here:
        left = max(1.0, heartbeat.STALE_S - silent_for) + heartbeat.CONFIRM_S
        advice += f". If that machine is gone, the folder is free in {left:.0f} s"
    return Locked(who, advice)


def _who(told: dict) -> str:
    command = f" ({told['command']})" if told.get("command") else ""
    where = "" if not told or heartbeat.is_here(told) else f" on {told.get('host', 'another machine')}"
    return f"process {told.get('pid', '')}{command}{where}".replace("  ", " ")


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
        lock._released, lock._in_use = threading.Event(), threading.Lock()  # a thread that is not here may hold them
    _held.clear()


def _release_all() -> None:
    """A process that ends in order leaves nothing locked that others would have to wait for."""
    for lock in list(_held.values()):
        lock.users = 1
        lock.release()


atexit.register(_release_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
