"""The command line: `python -m actlib batch|check|weights|export …`; each has its own --help."""

import argparse
import sys
import textwrap
from pathlib import Path

from actlib.files import project_root
from actlib.loops.checkpoint import CheckpointError, model_from_checkpoint
from actlib.loops.convert import ConvertError, convert
from actlib.models import ModelError, Published, WeightsError, find_published, find_weights, weights_folder
from actlib.models.export import ExportError, export_onnx, export_program
from actlib.models.identify import fits
from actlib.models.pretrained import fetch_weights
from actlib.models.published import published_table
from actlib.models.weights_file import read_weights
from actlib.params import NOTEBOOKS, ParamsError, load_yaml, notebook_of
from actlib.runs.batch import read_batch
from actlib.runs.execute import run_batch, summary

REFUSED = (CheckpointError, ConvertError, ExportError, FileNotFoundError, ModelError, ParamsError, WeightsError)


def main(arguments: list[str] | None = None) -> int:
    """Run a subcommand; returns the exit code: 0 good, 1 a run failed, 2 bad parameters or files, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (*REFUSED, RuntimeError) as error:
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
    batch.set_defaults(run=_batch)
    check = commands.add_parser("check", help="check recipes and batch files without starting anything")
    check.add_argument("files", type=Path, nargs="+", help="YAML files under params/")
    check.set_defaults(run=_check)

    weights = commands.add_parser("weights", help="published weights: list, fetch, inspect, convert")
    weights.set_defaults(run=_list)
    actions = weights.add_subparsers(dest="action")
    actions.add_parser("list", help="the table of published files (as without a word)").set_defaults(run=_list)
    fetch = actions.add_parser("fetch", help="download into the weights folder what has an address")
    fetch.add_argument("names", nargs="+", help="published names, torchvision's names of weights, or addresses")
    fetch.set_defaults(run=_fetch)
    inspect = actions.add_parser("inspect", help="what is known of a file, and which network its layers are of")
    inspect.add_argument("file", help="a path, or a name in the weights folder")
    inspect.set_defaults(run=_inspect)
    turn = actions.add_parser("convert", help="write weights as a checkpoint that notebooks 03 and 04 take")
    turn.add_argument("source", help="a path, a published name or an address")
    turn.add_argument("target", type=Path, help="such as outputs/weights/resnext101.pt")
    turn.add_argument("--model", default="", help="the network on one line, where layers or table leave it open")
    turn.add_argument("--classes", type=Path, help="class names, one a line, or 'index name'")
    for name in ("num-frames", "frame-stride", "short-side", "crop-size"):
        turn.add_argument(f"--{name}", type=int, help="instead of the table's")
    for name in ("mean", "std"):
        turn.add_argument(f"--{name}", type=float, nargs=3, help="of the network's channels, 0-1 scale")
    turn.add_argument("--channel-order", choices=("rgb", "bgr"))
    turn.set_defaults(run=_convert)

    export = commands.add_parser("export", help="write a checkpoint's network as ONNX or torch.export program")
    export.add_argument("checkpoint", type=Path, help="of this project; others go through `weights convert` first")
    export.add_argument("target", type=Path, help="its suffix tells the kind: .onnx or .pt2")
    for name in ("num-frames", "crop-size"):
        export.add_argument(f"--{name}", type=int, help="of the clips; the checkpoint's if left out")
    export.set_defaults(run=_export)
    return parser


# --- batches and recipes --------------------------------------------------------------------------------------


def _batch(options: argparse.Namespace) -> int:
    root = project_root()
    outcomes = run_batch(read_batch(options.file, root), root, force=options.force)
    print("\n" + summary(outcomes))
    return int(any(each.state in ("failed", "blocked") for each in outcomes))


def _check(options: argparse.Namespace) -> int:
    """Check every file (one with `steps` is a batch), say what each is, and list the errors of all of them."""
    errors = []
    for path in options.files:
        try:
            if "steps" in load_yaml(path):
                print(f"{path}: good, {len(read_batch(path, project_root()).runs)} runs")
            else:
                notebook = notebook_of(path)
                NOTEBOOKS[notebook].from_file(path)
                print(f"{path}: good for {notebook}")
        except ParamsError as error:
            errors.append(str(error))
    print("\n".join(errors), end="\n" if errors else "", file=sys.stderr)
    return 2 if errors else 0


# --- weights --------------------------------------------------------------------------------------------------

_COLUMNS = (("", 1), ("file", 44), ("network", 29), ("trained on", 22), ("clip", 10), ("top-1", 5))


def _list(options: argparse.Namespace) -> int:
    folder = weights_folder()
    present = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    lines = _row([title for title, _ in _COLUMNS])
    for row in published_table().values():
        mark = "*" if row.file in present else "+" if row.url else ""
        clip = "images" if row.image else f"{row.num_frames}×{row.frame_stride} @{row.crop_size}"
        best = f"{max(each.top1 for each in row.accuracies):g}" if row.accuracies else ""
        lines += _row([mark, row.file, row.spec, row.dataset, clip, best])
    print("\n".join(lines))
    print(f"\n* in {folder}")
    print("+ fetched when asked for; the others by hand: `weights inspect NAME` says where from")
    print("clip: frames × stride @ crop; top-1: the best published figure in percent, its protocol: `weights inspect`")
    return 0


def _row(cells: list[str]) -> list[str]:
    """A table row. A cell wider than its column goes on in the next line, but a file's name stays whole."""
    wrapped = [textwrap.wrap(cell, width) or [""] for cell, (_, width) in zip(cells, _COLUMNS)]
    lines = []
    if len(wrapped[1]) > 1:
        lines.append(f"{cells[0]:<2}{cells[1]}")
        wrapped[:2] = [""], [""]
    height = max(len(cell) for cell in wrapped)
    columns = [[*cell, *[""] * (height - len(cell))] for cell in wrapped]
    for line in zip(*columns):
        lines.append(" ".join(f"{text:<{width}}" for text, (_, width) in zip(line, _COLUMNS)).rstrip())
    return lines


def _fetch(options: argparse.Namespace) -> int:
    for name in options.names:
        print(fetch_weights(name))
    return 0


def _inspect(options: argparse.Namespace) -> int:
    if row := find_published(options.file):
        print(_described(row))
    path = find_weights(options.file)
    file = read_weights(path)
    print(f"{path}: {file.kind}, {len(file.state)} tensors" + (f", says it is of {file.told!r}" if file.told else ""))
    found = fits(file)
    for fit in found:
        print(f"  {fit.spec}, {fit.num_classes} classes" + (f" ({fit.why})" if fit.why else ""))
        if fit.unseen:
            print(f"    layers do not show: {', '.join(fit.unseen)}")
    if not found:
        print("  no network here has these layers")
    return 0 if found else 1


def _described(row: Published) -> str:
    lines = [
        f"{row.file}: {row.spec}, {row.dataset} ({row.num_classes} classes)",
        f"  clips of {row.num_frames} frames, stride {row.frame_stride}, short side {row.short_side}, crop "
        f"{row.crop_size}; {row.channel_order}, mean {_numbers(row.mean)}, std {_numbers(row.std)}",
        *(
            f"  published: top-1 {each.top1:g}"
            + (f", top-5 {each.top5:g}" if each.top5 else "")
            + f" ({each.protocol})"
            for each in row.accuracies
        ),
        f"  from {row.url or row.page}" + (f"; {row.note}" if row.note else ""),
    ]
    return "\n".join(lines)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4g}" for value in values)


def _convert(options: argparse.Namespace) -> int:
    names = ("num_frames", "frame_stride", "short_side", "crop_size", "mean", "std", "channel_order")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    convert(options.source, options.target, spec=options.model, classes=options.classes, **given)
    return 0


def _export(options: argparse.Namespace) -> int:
    kinds = {".onnx": export_onnx, ".pt2": export_program}
    if options.target.suffix not in kinds:
        raise ExportError(f"{options.target}: the suffix must be .onnx or .pt2")
    model, content = model_from_checkpoint(options.checkpoint)
    how = content["preprocessing"]
    size = options.crop_size or how["crop_size"]
    shape = (3, options.num_frames or how["num_frames"], size, size)
    difference = kinds[options.target.suffix](model, options.target, shape)
    print(
        f"{options.target}: {model.spec}, clips (B, {', '.join(map(str, shape))}) to logits (B, {model.num_classes}); "
        f"largest difference {difference:.1g} of the logits' size. Clips must be normalised as the checkpoint says: "
        f"{how['channel_order']}, mean {_numbers(how['mean'])}, std {_numbers(how['std'])}."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
