"""Files of weights by name, path or address: found in the weights folder, or fetched into it."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from pathlib import Path

from actlib.files import atomic_path, project_root
from actlib.messages import did_you_mean
from actlib.models.weights.file import WeightsError
from actlib.models.weights.published import Published, find_published, published_table
from actlib.progress import progress

CHUNK = 1 << 20  # bytes a step of a download
TIMEOUT_S = 30.0


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
        file = str(name).split("?")[0].rsplit("/", 1)[1]
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


def download(url: str, target: Path, sha256: str = "") -> Path:
    """Fetch `url` to `target` with a progress bar. sha256: the first digits of the checksum; where none is known, it is
    printed.

    Written under a temporary name and renamed once the size is what the server said and the checksum is right.
    (`torch.hub`'s download waits for a silent server for ever, and takes half a file without a checksum for whole.)
    Raises WeightsError.
    """
    print(f"{url} → {target}", flush=True)
    request = urllib.request.Request(url, headers={"User-Agent": "actlib"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, atomic_path(target) as temporary:
            size = int(answer.headers.get("Content-Length") or 0)
            chunks = iter(lambda: answer.read(CHUNK), b"")
            with temporary.open("wb") as out:
                out.writelines(progress(chunks, total=-(-size // CHUNK) or None, desc=f"{target.name}, MB"))
            received = temporary.stat().st_size
            if size and received != size:
                raise WeightsError(f"{url}: {received:,} of {size:,} bytes came; try again")
            with temporary.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if not found.startswith(sha256.lower()):
                raise WeightsError(
                    f"{url}: the checksum begins with {found[: len(sha256)]}, not {sha256}: the file is damaged or "
                    "another one; nothing was kept"
                )
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise WeightsError(f"{url}: not fetched ({error}); fetch it by hand and put it at {target}") from error
    if not sha256:
        print(f"no checksum is published; sha256 {found}")
    return target


def _how_to_get(row: Published, target: Path) -> str:
    if row.url:
        return (
            f"{row.file} is not in {target.parent}: create_model(pretrained={row.file!r}) or `python -m actlib weights "
            f"fetch {row.file}` downloads it, or put {row.url} there by hand"
        )
    return f"{row.file} can only be fetched by hand: download it from {row.page} and put it at {target}" + (
        f" ({row.note})" if row.note else ""
    )
