"""Networks with published weights: found in the weights folder or fetched, and set up as the table says."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path

from actlib.files import atomic_path, project_root
from actlib.models import registry
from actlib.models.registry import ModelError, Scalar, VideoModel, format_spec, parse_spec
from actlib.models.weights.file import WeightsError, WeightsFile, read_weights
from actlib.models.weights.identify import Fit, fits
from actlib.models.weights.inflate import is_image_network
from actlib.models.weights.load import load_tensors
from actlib.models.weights.published import Published, find_published, near_names
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
    near = near_names(name)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; `python -m actlib weights` lists those that are"
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
    Raises WeightsError.
    """
    print(f"{url} → {target}", flush=True)
    digest = hashlib.sha256()
    request = urllib.request.Request(url, headers={"User-Agent": "actlib"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, atomic_path(target) as temporary:
            size = int(answer.headers.get("Content-Length") or 0)
            received = 0
            with temporary.open("wb") as out:
                chunks = iter(lambda: answer.read(CHUNK), b"")
                for chunk in progress(chunks, total=-(-size // CHUNK) or None, desc=f"{target.name}, MB"):
                    out.write(chunk)
                    digest.update(chunk)
                    received += len(chunk)
            if size and received != size:
                raise WeightsError(f"{url}: {received:,} of {size:,} bytes came; try again")
            if not digest.hexdigest().startswith(sha256.lower()):
                raise WeightsError(
                    f"{url}: the checksum begins with {digest.hexdigest()[: len(sha256)]}, not {sha256}: the file is "
                    "damaged or another one; nothing was kept"
                )
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise WeightsError(f"{url}: not fetched ({error}); fetch it by hand and put it at {target}") from error
    if not sha256:
        print(f"no checksum is published; sha256 {digest.hexdigest()}")
    return target


def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    *,
    pretrained: str | Path | None = None,
    inflate: str = "repeat",
    **options: Scalar,
) -> VideoModel:
    """Build a model: randomly initialised, or with `pretrained` weights; in training mode.

    pretrained: a published file's name (`python -m actlib weights` lists them), the name of one of torchvision's
    weights, an address, or the path of any weights file, a checkpoint of this project among them. Network, options and
    classes come from the table or the checkpoint, else from the layers; what is given here must not contradict them.
    Another `num_classes` than the file's gives a fresh head, which the report says. An image network's weights
    (ImageNet) are inflated as `inflate` says into the network `name`, which then must be given.

    The model gets the attributes `preprocessing` (num_frames, frame_stride, short_side, crop_size, mean, std,
    channel_order; None if unknown), `classes` (their names, None if unknown) and `load_report`; None without weights.

    Raises ModelError for a contradiction or what cannot be built, WeightsError for what cannot be found or loaded.
    """
    if pretrained is None:
        if name is None or num_classes is None:
            raise ModelError("a name and num_classes are needed, or pretrained weights that tell them")
        model = registry.create_model(name, num_classes, **options)
        model.preprocessing = model.classes = model.load_report = None
        return model
    if name is not None:
        format_spec(name, options)  # a wrong name or option is told before anything is read or fetched
    row = find_published(pretrained)
    if row and row.image and name is None:
        raise ModelError(f"{row.file} is of an image network: name the video network to be started from it")
    file = read_weights(fetch_weights(pretrained))
    told = _told(file, row, name, options)
    told_name, told_options = parse_spec(told.spec)
    _refuse_contradiction(file.path, told_name, told_options, name, options)
    if num_classes is None and told.num_classes is None:
        raise ModelError(f"{file.path} does not tell the number of classes: say num_classes")
    replaced = num_classes not in (None, told.num_classes)
    model = registry.create_model(
        told_name, num_classes if replaced else told.num_classes, **(told_options | options)
    )  # fmt: skip
    model.load_report = load_tensors(model, file, replace_head=replaced, inflate=inflate)
    model.preprocessing = {"channel_order": "rgb", **told.preprocessing} if told.preprocessing else None
    model.classes = None if replaced else told.classes
    return model


@dataclass(frozen=True)
class _Told:
    """What is known of a file."""

    spec: str
    num_classes: int | None
    preprocessing: dict | None = None
    classes: list[str] | None = None


def _told(file: WeightsFile, row: Published | None, name: str | None, options: dict[str, Scalar]) -> _Told:
    """A checkpoint of ours says all itself. Else the table does, but for what the layers show otherwise: somebody may
    have trained on under the same name. Without a row the layers alone tell."""
    own = file.content.get("model")
    if isinstance(own, dict) and "spec" in own:
        return _Told(own["spec"], own["num_classes"], file.content.get("preprocessing"), file.content.get("classes"))
    row = row or find_published(file.path)
    if row and not row.image:
        found = fits(file, names=[row.spec.split()[0]])
        spec, num_classes = (found[0].spec, found[0].num_classes) if found else (row.spec, row.num_classes)
        classes = list(row.classes) if row.classes and num_classes == row.num_classes else None
        return _Told(spec, num_classes, row.preprocessing, classes)
    if name is not None and is_image_network(file.state) and not fits(file, names=[name]):
        found = fits(file)  # the image network itself, for the size of its head
        num_classes = found[0].num_classes if found else None
        return _Told(format_spec(name, options), num_classes, row.preprocessing if row else None)
    fit = _identified(file, name, options)
    return _Told(fit.spec, fit.num_classes, row.preprocessing if row else None)


def _identified(file: WeightsFile, name: str | None, options: dict[str, Scalar]) -> Fit:
    """The likeliest network of a file that no table knows, among those of this name and these options."""
    found = fits(file, names=None if name is None else [name])
    for fit in found:
        told_name, told = parse_spec(fit.spec)
        complete = registry.model_options(told_name) | told
        if all(complete.get(key) == value for key, value in options.items() if key not in fit.unseen):
            return replace(fit, spec=format_spec(told_name, told | options))
    if found:
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        raise ModelError(f"{file.path} holds {' or '.join(fit.spec for fit in found)}; {given} contradicts that")
    if name is not None and (others := fits(file)):
        raise ModelError(f"{file.path} does not hold {name}, but {' or '.join(fit.spec for fit in others)}")
    near = near_names(file.path)
    hint = f"; of a name like it is the published {' or '.join(near)}" if near else ""
    raise WeightsError(f"{file.path}: no network here has its layers{hint}")


def _refuse_contradiction(
    path: Path, told_name: str, told: dict[str, Scalar], name: str | None, options: dict[str, Scalar]
) -> None:
    """The clip length (`num_frames`) of a network that takes any may differ from the file's; nothing else may."""
    if name is not None and name != told_name:
        raise ModelError(f"{path} is of {told_name}, not of {name}")
    complete = registry.model_options(told_name) | told
    for option, value in options.items():
        if option not in complete:
            raise ModelError(f"{path} is of a {told_name}, which has no option {option!r}")
        if complete[option] != value and option != "num_frames":
            raise ModelError(f"{path} is of a {told_name} with {option}={complete[option]}, not {value}")


def _how_to_get(row: Published, target: Path) -> str:
    if row.url:
        return (
            f"{row.file} is not in {target.parent}: create_model(pretrained={row.file!r}) or `python -m actlib weights "
            f"fetch {row.file}` downloads it, or put {row.url} there by hand"
        )
    return f"{row.file} can only be fetched by hand: download it from {row.page} and put it at {target}" + (
        f" ({row.note})" if row.note else ""
    )
