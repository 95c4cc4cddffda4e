"""`create_model`, the one way to open a network: fresh, from published weights, from any file, from a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

from actlib.files import digest
from actlib.messages import shown
from actlib.models.entries import code_file, function_of, is_code, refusal
from actlib.models.registry import (
    OWN_MODULE,
    ModelError,
    Scalar,
    VideoModel,
    create_from_spec,
    is_builtin,
    library_of,
    list_models,
    merge_options,
    model_options,
    parse_spec,
)
from actlib.models.weights.fetch import fetch_weights
from actlib.models.weights.fields import UNSAID, CheckpointError
from actlib.models.weights.file import WeightsError, WeightsFile
from actlib.models.weights.hub import read_pretrained
from actlib.models.weights.identify import fits, head_size
from actlib.models.weights.inflate import is_image_network
from actlib.models.weights.load import load_weights
from actlib.models.weights.published import Published, find_published, near_names, published_as


@dataclass(frozen=True)
class _Told:
    """What is known of a file."""

    name: str
    options: dict[str, Scalar]
    num_classes: int | None
    preprocessing: dict | None = None
    classes: list[str] | None = None


def create_model(
    name: str | None = None,
    num_classes: int | None = None,
    *,
    pretrained: str | Path | WeightsFile | None = None,
    inflate: str = "repeat",
    untold_classes: int | None = None,
    **options: Scalar,
) -> VideoModel:
    """Build a model: randomly initialised, or with `pretrained` weights; in training mode.

    name: a network's name or whole spec (see `registry`), one in a file of the user's included.
    pretrained: a published file's name (`python -m actlib weights` lists them), the name of one of torchvision's
    weights, an address, the path of any weights file, a checkpoint of this project among them, or one that is read
    already; a folder of transformers, or hf:ORGANISATION/NAME for one of its hub (see `hub`). Network, options and
    classes come from the checkpoint, the folder or the table, else from the layers; what is given here must not
    contradict them. Another `num_classes` than the file's gives a fresh head, which the report says. An image network's
    weights (ImageNet) are inflated as `inflate` says into the network `name`, which then must be given.
    untold_classes: stands for `num_classes` where the file has no head that tells it, as of self-supervised training.

    The model has the attributes `spec`, `name`, `options`, `num_classes`, `in_channels`, and of its weights
    `preprocessing` (as in a checkpoint; None if unknown), `classes` (None if unknown) and `load_report`.

    A checkpoint of a network of the user's names its function. That is called where `name` names a function of that
    name, which then need not be the same file, or where its file lies in the working folder (see `entries.refusal`).

    Raises ModelError for a contradiction or what cannot be built, WeightsError for what cannot be found or loaded,
    CheckpointError for a checkpoint whose network is not known here or whose code nobody named.
    """
    if pretrained is None:
        if name is None or num_classes is None:
            raise ModelError("a name and num_classes are needed, or pretrained weights that tell them")
        return create_from_spec(name, num_classes, **options)
    if name is not None:
        name, options = merge_options(name, options)
    read = isinstance(pretrained, WeightsFile)
    row = find_published(pretrained.path if read else pretrained)
    if row and row.image and name is None:
        raise ModelError(f"{row.file} is of an image network: name the video network to be started from it")
    file = pretrained if read else read_pretrained(fetch_weights(pretrained))
    if file.network:
        length = {name: value for name, value in options.items() if name == "num_frames"}
        told = _Told(**file.network | {"preprocessing": file.network["preprocessing"] | length})
    else:
        told = (_told_by_checkpoint if file.own else _told_by_table_or_layers)(file, row, name, options)
    _refuse_contradiction(file.path, told, name, options)
    if told.num_classes is None and num_classes is None:
        num_classes = untold_classes
    if num_classes is None and told.num_classes is None:
        raise ModelError(f"{file.path} does not tell the number of classes: say num_classes")
    replaced = num_classes not in (None, told.num_classes)
    try:
        model = create_from_spec(
            told.name, num_classes if replaced else told.num_classes, **(told.options | options)
        )
    except (ModelError, RuntimeError, MemoryError) as error:  # one too large for the memory among them
        reason = str(error).partition("\n")[0][:500]
        raise ModelError(f"{file.path}: the model of this file cannot be built: {reason}") from error
    for name in ("mean", "std") if told.preprocessing else ():
        if len(told.preprocessing.get(name, [0])) not in (1, model.in_channels):
            raise CheckpointError(
                f"{file.path}: preprocessing.{name} has {len(told.preprocessing[name])} numbers, and the clips of its "
                f"network have {model.in_channels} channels"
            )
    model.load_report = load_weights(model, file, replace_head=replaced, inflate=inflate)
    model.preprocessing = UNSAID | told.preprocessing if told.preprocessing else None
    model.classes = None if replaced else told.classes
    return model


# --- what a checkpoint of this project says -------------------------------------------------------------------


def _told_by_checkpoint(file: WeightsFile, row: object, name: str | None, options: dict[str, Scalar]) -> _Told:
    """A checkpoint says all itself, but for the options of a module that was made by hand, which are those that the
    user gives. Code that it names is not touched before it is clear that it may be run."""
    own = {"options": {}, **file.content["model"]}  # which an older checkpoint has in its spec alone
    classes = file.content.get("classes")
    wanted, told_name = own["name"], own["name"].removesuffix(OWN_MODULE)
    words = own["spec"].removeprefix(wanted).split()
    if told_name.split() != [told_name] or not own["spec"].startswith(wanted) or not all("=" in each for each in words):
        raise CheckpointError(f"{file.path}: damaged: the spec {shown(own['spec'])} is not one of {shown(wanted)}")
    if name is not None and not is_builtin(wanted) and function_of(name) == function_of(told_name):
        told_name = name
    elif name not in (None, wanted):
        raise ModelError(f"{file.path} is of {wanted}, not of {name}")
    elif is_code(wanted):
        _require_allowed(file.path, wanted)
    elif not is_builtin(wanted) and wanted not in list_models():
        raise CheckpointError(
            f"{file.path}: its network {wanted!r} was registered or made in a notebook, and is not known here; run the "
            f"cell that registers it, or put the function into a file and name it, as in model: my_nets.py:{told_name}"
        )
    _say_if_changed(file, told_name)
    told = parse_spec(" ".join([told_name, *words]))[1] | own["options"]
    told = options if wanted.endswith(OWN_MODULE) else told
    return _Told(told_name, told, own["num_classes"], file.content.get("preprocessing"), classes)


def _require_allowed(path: Path, name: str) -> None:
    if why := refusal(name):
        raise CheckpointError(
            f"{path}: its network is code, {name!r}, which is not run on the word of a checkpoint: {why}. If you trust "
            "it, name it yourself with the parameter `model` (create_model's `name`, --model), such as "
            f"model: FILE.py:{function_of(name)}"
        )


def _say_if_changed(file: WeightsFile, name: str) -> None:
    """Print it where the user's code is not what it was when the checkpoint was written."""
    code = file.content["model"].get("code")
    if not isinstance(code, dict) or not is_code(name):
        return
    now = digest(code_file(name))
    if now != code.get("sha256"):
        print(
            f"{file.path}: {name.rpartition(':')[0]} has changed since this checkpoint was written (sha256 "
            f"{code.get('sha256')}, now {now}): the network is built as the file is now"
        )


# --- what is known of other files -----------------------------------------------------------------------------


def _told_by_table_or_layers(
    file: WeightsFile, row: Published | None, name: str | None, options: dict[str, Scalar]
) -> _Told:
    """The table tells, but for what the layers show otherwise: somebody may have trained on under the same name.
    Without a row the layers alone tell."""
    row = row or find_published(file.path)
    preprocessing = row.preprocessing if row else None
    if name is not None and (not is_builtin(name) or library_of(name)):  # whose options layers cannot tell
        return _Told(name, options, head_size(file, name, options) or None, preprocessing)
    if row and not row.image:
        found = fits(file, names=[row.spec.split()[0]])
        spec, num_classes = (found[0].spec, found[0].num_classes) if found else (row.spec, row.num_classes)
        if num_classes != row.num_classes and (other := published_as(file.path.name, num_classes)):
            row, preprocessing = other, other.preprocessing  # published under the same name, of another data set
        classes = list(row.classes) if row.classes and num_classes == row.num_classes else None
        return _Told(*parse_spec(spec), num_classes, preprocessing, classes)
    if name is not None and is_image_network(file.state) and not fits(file, names=[name]):
        found = fits(file)  # the image network itself, for the size of its head
        return _Told(name, options, found[0].num_classes if found else None, preprocessing)
    found = fits(file, names=None if name is None else [name])
    for fit in found:  # the likeliest with these options
        told_name, told = parse_spec(fit.spec)
        complete = model_options(told_name) | told
        if all(complete.get(key) == value for key, value in options.items() if key not in fit.unseen):
            return _Told(told_name, told | options, fit.num_classes, preprocessing)
    if found:
        given = ", ".join(f"{key}={value}" for key, value in options.items())
        raise ModelError(f"{file.path} holds {' or '.join(fit.spec for fit in found)}; {given} contradicts that")
    if name is not None and (others := fits(file)):
        raise ModelError(f"{file.path} does not hold {name}, but {' or '.join(fit.spec for fit in others)}")
    near = near_names(file.path)
    hint = f"; of a name like it is the published {' or '.join(near)}" if near else ""
    raise WeightsError(f"{file.path}: no network here has its layers{hint}")


def _refuse_contradiction(path: Path, told: _Told, name: str | None, options: dict[str, Scalar]) -> None:
    """The clip length (`num_frames`) of a network that takes any may differ from the file's; nothing else may."""
    if name is not None and name != told.name:
        raise ModelError(f"{path} is of {told.name}, not of {name}")
    complete = model_options(told.name) | told.options
    for option, value in options.items():
        if option not in complete:
            raise ModelError(f"{path} is of a {told.name}, which has no option {option!r}")
        if complete[option] != value and option != "num_frames":
            raise ModelError(f"{path} is of a {told.name} with {option}={complete[option]}, not {value}")
