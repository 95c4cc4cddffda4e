"""Files of weights by name, path or address: found in the weights folder, or fetched into it."""

import os
import re
from pathlib import Path

from actlib.files import project_root
from actlib.messages import did_you_mean
from actlib.models.weights.download import download
from actlib.models.weights.file import WeightsError
from actlib.models.weights.published import Published, find_published, published_table


def weights_folder() -> Path:
    """Where weights lie: the environment's ACTLIB_WEIGHTS, else outputs/weights of the project around the working
    folder, or of that folder itself."""
    if folder := os.environ.get("ACTLIB_WEIGHTS"):
        return Path(folder).expanduser()
    return project_root() / "outputs" / "weights"


def find_weights(name: str | Path) -> Path:
    """The path of a weights file: `name` itself where it is one, else the file of that name in the weights folder.

    Nothing is read or fetched. Raises WeightsError, saying where to get it and where to put it.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    row = find_published(name)
    target = weights_folder() / (row.file if row else path.name)
    if _is_bare(name) and target.is_file():
        return target
    if row:
        missing = "" if _is_bare(name) else f"{path}: no such file. "
        raise WeightsError(missing + _how_to_get(row, target))
    hint = did_you_mean(path.name, published_table()) or "; `python -m actlib weights` lists those that are"
    raise WeightsError(f"{name}: neither a file, nor in {target.parent}, nor in the table of published weights{hint}")


def fetch_weights(name: str | Path) -> Path:
    """`find_weights`, but what has an address is downloaded into the weights folder if it is not there yet.

    `name` may be an https address itself. Raises WeightsError where that fails or only a person can fetch the file.
    """
    if re.match(r"https?://", str(name)):
        file = re.split(r"[?#]", str(name))[0].rsplit("/", 1)[1]
        if file in ("", ".", "..") or re.fullmatch(r"https?://[^/]*", str(name)):
            raise WeightsError(f"{name}: the address of a server, not of a file")
        row = find_published(file)
        digest = re.search(r"-([0-9a-f]{8,64})\.", file)  # torch's way to name a file by its checksum
        sha256 = row.sha256 if row and row.url == name else digest[1] if digest else ""
        target = weights_folder() / file
        return target if target.is_file() else download(str(name), target, sha256)
    row = find_published(name)
    try:
        return find_weights(name)
    except WeightsError:
        if not row or not row.url or not _is_bare(name):
            raise
    return download(row.url, weights_folder() / row.file, row.sha256)


def _is_bare(name: str | Path) -> bool:
    """Whether it is a name without a folder, which stands for a file in the weights folder."""
    return str(name) == Path(name).name


def _how_to_get(row: Published, target: Path) -> str:
    if row.url:
        return (
            f"{row.file} is not in {target.parent}: create_model(pretrained={row.file!r}) or `python -m actlib weights "
            f"fetch {row.file}` downloads it, or put {row.url} there by hand"
        )
    return f"{row.file} can only be fetched by hand: download it from {row.page} and put it at {target}" + (
        f" ({row.note})" if row.note else ""
    )
