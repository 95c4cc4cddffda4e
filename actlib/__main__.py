"""The command line: `python -m actlib batch|train|evaluate|check|data|weights|export|ledger …`; each has its --help."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from actlib.files import project_root
from actlib.params import NOTEBOOKS, ParamsError, load_yaml, notebook_of
from actlib.runs.batch import read_batch
from actlib.runs.execute import Outcome, run_batch, summary

_WHOSE = "whose parameters they are; else the file's folder tells, or the names in it"


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns the exit code: 0 good, 1 a run failed, 2 bad parameters or files, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (OSError, ParamsError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m actlib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    batch = commands.add_parser("batch", help="execute the steps of a batch file, each notebook in its run folder")
    batch.add_argument("file", type=Path, help="such as params/batch/demo.yaml")
    batch.add_argument("--force", action="store_true", help="repeat the runs that are done already")
    batch.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster that executes it: tcp://host:8786")
    batch.add_argument("--cold", action="store_true", help="start each run's processes anew instead of forking")
    batch.set_defaults(run=_batch)
    for name, what in (("train", "train or fine-tune"), ("evaluate", "get the video accuracy")):
        one = commands.add_parser(name, help=f"{what}: one process, or one of those that torchrun starts")
        one.add_argument("file", type=Path, help="parameters, such as params/train/motion.yaml")
        one.add_argument("--notebook", choices=list(NOTEBOOKS), help=_WHOSE)
        one.set_defaults(run=_with_training(name))
    check = commands.add_parser("check", help="check recipes and batch files without starting anything")
    check.add_argument("files", type=Path, nargs="+", help="YAML files, such as those under params/")
    check.add_argument("--notebook", choices=list(NOTEBOOKS), help=_WHOSE)
    check.set_defaults(run=_check)

    data = commands.add_parser("data", help="published data sets: list, fetch")
    data.set_defaults(run=_with_data("list"))
    actions = data.add_subparsers(dest="action")
    actions.add_parser("list", help="where each is, and how large (as without a word)").set_defaults(
        run=_with_data("list")
    )
    get = actions.add_parser("fetch", help="lists and videos into a folder, and a recipe for notebook 01")
    get.add_argument("name", help="such as ucf101 or kinetics400")
    get.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="gets annotations/ and videos/")
    subsets = ("training", "validation", "testing")
    get.add_argument("--subset", nargs="+", choices=subsets, default=subsets[:2], help="all but testing if left out")
    get.add_argument("--classes", nargs="+", default=[], help="the ones to keep, or a file of them, one a line")
    get.add_argument("--limit", type=_positive, metavar="N", help="at most so many videos of each class in each subset")
    get.add_argument("--workers", type=_positive, default=4, help="archives that are fetched at once (4)")
    get.add_argument("--archive", default="", help="its address or path, where a person was sent one")
    get.add_argument("--keep-archives", action="store_true", help="leave them in videos/.fetch when they are unpacked")
    get.set_defaults(run=_with_data("fetch"))

    weights = commands.add_parser("weights", help="published weights: list, fetch, inspect, convert")
    weights.set_defaults(run=_with_weights("list"))
    actions = weights.add_subparsers(dest="action")
    actions.add_parser("list", help="the table of published files (as without a word)").set_defaults(
        run=_with_weights("list")
    )
    fetch = actions.add_parser("fetch", help="download into the weights folder what has an address")
    fetch.add_argument("names", nargs="+", help="published names, torchvision's names of weights, or addresses")
    fetch.set_defaults(run=_with_weights("fetch"))
    inspect = actions.add_parser("inspect", help="what is known of a file, and which network its layers are of")
    inspect.add_argument("file", help="a path, or a name in the weights folder")
    inspect.set_defaults(run=_with_weights("inspect"))
    turn = actions.add_parser("convert", help="write weights as a checkpoint that notebooks 03 and 04 take")
    turn.add_argument("source", help="a path, a published name or an address")
    turn.add_argument("target", type=Path, help="such as outputs/weights/resnext101.pt")
    turn.add_argument("--model", default="", help="the network on one line, where layers or table leave it open")
    turn.add_argument("--classes", type=Path, help="file of class names, one a line, or a data set: kinetics400, …")
    for name in ("num-frames", "frame-stride", "short-side", "crop-size"):
        turn.add_argument(f"--{name}", type=int, help="instead of the table's")
    for name in ("mean", "std"):
        turn.add_argument(f"--{name}", type=float, nargs=3, help="of the network's channels, 0-1 scale")
    turn.add_argument("--channel-order", choices=("rgb", "bgr"))
    turn.set_defaults(run=_with_weights("convert"))

    export = commands.add_parser("export", help="write a checkpoint's network as ONNX or torch.export program")
    export.add_argument("checkpoint", type=Path, help="of this project; others go through `weights convert` first")
    export.add_argument("target", type=Path, help="its suffix tells the kind: .onnx or .pt2")
    export.add_argument("--model", default="", help="its network, where that is one of your own: file.py:function")
    for name in ("num-frames", "crop-size"):
        export.add_argument(f"--{name}", type=int, help="of the clips; the checkpoint's if left out")
    export.set_defaults(run=_with_weights("export"))
    _add_ledger(commands)
    return parser


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 on")
    return int(text)


def _with_data(name: str) -> Callable[[argparse.Namespace], int]:
    """The handler of a command on data sets, imported when it is asked for."""

    def run(options: argparse.Namespace) -> int:
        from actlib.data_command import run

        return run(name, options)

    return run


def _add_ledger(commands: argparse._SubParsersAction) -> None:
    ledger = commands.add_parser("ledger", help="published figures beside ours: show, update, run what can be run")
    actions = ledger.add_subparsers(dest="action", required=True)
    show = actions.add_parser("show", help="the ledger as it stands in its file")
    update = actions.add_parser("update", help="write it anew: what is published, and what the run folders tell")
    measure = actions.add_parser("run", help="measure what can be measured with the weights and data that are here")
    for each in (show, measure):
        each.add_argument("names", nargs="*", help="files, data sets or networks, * as in a shell; all if left out")
    for each in (show, update, measure):
        each.add_argument("--ledger", default="params/ledger.yaml", help="its file")
        each.set_defaults(run=_with_ledger)
    for each in (update, measure):
        each.add_argument("--tables", nargs="+", help="tables of notebook 01, or their folders; else those in outputs/")
        each.add_argument("--run-dir", default="outputs/ledger", help="where the run folders lie")
    measure.add_argument("--fetch", action="store_true", help="download weights that have an address")
    measure.add_argument("--force", action="store_true", help="repeat what is measured already")
    measure.add_argument("--workers", type=int, default=1, help="runs at a time")
    measure.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="such as batch_size=64 device=cuda")


def _with_ledger(options: argparse.Namespace) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as for a batch
    from actlib.ledger.command import run

    return run(options.action, options)


def _with_weights(name: str) -> Callable[[argparse.Namespace], int]:
    """The handler of a command on weights, imported when it is asked for: torch takes ten seconds."""

    def run(options: argparse.Namespace) -> int:
        from actlib.weights_commands import run

        return run(name, options)

    return run


def _with_training(name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from actlib.training_command import run

        return run(name, options)

    return run


# --- batches and recipes --------------------------------------------------------------------------------------


def _batch(options: argparse.Namespace) -> int:
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's import would start threads, which no fork takes along
    root = project_root()
    batch, outcomes = read_batch(options.file, root), []
    if options.scheduler is not None:
        batch = replace(batch, scheduler=options.scheduler)
    try:
        outcomes = run_batch(batch, root, force=options.force, fork=not options.cold)
        print("\n" + summary(outcomes))
    finally:  # also of what was interrupted
        _report((root / batch.runs[0].folder).parent, outcomes)
    return int(any(each.state in ("failed", "blocked") for each in outcomes))


def _report(folder: Path, outcomes: list[Outcome]) -> None:
    """Write batch_report.html in the batch's folder and say where; why not, where that cannot be."""
    nothing_new = outcomes and all(each.state == "skipped" for each in outcomes)
    if not folder.is_dir() or (nothing_new and (folder / "batch_report.html").is_file()):
        return
    try:
        from actlib.analysis.batch_report import write_report  # with pandas, which may wait until all has run

        told = {each.run.name: (each.state, each.seconds, each.why) for each in outcomes}
        print(f"report: {os.path.relpath(write_report(folder, told))}")
    except (Exception, KeyboardInterrupt) as error:  # what has run has run
        print(f"no report: {type(error).__name__}: {error}", file=sys.stderr)


def _check(options: argparse.Namespace) -> int:
    """Check every file (one with `steps` is a batch), say what each is, and list the errors of all of them."""
    errors = []
    for path in options.files:
        try:
            if "steps" in load_yaml(path):
                print(f"{path}: good, {len(read_batch(path, project_root()).runs)} runs")
            else:
                notebook = options.notebook or _notebook_of(path)
                NOTEBOOKS[notebook].from_file(path)
                print(f"{path}: good for {notebook}")
        except ParamsError as error:
            errors.append(str(error))
    print("\n".join(errors), end="\n" if errors else "", file=sys.stderr)
    return 2 if errors else 0


def _notebook_of(path: Path) -> str:
    try:
        return notebook_of(path)
    except ParamsError as error:
        raise ParamsError(f"{error}; or say whose with --notebook") from None


if __name__ == "__main__":
    sys.exit(main())
