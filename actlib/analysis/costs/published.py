"""Published figures of networks, and ours beside them: accuracy, MACs, parameters, speed, and why counts differ.

`literature/` holds the numbers as they were printed:
    resource_efficient.csv  "Resource Efficient 3D Convolutional Neural Networks" (arXiv:1904.02422), table 8
    ibm_mini.csv            the tables of IBM/action-recognition-pytorch on three small data sets
    full_datasets.csv       Kinetics-400 and Something-Something-V2, from several code bases
A table of ours joins them by the *spec* of a network; figures of networks that this project has not carry none.
"""

import functools
import re
from importlib.resources import files

import pandas as pd
import torch

from actlib.analysis.costs.counting_rules import CONVENTIONS, count_as
from actlib.analysis.costs.flops import executed_steps, num_params
from actlib.models import ModelError, VideoModel, create_from_spec, format_spec, parse_spec
from actlib.models.weights.published import spec_of_arch

COLUMNS = (
    "network", "spec", "dataset", "num_classes", "num_frames", "crop_size", "protocol", "top1", "top5",
    "gmacs_published", "params_m_published", "clips_per_s_published", "hardware", "source", "counts",
)  # fmt: skip

RESOURCE_EFFICIENT = "arXiv:1904.02422, table 8"
IBM_MINI = "action-recognition-pytorch, small data sets"

EXACT = 1e-5
AGREES = 0.005  # a smaller difference, as a share, is the rounding of the printed number


class PublishedError(ValueError):
    """A published name that the rule for its table does not fit; the message holds the name and the form expected."""


# --- reading --------------------------------------------------------------------------------------------------


def published_figures() -> pd.DataFrame:
    """All published figures, a row each, with COLUMNS; what a source does not say is missing.

    spec: our network, as `create_from_spec` takes it; empty where there is none.
    num_classes, num_frames, crop_size: of the network whose MACs and parameters are published.
    top1, top5: percent, by `protocol`. gmacs_published: 10⁹ for one view, counted by the rule `counts` (a key of
    `conventions.CONVENTIONS`).
    clips_per_s_published: on `hardware`, at batch 8.
    """
    tables = [_resource_efficient(), _ibm_mini(), _full_datasets()]
    figures = pd.concat([table.reindex(columns=COLUMNS) for table in tables], ignore_index=True)
    texts = ["spec", "dataset", "protocol", "hardware", "counts"]
    return figures.fillna(dict.fromkeys(texts, ""))


def _read(name: str) -> pd.DataFrame:
    with (files("actlib.analysis.costs") / "literature" / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=True)


def _resource_efficient() -> pd.DataFrame:
    """A row a network and data set, with the desktop GPU's speed, and one a network for the speed of the small one."""
    table = _read("resource_efficient.csv")
    common = table[["network", "spec"]].assign(
        num_classes=600, num_frames=16, crop_size=112, source=RESOURCE_EFFICIENT, counts="thop",
        gmacs_published=table["mflops"] / 1e3, params_m_published=table["params_m"],
    )  # fmt: skip
    names = {"kinetics600": "Kinetics-600", "jester": "Jester", "ucf101": "UCF-101"}
    rows = [
        common.assign(
            dataset=dataset,
            protocol="video accuracy",
            top1=table[f"top1_{column}"],
            clips_per_s_published=table["clips_per_s_titan_xp"],
            hardware="Titan XP",
        )
        for column, dataset in names.items()
    ]
    rows.append(common.assign(clips_per_s_published=table["clips_per_s_jetson_tx2"], hardware="Jetson TX2"))
    return pd.concat(rows)


def _ibm_mini() -> pd.DataFrame:
    table = _read("ibm_mini.csv")
    parsed = pd.DataFrame([parse_ibm_name(name) for name in table["network"]])
    return table[["network", "top1", "top5"]].assign(
        **{column: parsed[column] for column in ("spec", "dataset", "num_classes", "num_frames")},
        crop_size=224,
        protocol="trained " + parsed["trained"],
        gmacs_published=table["conv_macs"] / 1e9,
        params_m_published=table["params"] / 1e6,
        source=IBM_MINI,
        counts="convolutions",
    )


def _full_datasets() -> pd.DataFrame:
    return _read("full_datasets.csv").rename(columns={"gmacs": "gmacs_published", "params_m": "params_m_published"})


_IBM_NAME = re.compile(
    r"mini_(?P<dataset>st2stv2|kinetics400|moments)"
    r"(-TAM-b\d+-(sum|max))?-(inception-v1|resnet-\d+|[is]3d(-resnet-\d+)?)(-t[ps](-max|-avg)?)?"  # see spec_of_arch
    r"-f(?P<num_frames>\d+)"
    r"-(?P<schedule>cosine|multisteps)(?P<syncbn>-syncbn)?-bs(?P<batch>\d+)-e(?P<epochs>\d+)(?P<stopped>\*)?"
)
_IBM_DATASETS = {
    "st2stv2": ("Mini-Something-Something-V2", 87),
    "kinetics400": ("Mini-Kinetics-400", 200),
    "moments": ("Mini-Moments", 200),
}


def parse_ibm_name(name: str) -> dict:
    """What a name of the IBM tables says, such as `mini_moments-TAM-b3-sum-resnet-50-tp-max-f16-multisteps-bs60-e35`.

    In order: data set, temporal aggregation (window, method; none: TSN, or a 3-D network), backbone, `tp` or `ts` for
    temporal pooling and its method (none: max), frames, schedule, synchronised batch norm, batch size, epochs, and *
    where training stopped before these. Returns spec, dataset, num_classes, num_frames, trained (in words).
    Raises PublishedError for another form.
    """
    match = _IBM_NAME.fullmatch(name)
    if match is None:
        raise PublishedError(
            f"{name!r}: expected mini_DATASET[-TAM-bN-METHOD]-BACKBONE[-tp[-METHOD]]-fN-SCHEDULE[-syncbn]-bsN-eN[*]"
        )
    said = match.groupdict()
    dataset, num_classes = _IBM_DATASETS[said["dataset"]]
    trained = f"{said['epochs']} epochs, {said['schedule']} schedule, batch {said['batch']}"
    trained += ", synchronised batch norm" if said["syncbn"] else ""
    return {
        "spec": normal_spec(spec_of_arch(name)),
        "dataset": dataset,
        "num_classes": num_classes,
        "num_frames": int(said["num_frames"]),
        "trained": trained + (", stopped before that" if said["stopped"] else ""),
    }


def normal_spec(spec: str) -> str:
    """The spec with its options in order and without defaults, so that two of one network are equal; one that names
    no network of ours, as it is."""
    try:
        return format_spec(*parse_spec(spec))
    except ModelError:
        return spec


# --- beside ours ----------------------------------------------------------------------------------------------


def compare_published(figures: pd.DataFrame, measured: pd.DataFrame | None = None) -> pd.DataFrame:
    """The figures with ours added, which are missing where a row has no spec or no input.

    gmacs, params_m: ours, for the classes and the input of the row. ratio: our GMACs / the published ones.
    ratio_same_rule: the same with ours counted by the source's rule. why: the difference in words.
    clips_per_s: of `measured` (columns model and clips_per_s), by network; missing where it was not measured.
    """
    rows = figures.join(pd.DataFrame([_ours(row) for row in figures.itertuples()], index=figures.index))
    rows["ratio"] = rows["gmacs"] / rows["gmacs_published"]
    rows["ratio_same_rule"] = rows["gmacs_same_rule"] / rows["gmacs_published"]
    rows["why"] = [explain_difference(row) for row in rows.to_dict("records")]
    if measured is not None:
        speeds = measured.assign(spec=measured["model"].map(normal_spec)).groupby("spec")["clips_per_s"].max()
        rows["clips_per_s"] = rows["spec"].map(normal_spec).map(speeds)
    return rows


def _ours(row) -> dict:
    if not row.spec or pd.isna(row.crop_size) or pd.isna(row.num_frames):
        return {"gmacs": float("nan"), "params_m": float("nan"), "gmacs_same_rule": float("nan")}
    shape = (3, int(row.num_frames), int(row.crop_size), int(row.crop_size))
    return count_once(row.spec, int(row.num_classes), shape, row.counts)


@functools.lru_cache(maxsize=4096)
def count_once(spec: str, num_classes: int, shape: tuple[int, int, int, int], counts: str) -> dict:
    """GMACs, million parameters, and 10⁹ by the convention `counts`, of one clip of shape (3, T, H, W)."""
    model = on_meta(spec, num_classes)
    steps = executed_steps(model, shape)
    by_rule = count_as(counts, model, steps) if counts else float("nan")
    return {
        "gmacs": count_as("macs", model, steps) / 1e9,
        "params_m": num_params(model) / 1e6,
        "gmacs_same_rule": by_rule / 1e9,
    }


def figures_of(figures: pd.DataFrame, specs: list[str]) -> pd.DataFrame:
    """The figures of the networks in `specs`, whatever the number of frames that either is meant for."""
    wanted = {_without_frames(spec) for spec in specs}
    return figures[figures["spec"].map(_without_frames).isin(wanted)]


def _without_frames(spec: str) -> str:
    return " ".join(word for word in normal_spec(spec).split() if not word.startswith("num_frames="))


def on_meta(spec: str, num_classes: int) -> VideoModel:
    """The network of a spec without storage: enough to count, at no cost. Raises ModelError as create_from_spec."""
    with torch.device("meta"):
        return create_from_spec(spec, num_classes)


def explain_difference(row: dict) -> str:
    """Why our MACs and the published number differ, in words; empty where no number is published.

    row: source, spec, counts, ratio, ratio_same_rule.
    """
    if pd.isna(row["ratio"]):
        return ""
    if not row["counts"]:
        return "it is not known what the source counts"
    if row["counts"] == "macs" and abs(row["ratio"] - 1) < AGREES:
        return "the same, up to rounding"
    what, rest = f"the source {CONVENTIONS[row['counts']]}", row["ratio_same_rule"] - 1
    known = _known_rest(row) if abs(rest) > EXACT else ""
    if known or abs(rest) >= AGREES:
        return f"{what}; {known or 'counted so, a difference remains'} ({100 * rest:+.2f} %)"
    return f"{what}; counted so, ours is the same"


def _known_rest(row: dict) -> str:
    if row["source"] == IBM_MINI and row["spec"].split()[0] == "i3d" and "temporal_stride=false" in row["spec"]:
        return "the row predates the released code, which pads the last pool"
    return ""
