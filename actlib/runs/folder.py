"""The run folder: one place for everything that a run is given and finds, readable while it runs and afterwards.

`params.yaml`, `environment.json` and `status.json` are written at the start, what the run finds by its notebook,
`result.json` and the status done (or stopped) at the end. Every file is written under a temporary name and renamed.
From the start to the end of the run no other process can start one in the folder (see `locks`).
"""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from actlib import locks
from actlib.files import (  # fmt: skip
    FULL,
    DiskFull,
    digest,
    project_root,
    read_mapping,
    remove_temporaries,
    write_csv,
    write_json,
    write_text,
    write_with,
    zip_digest,
)
from actlib.messages import problems_in_words
from actlib.notebook_errors import tell_in_words
from actlib.params import Params, ParamsError
from actlib.progress import progress
from actlib.run_progress import in_words
from actlib.runs.ours import require_free

PACKAGES = ("torch", "torchvision", "decord", "av", "papermill", "numpy", "pandas")


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def number(value: float, *, protocol: str = "", videos: int | None = None, expected: int | None = None) -> dict:
    """A headline number with what it was measured on; it is never written without."""
    entry = {"value": round(float(value), 4), "protocol": str(protocol), "videos": videos, "expected": expected}
    return {name: each for name, each in entry.items() if each not in ("", None)}


class RunFolder:
    """The folder of one run, and what a notebook does with it: `start` makes it, `show` and `save_table` keep what
    the run finds, `numbers` states results in words, `finish` ends the run. `path(name)` is where a file of it goes.
    """

    _at_work: locks.Lock | None = None  # of the run that this process is in: a kernel is in one at a time

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    @classmethod
    def start(cls, p: Params) -> "RunFolder":
        """Make `p.run_dir` (relative to the project's root, which becomes the working folder, so that a notebook
        finds the same files from JupyterLab and from papermill) and write parameters, environment and status.

        Inside a notebook, a cell that raises sets the status to failed with the error's words. Raises `locks.Locked`
        where another process is at work in the folder, DiskFull, and before it writes anything ParamsError for a folder
        that cannot be a run's (see `ours`), files that are not there, and a checkpoint of another run in the folder.
        """
        tell_in_words()
        os.chdir(project_root())
        run = cls(p.run_dir)
        run._require_sound(p)
        before, RunFolder._at_work = RunFolder._at_work, locks.take(run.folder)
        if before is not None:
            before.release()
        run.remove_temporaries()
        write_text(run.path("params.yaml"), p.as_yaml())
        write_json(run.path("environment.json"), _environment(p))
        run.set_status("running")
        run._watch_cells()
        print(f"run folder: {run.folder}")
        return run

    def _require_sound(self, p: Params) -> None:
        """Raise ParamsError for what can be found wrong already. What an earlier run left stays as it is; a run that a
        batch has queued has failed."""
        try:
            require_free(p)
            if problems := p.problems("."):
                raise ParamsError(problems[0] if len(problems) == 1 else problems_in_words("this notebook", problems))
        except ParamsError as error:
            if self.read("status.json").get("state") == "queued":
                self.set_status("failed", why=f"ParamsError: {error}")
            raise

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, name: str) -> dict:
        """The content of a JSON file of the run; empty where there is none, or a broken one."""
        try:
            return read_mapping(self.path(name))
        except (OSError, ValueError):
            return {}

    def set_status(self, state: str, **more) -> None:
        """Write status.json: `state` (queued, running, done, stopped, failed), the time, and `more` (why it failed, …).
        On a full disk it is written over in place, which takes no room."""
        status = {"state": state, "time": now(), "pid": os.getpid(), **more}
        try:
            write_json(self.path("status.json"), status)
        except DiskFull:
            with contextlib.suppress(OSError), self.path("status.json").open("r+", encoding="utf-8") as file:
                status["why"] = str(status.get("why", ""))[: FULL // 4]  # it has to fit into the block that is ours
                file.write(json.dumps(status))
                file.truncate()

    def record(self, **more) -> None:
        """Add to environment.json what is known only later, such as how the network is run."""
        write_json(self.path("environment.json"), self.read("environment.json") | more)

    def progress(self, items: Iterable, *, total: int | None = None, desc: str = "") -> Iterator:
        """Iterate over `items` with a bar, or headless with a line now and then: `actlib.progress.progress`."""
        return progress(items, total=total, desc=desc)

    def save_table(self, table, name: str) -> None:
        """Write a pandas table as the CSV file `name`; tables of a list, with the same columns, one below the other."""
        write_csv(self.path(name), table)

    def show(self, axes, name: str, table=None) -> None:
        """Save the figure of matplotlib `axes` as `name`.png and the table behind it as `name`.csv. The picture
        itself appears below the cell, as every open figure does."""
        # Level 4 of zlib's 9 takes half the time of the usual 6, for files a twentieth larger.
        how = {"dpi": 150, "bbox_inches": "tight", "pil_kwargs": {"compress_level": 4}}
        write_with(self.path(f"{name}.png"), lambda temporary: axes.figure.savefig(temporary, **how))
        axes.figure.stale = False  # else pyplot draws it once more for nobody, before it is shown below the cell
        if table is not None:
            self.save_table(table, f"{name}.csv")

    def numbers(
        self, values: dict[str, float], *, protocol: str = "", videos: int | None = None,
        expected: int | None = None, of: str = "",
    ) -> dict[str, dict]:  # fmt: skip
        """Print `values` in words, each with `protocol` and "`videos` of `expected` videos", and return them as
        entries for `finish(numbers=…)`. `of`: whose they are, where a run states those of several."""
        found = {
            name: number(value, protocol=protocol, videos=videos, expected=expected) for name, value in values.items()
        }
        for name, entry in found.items():
            print((f"{of}: " if of else "") + in_words(name, entry))
        return found

    def finish(
        self, *, kind: str, model: str | None = None, numbers: dict[str, dict] | None = None,
        files: dict[str, dict] | None = None, stopped: str = "", **more,
    ) -> None:  # fmt: skip
        """Write result.json and set the status to done: the run's last act, after which others may work in the folder.
        A run that was `stopped`, with these words ("stopped after 3 of 8 epochs"), is not done: started again, by hand
        or by its batch, it goes on.

        `kind` of run, `model` (its spec), `numbers` as `RunFolder.numbers` returns them, `more` that reads as JSON.
        `files`: what the run made for others, by its name in the folder, with what is to be said of it (the epoch of a
        checkpoint), to which a digest of a zip's content is added. Where one of them is missing, or a zip another, the
        run is no longer done. Raises FileNotFoundError for one that is not there.
        """
        for name in files or ():
            digest = zip_digest(self.path(name))
            files = files | ({name: files[name] | {"digest": digest}} if digest else {})
        given = {"model": model, "numbers": numbers, "files": files, "stopped": stopped or None}
        result = {"kind": kind, **{name: value for name, value in given.items() if value is not None}, **more}
        write_json(self.path("result.json"), result)
        self.set_status("stopped", why=stopped) if stopped else self.set_status("done")
        self.leave()

    def leave(self) -> None:
        """Let others work in the folder, if it was this process that did."""
        if RunFolder._at_work is not None and RunFolder._at_work.folder == self.folder.resolve():
            RunFolder._at_work.release()
            RunFolder._at_work = None

    def is_done(self) -> bool:
        """Whether the notebook reached its last cell, and what it made is there as it was made."""
        result = self.read("result.json")
        if self.read("status.json").get("state") != "done" or not result:
            return False
        try:
            files = result.get("files", {}).items()
            return all(told.get("digest", "") == zip_digest(self.path(name)) for name, told in files)
        except (AttributeError, TypeError, OSError, zipfile.BadZipFile):
            return False

    def remove_temporaries(self) -> None:
        """Remove what killed writes left."""
        for folder in (self.folder, *(each for each in self.folder.iterdir() if each.is_dir())):
            remove_temporaries(folder)

    def _watch_cells(self) -> None:
        try:
            shell = get_ipython()
        except NameError:
            return

        def note_failure(result):
            error = result.error_before_exec or result.error_in_exec
            if error is not None:
                self.set_status("failed", why=f"{type(error).__name__}: {error}")

        previous = getattr(shell, "_actlib_watch", None)  # a cell that is run again replaces its watcher
        if previous is not None:
            shell.events.unregister("post_run_cell", previous)
        shell.events.register("post_run_cell", note_failure)
        shell._actlib_watch = note_failure


def _environment(p: Params) -> dict:
    found = {
        "time": now(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "device": _device(p),
        "git": _git_revision(),
    }
    for table in p.inputs().get("table", []):
        if Path(table).is_file():
            found["table"] = {"path": table, "sha256": digest(table)}
    return found


def _device(p: Params) -> str | None:
    """What torch computes on; None in a notebook that has no use for it, or none yet: its import takes seconds."""
    torch = sys.modules.get("torch") if "device" in type(p).model_fields else None
    if torch is None:
        return None
    cuda = torch.cuda.is_available()
    return torch.cuda.get_device_name() if cuda else f"CPU, {torch.get_num_threads()} threads"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """The commit of the project, with `+changes` if the working tree differs from it; None outside git."""
    command = ["git", "describe", "--always", "--dirty=+changes", "--exclude=*", "--abbrev=12"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return None
