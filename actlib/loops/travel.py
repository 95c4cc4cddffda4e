"""What of a job its ranks make from the parameters, each for itself, and what cannot travel to them.

Remembered are the very objects that `prepare` made; of the network the parameters too, whose changes torch counts.
"""

from actlib.loops.job import Evaluation
from actlib.models.entries import is_code
from actlib.models.registry import is_builtin

PARTS = (
    "model", "train_data", "val_data", "loader", "val_loader", "batches", "loss", "optimizer", "schedule", "plateau",
    "scaler", "mirrored", "preprocessing", "classes",
)  # fmt: skip
WORDS = {"weights": "the weights of job.model were", "transform": "job.train_data.transform was"}
NETWORK = {"model", "weights", "frozen"}


class PartsError(ValueError):
    """A part of a job that one process alone has, where several are to compute. Says which, and what to do."""


def made_by_prepare(job: Evaluation, given: dict[str, object]) -> dict[str, object]:
    """For `job.made`: each part as `prepare` made it, in a tuple; None for what was `given` to it by this name."""
    return {name: None if given.get(name) is not None else (part,) for name, part in _parts(job).items()}


def can_travel(job: Evaluation) -> bool:
    """Whether other processes can make every part of `job` from its parameters. Where they cannot, `devices: auto`
    means this process alone, which is printed; a number that was asked for raises PartsError."""
    parts, found = _parts(job), {}
    for name, part in parts.items():
        made = job.made.get(name)
        if made is None:
            found[name] = f"{name} was given to prepare"
        elif made[0] is not part and not (isinstance(part, tuple) and made[0] == part):
            found[name] = f"{WORDS.get(name, f'job.{name} was')} changed since"
    if not is_builtin(job.model.name) and not is_code(job.model.name) and not found.keys() & NETWORK:
        found["model"] = f"the network {job.model.name} is registered in this notebook"
    if found and job.p.devices == "auto":
        print(f"one device computes, not {job.devices}: {', '.join(found.values())}, which other processes cannot have")
    elif found:
        file = "Write the network into a file and name it in `model` as file.py:function, or set"
        how = file if NETWORK & {*found} else "Set"
        raise PartsError(
            f"devices: {job.devices} processes are to compute, each with parts made from the parameters, and here "
            f"{', '.join(found.values())}: the others cannot have that. {how} devices: 1"
        )
    return not found


def _parts(job: Evaluation) -> dict[str, object]:
    parts = {name: getattr(job, name) for name in PARTS if hasattr(job, name)}
    if "train_data" in parts:
        parts["transform"] = getattr(job.train_data, "transform", None)
        parts["frozen"] = tuple(map(id, job.frozen))
    parts["weights"] = tuple((id(each), each._version, each.requires_grad) for each in job.model.parameters())
    return parts
