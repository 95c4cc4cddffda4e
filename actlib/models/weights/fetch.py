"""Files of weights by name, path or address: found in the weights folder, or fetched into it."""

import hashlib
import os
import re
from functools import partial
from pathlib import Path

from actlib.downloads import DownloadError, download
from actlib.files import DiskFull, project_root
from actlib.messages import did_you_mean
from actlib.models.weights.archive import HEAD, what_it_is
from actlib.models.weights.fields import CheckpointError
from actlib.models.weights.file import DamagedFileError, WeightsError, read_weights
from actlib.models.weights.hub import fetch_from_hub, is_folder, is_on_hub
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
    if path.is_file() or is_folder(path):
        return path
    if path.is_dir():
        raise WeightsError(f"{name}: a folder without the config.json of transformers; name a weights file in it")
    row = find_published(name)
    target = weights_folder() / (row.file if row else path.name)
    if _is_bare(name) and (target.is_file() or is_folder(target)):
        return target
    if row:
        missing = "" if _is_bare(name) else f"{path}: no such file. "
        raise WeightsError(missing + _how_to_get(row, target))
    if re.fullmatch(r"[\w-]+/[\w-]+", str(name)):
        raise WeightsError(f"{name}: no such file or folder; a network of transformers' hub is written hf:{name}")
    hint = did_you_mean(path.name, published_table()) or "; `python -m actlib weights` lists those that are"
    raise WeightsError(f"{name}: neither a file, nor in {target.parent}, nor in the table of published weights{hint}")


def fetch_weights(name: str | Path) -> Path:
    """`find_weights`, but what has an address is downloaded into the weights folder if it is not there yet.

    `name` may be an https address itself, or hf:ORGANISATION/NAME of transformers' hub (see `hub`). Raises WeightsError
    where that fails or only a person can fetch the file.
    """
    if re.match(r"https?://", str(name)):
        file = re.split(r"[?#]", str(name))[0].rsplit("/", 1)[1]
        if file in ("", ".", "..") or re.fullmatch(r"https?://[^/]*", str(name)):
            raise WeightsError(f"{name}: the address of a server, not of a file")
        row = find_published(str(name))
        if row and row.url == name:
            file = row.file  # two files of one name, in two folders there, are two here too
        digest = re.search(r"-([0-9a-f]{8,64})\.", file)  # torch's way to name a file by its checksum
        sha256 = row.sha256 if row and row.url == name else digest[1] if digest else ""
        target = weights_folder() / file
        return target if target.is_file() else _download(str(name), target, sha256)
    if is_on_hub(name):
        return fetch_from_hub(str(name))
    row = find_published(name)
    try:
        return find_weights(name)
    except WeightsError:
        if not row or not row.url or not _is_bare(name):
            raise
    return _download(row.url, weights_folder() / row.file, row.sha256)


def _download(url: str, target: Path, sha256: str) -> Path:
    """sha256: the first digits of the checksum; where none is known, it is printed, and the file is kept only if it
    opens as weights. Raises WeightsError."""
    try:
        return download(url, target, partial(_why_wrong, name=target.name, sha256=sha256))
    except DownloadError as error:
        raise WeightsError(str(error)) from error
    except DiskFull as error:
        raise WeightsError(f"{url}: {error}; or let ACTLIB_WEIGHTS name a folder on another disk") from error


def _why_wrong(path: Path, name: str, sha256: str) -> str:
    """What a file that came is wrong by; empty for the right one."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        if why := what_it_is(file.read(HEAD)):
            return why
    if not found.startswith(sha256.lower()):
        return f"the checksum begins with {found[: len(sha256)]}, not {sha256}: it is damaged or another file"
    if not sha256:
        try:
            read_weights(path)
        except (WeightsError, CheckpointError) as error:
            return error.why if isinstance(error, DamagedFileError) else str(error).replace(str(path), name)
        print(f"no checksum is published; sha256 {found}")
    return ""


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
