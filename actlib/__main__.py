"""The command line: `python -m actlib batch FILE` and `python -m actlib check FILE …`."""

import argparse
import sys
from pathlib import Path

from actlib.params import NOTEBOOKS, ParamsError, load_yaml, notebook_of
from actlib.runs.batch import read_batch
from actlib.runs.execute import run_batch, summary
from actlib.runs.folder import project_root


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns the exit code: 0 good, 1 a run failed, 2 bad parameters, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="python -m actlib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    batch = commands.add_parser("batch", help="execute the steps of a batch file, each notebook in its run folder")
    batch.add_argument("file", type=Path, help="such as params/batch/demo.yaml")
    batch.add_argument("--force", action="store_true", help="repeat the runs that are done already")
    check = commands.add_parser("check", help="check recipes and batch files without starting anything")
    check.add_argument("files", type=Path, nargs="+", help="YAML files under params/")
    options = parser.parse_args(arguments)
    root = project_root()
    try:
        if options.command == "check":
            return _check(options.files, root)
        outcomes = run_batch(read_batch(options.file, root), root, force=options.force)
    except (ParamsError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    print("\n" + summary(outcomes))
    return int(any(each.state in ("failed", "blocked") for each in outcomes))


def _check(files: list[Path], root: Path) -> int:
    """Check every file (one with `steps` is a batch), say what each is, and list the errors of all of them."""
    errors = []
    for path in files:
        try:
            if "steps" in load_yaml(path):
                print(f"{path}: good, {len(read_batch(path, root).runs)} runs")
            else:
                notebook = notebook_of(path)
                NOTEBOOKS[notebook].from_file(path)
                print(f"{path}: good for {notebook}")
        except ParamsError as error:
            errors.append(str(error))
    print("\n".join(errors), end="\n" if errors else "", file=sys.stderr)
    return 2 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
