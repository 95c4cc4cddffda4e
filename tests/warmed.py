"""Programs, and notebooks under papermill, in forks of one process that has imported what all notebooks import, as the
runs of a batch are: importing it once more for each would take most of the time of their tests."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import nbformat
import psutil
import pytest

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 900  # for one of them
SERVER = f"""
import json, os, socket, sys
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as a batch does: only a process of one thread can be forked
from pathlib import Path
from actlib.runs import warm


def program(code, arguments, cwd, streams):
    os.setsid()
    os.chdir(cwd)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
    sys.argv = ["-c", *arguments]
    exec(compile(code, "<string>", "exec"), {{"__name__": "__main__"}})


warm.import_for(Path("notebooks").rglob("*.ipynb"))
asked, processes = socket.socket(fileno=int(sys.argv[1])), {{}}
while said := (message := socket.recv_fds(asked, 1 << 20, 2))[0]:
    what, given = json.loads(said)
    if what == "wait":
        process = processes.pop(given)
        process.join({MOST_SECONDS})
        answer = process.exitcode
    else:
        if what == "papermill":
            arguments, cwd, folder = given
            places = dict(log=Path(folder, "log.txt"), cwd=Path(cwd), folder=Path(folder))
            process = warm.start(arguments, environment={{}}, **places)
        else:
            process = warm.FORK.Process(target=program, args=(*given, message[1]))
            process.start()
        processes[answer := process.pid] = process
    for stream in message[1]:
        os.close(stream)
    asked.send(json.dumps(answer).encode())
"""


class Warmed:
    """The process that is forked."""

    def __init__(self):
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.settimeout(MOST_SECONDS + 60)
        number = theirs.fileno()
        self._server = subprocess.Popen([sys.executable, "-c", SERVER, str(number)], cwd=ROOT, pass_fds=[number])
        theirs.close()

    def ask(self, what: str, given, streams: tuple[int, ...] = ()):
        socket.send_fds(self._ours, [json.dumps([what, given]).encode()], streams)
        return json.loads(self._ours.recv(1 << 20))

    def start(self, code: str, *arguments: str, cwd: Path = ROOT, errors: Path | None = None) -> "Started":
        """`python -c code arguments` in a session of its own; what it says on stderr goes to the file `errors`."""
        out, theirs = os.pipe()
        said = os.open(errors or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        pid = self.ask("program", [code, arguments, str(cwd)], (theirs, said))
        os.close(theirs)
        os.close(said)
        return Started(self, pid, os.fdopen(out))

    def papermill(self, folder: Path, arguments: list, cwd: Path) -> tuple[int, str]:
        """papermill with these command-line arguments: its exit code, and what it and its kernel said, which is also in
        log.txt of `folder`."""
        code = self.ask("wait", self.ask("papermill", [[*map(str, arguments)], str(cwd), str(folder)]))
        return code, (folder / "log.txt").read_text(encoding="utf-8")

    def end(self) -> None:
        for process in psutil.Process(self._server.pid).children(recursive=True):
            process.kill()
        self._ours.close()
        self._server.wait()


class Started:
    """A running program under the names of subprocess.Popen."""

    def __init__(self, warmed: Warmed, pid: int, stdout: TextIO):
        self.pid, self.stdout, self._warmed = pid, stdout, warmed

    def wait(self) -> int:
        with self.stdout:
            self.stdout.read()  # to its end, or that of whoever has it open
        return self._warmed.ask("wait", self.pid)


@pytest.fixture(scope="session")
def warmed() -> Iterator[Warmed]:
    """Forks programs and notebooks from one process that has imported everything."""
    server = Warmed()
    yield server
    server.end()


@pytest.fixture
def run_notebook(warmed, tmp_path_factory):
    """Runs a notebook with these parameters in its own folder, in a kernel of its own; returns it, executed."""

    def run(path: Path, values: dict) -> nbformat.NotebookNode:
        folder = tmp_path_factory.mktemp("notebook")
        options = ["-y", json.dumps(values), "--cwd", path.parent, "--kernel", "python3", "--no-progress-bar"]
        code, said = warmed.papermill(folder, [path, folder / "out.ipynb", *options], path.parent)
        assert code == 0, said
        return nbformat.read(folder / "out.ipynb", 4)

    return run
