"""The commands on data sets: `python -m actlib data list` and `python -m actlib data fetch NAME --to FOLDER`."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from actlib.datasets.addresses import all_addresses
from actlib.datasets.catalog import find_dataset, list_datasets
from actlib.datasets.errors import DataError
from actlib.datasets.fetching.dataset import Fetched, fetch
from actlib.files import in_bytes, write_text


def run(name: str, options: argparse.Namespace) -> int:
    """Run one of the commands; returns the exit code: 0 good, 1 something did not come, 2 refused, with the reason
    printed."""
    try:
        return {"list": _list, "fetch": _fetch}[name](options)
    except (DataError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _list(options: argparse.Namespace) -> int:
    found = all_addresses()
    for name in list_datasets():
        known, entry = find_dataset(name), found.get(name)
        if entry is None:
            continue
        size = entry.size or sum(each.bytes for each in entry.archives)
        how = in_bytes(size) if entry.is_open else "by hand"
        print(f"{name:<15} {known.title:<27} {known.num_classes:>3} classes {how:>9}  {entry.page}")
    print("\nby hand: a person has to sign or ask first; `data fetch NAME --to FOLDER` says how, and what to put where")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    name, folder = find_dataset(options.name).name, options.to
    lists, videos, recipe = folder / "annotations", folder / "videos", folder / "data_prep.yaml"
    how = {"classes": options.classes, "limit": options.limit, "workers": options.workers, "archive": options.archive}
    found = fetch(name, videos, lists, subsets=options.subset, keep_archives=options.keep_archives, **how)
    print(f"{found.kept:,} of {found.wanted:,} videos are in {videos}")
    if found.failed:
        lines = [f"{len(found.failed)} did not come; the same command tries again:", *found.failed]
        print("\n".join(lines), file=sys.stderr)
    write_text(recipe, _recipe(name, lists, videos, found, folder))
    print(f"python -m papermill notebooks/01_data_prep.ipynb outputs/{name}.ipynb -f {shlex.quote(str(recipe))}")
    return 1 if found.failed else 0


def _recipe(name: str, lists: Path, videos: Path, found: Fetched, folder: Path) -> str:
    """The parameters of notebook 01 for what was fetched."""
    from actlib.params import DataPrepParams

    class_list = folder / "classes.txt" if found.classes else ""
    if class_list:
        write_text(class_list, "".join(f"{each}\n" for each in found.classes))
    paths = {"annotations": lists, "data_root": videos, "class_list": class_list}
    places = {key: os.path.abspath(path) if path else "" for key, path in paths.items()}
    values = {"run_dir": f"outputs/{name}", "source": "annotations", "dataset": name, **places}
    return DataPrepParams.build(values, "the recipe").as_yaml(only_changes=True)
