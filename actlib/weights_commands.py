"""The commands on weights files: `python -m actlib weights …` and `python -m actlib export …`."""

import argparse
import sys
import textwrap
from itertools import zip_longest

from actlib.compute.export import ExportError, export_onnx, export_program
from actlib.messages import shown
from actlib.models import (
    CheckpointError,
    ModelError,
    Published,
    WeightsError,
    create_model,
    find_published,
    find_weights,
    read_checkpoint,
    weights_folder,
)
from actlib.models.weights.convert import ConvertError, convert
from actlib.models.weights.fetch import fetch_weights
from actlib.models.weights.file import read_weights
from actlib.models.weights.identify import fits
from actlib.models.weights.published import published_table

REFUSED = (CheckpointError, ConvertError, ExportError, FileNotFoundError, ModelError, WeightsError)


def run(name: str, options: argparse.Namespace) -> int:
    """Run one of the commands; returns the exit code: 0 good, 1 nothing fits, 2 refused, with the reason printed."""
    commands = {"list": _list, "fetch": _fetch, "inspect": _inspect, "convert": _convert, "export": _export}
    try:
        return commands[name](options)
    except REFUSED as error:
        print(error, file=sys.stderr)
        return 2


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
    for line in zip_longest(*wrapped, fillvalue=""):
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
    told = f", says it is of {shown(file.told)}" if file.told else ""
    print(f"{path}: {file.kind}, {len(file.state)} tensors{told}")
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
            + (f"\n    rests on: {each.rests_on}" if each.rests_on else "")
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
    model = create_model(options.model or None, pretrained=read_checkpoint(options.checkpoint)).eval()
    if (how := model.preprocessing) is None:
        raise CheckpointError(
            f"{options.checkpoint}: no 'preprocessing' in it, which tells how clips are prepared"
        )
    size = options.crop_size or how["crop_size"]
    shape = (model.in_channels, options.num_frames or how["num_frames"], size, size)
    difference = kinds[options.target.suffix](model, options.target, shape)
    print(
        f"{options.target}: {model.spec}, clips (B, {', '.join(map(str, shape))}) to logits (B, {model.num_classes}); "
        f"largest difference {difference:.1g} of the logits' size. Clips must be normalised as the checkpoint says: "
        f"{how['channel_order']}, mean {_numbers(how['mean'])}, std {_numbers(how['std'])}."
    )
    return 0
