"""What a run does: one validated model a notebook, with its names, types, bounds, defaults and help.

The defaults fit the demo: after `make demo` every notebook runs by hand as it is, in a minute or two on a CPU.

The same model checks a YAML file (`from_file`), the cell of a notebook edited by hand (`from_notebook`) and a batch
file before its first run starts. Unknown names are refused with the nearest one, and all errors come at once.
Flat on purpose: papermill replaces a nested parameter as a whole.
"""

from collections.abc import Collection
from pathlib import Path

from actlib.messages import did_you_mean, listed
from actlib.params.base import Params, ParamsError, load_yaml
from actlib.params.data import DataPrepParams
from actlib.params.evaluation import CompareParams, FlopsParams, FusionParams, VideoAccuracyParams
from actlib.params.exploring import ExploreParams
from actlib.params.predicting import PredictParams
from actlib.params.training import FinetuneParams, TrainingParams, TrainParams, read_factors

__all__ = [
    "NOTEBOOKS", "CompareParams", "DataPrepParams", "ExploreParams", "FinetuneParams", "FlopsParams", "FusionParams",
    "Params", "ParamsError", "PredictParams", "TrainParams", "TrainingParams", "VideoAccuracyParams", "load_yaml",
    "notebook_of", "read_factors",
]  # fmt: skip

NOTEBOOKS: dict[str, type[Params]] = {
    "01_data_prep": DataPrepParams,
    "02_train": TrainParams,
    "03_finetune": FinetuneParams,
    "04_video_accuracy": VideoAccuracyParams,
    "05_flops": FlopsParams,
    "06_compare": CompareParams,
    "07_explore": ExploreParams,
    "08_predict": PredictParams,
    "09_fusion": FusionParams,
}


def notebook_of(path: str | Path, among: Collection[str] = tuple(NOTEBOOKS)) -> str:
    """The notebook a recipe belongs to, by its folder: params/train/x.yaml -> 02_train. Of a file elsewhere the one
    `among` these whose parameters have all of its names. Raises ParamsError where that is none or several."""
    path = Path(path)
    folder = path.resolve().parent.name
    for name in NOTEBOOKS:
        if name.split("_", 1)[1] == folder:
            return name
    if not path.is_file():
        folders = ", ".join(name.split("_", 1)[1] for name in NOTEBOOKS)
        raise ParamsError(f"{path}: its folder {folder!r} names no notebook; put it under params/ in one of {folders}")
    given = load_yaml(path)
    lacking = {name: [each for each in given if each not in NOTEBOOKS[name].model_fields] for name in among}
    fitting = [name for name, unknown in lacking.items() if not unknown]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        books = ", ".join(fitting)
        raise ParamsError(f"{path}: its parameters fit {books} alike; put it under params/ into the folder of one")
    nearest = min(lacking, key=lambda name: len(lacking[name]))
    unknown = lacking[nearest]
    hint = did_you_mean(unknown[0], NOTEBOOKS[nearest].model_fields, 1, cutoff=0.5)
    raise ParamsError(
        f"{path}: its parameters fit none of {', '.join(among)}; {nearest} has {len(given) - len(unknown)} of "
        f"{len(given)}, not {listed(unknown, 5)}{hint}"
    )
