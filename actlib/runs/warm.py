"""Runs whose processes are forked from one that has imported everything already, instead of starting anew.

papermill and the kernel of each run import the same for seconds: torch, pandas, matplotlib, Jupyter. The command line
of a batch imports it once (`import_for`) and forks (`start`): first papermill's process, which forks the kernel's
before it begins. A child shares the imported pages and begins within a fraction of a second.

A fork copies one thread alone: what others hold locked stays so. Hence `import_for` refuses where the process has more
than one, or has touched a GPU, whose driver does not outlive a fork. No computation may happen between the two calls.
"""

import ast
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from pathlib import Path

from ipykernel.kernelapp import IPKernelApp
from jupyter_client.provisioning import KernelProvisionerFactory, LocalProvisioner

from actlib import lifeline, locks
from actlib.runs.papermill_sooner import papermill

FORK = multiprocessing.get_context("fork")
PROVISIONER = "actlib-forked"


class NotWarm(RuntimeError):
    """Why runs cannot be forked from this process."""


def import_for(notebooks: Iterable[Path]) -> None:
    """Import what these notebooks import, and what they use of it, which may be imported only then. Raises NotWarm
    where forking this process would not be safe."""
    import nbformat  # after papermill_sooner

    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as every kernel sets it
    for path in notebooks:
        code = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
        nodes, names = list(ast.walk(ast.parse(code))), {}
        imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
        exec(compile(ast.Module(imports, []), str(path), "exec"), names)
        for node in nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                getattr(names.get(node.value.id), node.attr, None)
    if "actlib.analysis.costs.flops" in sys.modules:
        importlib.import_module("torch._dynamo")  # counting does: torch's decompositions are hidden from the compiler
    tasks = Path("/proc/self/task")
    threads = len(list(tasks.iterdir())) if tasks.is_dir() else threading.active_count()
    if threads > 1:
        raise NotWarm(f"what the notebooks import left {threads} threads at work")
    if (torch := sys.modules.get("torch")) and torch.cuda.is_initialized():
        raise NotWarm("what the notebooks import has touched the GPU")


def start(
    arguments: list[str], *, log: Path, cwd: Path, environment: dict[str, str], folder: Path
) -> multiprocessing.Process:
    """Run papermill with these command-line arguments in a process and session of its own, in the folder `cwd`, with
    `environment` set beside what there is; all that it and its kernel say goes to the file `log`. It joins those who
    hold the lock of `folder`, for which `environment` has the token."""
    process = FORK.Process(target=_papermill, args=(arguments, log, cwd, environment, folder))
    process.start()
    return process


def _papermill(arguments: list[str], log: Path, cwd: Path, environment: dict[str, str], folder: Path) -> None:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.update(environment)
    os.chdir(cwd)
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(said, stream.fileno())
        stream.reconfigure(line_buffering=True, errors="replace")
    ForkedKernel.fork()  # first: it has one thread alone
    lifeline.end_with_parent(multiprocessing.parent_process().pid)
    locks.take(folder)
    KernelProvisionerFactory.instance(default_provisioner_name=PROVISIONER).provisioners[PROVISIONER] = EntryPoint(
        PROVISIONER, f"{__name__}:{ForkedKernel.__name__}", KernelProvisionerFactory.GROUP_NAME
    )
    papermill.main(args=arguments, prog_name="papermill")


class ForkedKernel(LocalProvisioner):
    """Gives jupyter_client the kernel that was forked before papermill began, in place of a new process."""

    _process: multiprocessing.Process | None = None
    _tell = None  # the end of a pipe that the kernel waits at for its arguments

    @classmethod
    def fork(cls) -> None:
        asked, cls._tell = FORK.Pipe(duplex=False)
        cls._process = FORK.Process(target=_kernel, args=(asked, cls._tell))
        cls._process.start()

    async def launch_kernel(self, cmd: list[str], **kwargs) -> dict:
        begin = [sys.executable, "-m", "ipykernel_launcher"]
        if self._process is None or cmd[: len(begin)] != begin:  # a second kernel, or another Python's
            return await super().launch_kernel(cmd, **kwargs)
        kernel, ForkedKernel._process = self._process, None
        self._tell.send((cmd[len(begin) :], kwargs.get("env") or dict(os.environ), kwargs.get("cwd")))
        self.process, self.pid, self.pgid = _LikePopen(kernel), kernel.pid, kernel.pid
        return self.connection_info


class _LikePopen:
    """A forked process under the names of subprocess.Popen that jupyter_client uses."""

    stdin = stdout = stderr = None

    def __init__(self, process: multiprocessing.Process):
        self.pid, self.terminate, self.kill, self._process = process.pid, process.terminate, process.kill, process

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int | None:
        self._process.join()
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


def _kernel(asked, tell) -> None:
    """What `python -m ipykernel_launcher` does, once papermill has said with which arguments."""
    os.setsid()
    tell.close()  # so that the pipe ends with papermill
    try:
        arguments, environment, cwd = asked.recv()
    except EOFError:
        return
    os.environ.clear()
    os.environ.update(environment | {"JPY_PARENT_PID": str(os.getppid())})
    os.chdir(cwd or os.getcwd())
    sys.argv = ["ipykernel_launcher", *arguments]
    if sys.path[0] in ("", os.getcwd()):
        del sys.path[0]  # IPython puts it back
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else every run would draw the same unasked-for numbers
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if (torch := sys.modules.get("torch")) and threads.isdigit():
        torch.set_num_threads(int(threads))  # it read the variable when it was imported
    parent = f"--IPKernelApp.parent_handle={os.getppid()}"  # it read the environment when it was imported
    IPKernelApp.launch_instance([*arguments, parent])
