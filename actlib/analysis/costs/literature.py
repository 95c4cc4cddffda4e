"""Published figures of networks, and ours beside them: accuracy, MACs, parameters, speed, and why counts differ.

`literature_data/` holds the figures, a row each:
    resource_efficient.csv  "Resource Efficient 3D Convolutional Neural Networks" (arXiv:1904.02422), table 8
    ibm_mini.csv            the tables of IBM/action-recognition-pytorch on three small data sets
    full_datasets.csv       Kinetics-400 and Something-Something-V2, from several code bases
A table of ours joins them by the *spec* of a network; figures of networks that this project has not carry none.
"""

import functools
from importlib.resources import files

import pandas as pd

from actlib.analysis.costs.counting_rules import COUNTING_RULES, count_as
from actlib.analysis.costs.flops import executed_steps, num_params, on_meta
from actlib.models import ModelError, format_spec, parse_spec
from actlib.progress import progress

COLUMNS = (
    "network", "spec", "dataset", "num_classes", "num_frames", "crop_size", "protocol", "top1", "top5",
    "gmacs_published", "params_m_published", "clips_per_s_published", "hardware", "source", "counts",
)  # fmt: skip
FILES = ("resource_efficient", "ibm_mini", "full_datasets")
OURS = ["gmacs", "params_m", "gmacs_same_rule"]
IBM_MINI = "action-recognition-pytorch, small data sets"

EXACT = 1e-5
AGREES = 0.005  # a smaller difference, as a share, is the rounding of the printed number


def published_figures() -> pd.DataFrame:
    """All published figures, a row each, with COLUMNS; what a source does not say is missing.

    spec: our network, as `create_from_spec` takes it; empty where there is none.
    num_classes, num_frames, crop_size: of the network whose MACs and parameters are published.
    top1, top5: percent, by `protocol`. gmacs_published: 10⁹ for one view, counted by the rule `counts` (one of
    COUNTING_RULES; empty where it is not known). clips_per_s_published: on `hardware`, at batch 8.
    """
    folder = files("actlib.analysis.costs") / "literature_data"
    tables = [pd.read_csv(folder / f"{name}.csv") for name in FILES]
    figures = pd.concat(tables, ignore_index=True).reindex(columns=list(COLUMNS))
    return figures.fillna(dict.fromkeys(["spec", "dataset", "protocol", "hardware", "counts"], ""))


def normal_spec(spec: str) -> str:
    """The spec with its options in order and without defaults, so that two of one network are equal; one that names
    no network of ours, as it is."""
    try:
        return format_spec(*parse_spec(spec))
    except ModelError:
        return spec


def figures_of(figures: pd.DataFrame, specs: list[str]) -> pd.DataFrame:
    """The figures of the networks in `specs`, whatever the number of frames that either is meant for."""
    wanted = {_without_frames(spec) for spec in specs}
    return figures[figures["spec"].map(_without_frames).isin(wanted)]


def _without_frames(spec: str) -> str:
    return " ".join(word for word in normal_spec(spec).split() if not word.startswith("num_frames="))


# --- beside ours ----------------------------------------------------------------------------------------------


def compare_published(figures: pd.DataFrame, measured: pd.DataFrame | None = None) -> pd.DataFrame:
    """The figures with ours added, which are missing where a row has no spec or no input.

    gmacs, params_m: ours, for the classes and the input of the row. gmacs_same_rule: ours counted by the source's rule.
    ratio, ratio_same_rule: each divided by the published GMACs. why: the difference in words.
    clips_per_s: of `measured` (columns model and clips_per_s), by network; missing where it was not measured.
    """
    asked = figures[["spec", "num_classes", "num_frames", "crop_size", "counts"]].itertuples(index=False)
    asked = progress(asked, total=len(figures), desc="published figures")
    rows = figures.join(pd.DataFrame([_ours(*row) for row in asked], index=figures.index, columns=OURS))
    rows["ratio"] = rows["gmacs"] / rows["gmacs_published"]
    rows["ratio_same_rule"] = rows["gmacs_same_rule"] / rows["gmacs_published"]
    rows["why"] = [explain_difference(row) for row in rows.to_dict("records")]
    if measured is not None:
        speeds = measured.groupby(measured["model"].map(normal_spec))["clips_per_s"].max()
        rows["clips_per_s"] = rows["spec"].map(normal_spec).map(speeds)
    return rows


@functools.lru_cache(maxsize=4096)
def _ours(spec: str, num_classes: int, num_frames: float, crop_size: float, rule: str) -> tuple[float, ...]:
    """OURS of one clip: 10⁹ MACs, million parameters, and 10⁹ by the counting rule; NaN where the input is not known
    or there is no such network or rule."""
    if not spec or pd.isna(num_frames) or pd.isna(crop_size):
        return (float("nan"),) * len(OURS)
    model = on_meta(spec, num_classes)
    steps = executed_steps(model, (model.in_channels, int(num_frames), int(crop_size), int(crop_size)))
    by_rule = count_as(rule, model, steps) if rule else float("nan")
    return count_as("macs", model, steps) / 1e9, num_params(model) / 1e6, by_rule / 1e9


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
    what, rest, known = f"the source {COUNTING_RULES[row['counts']]}", row["ratio_same_rule"] - 1, ""
    if row["source"] == IBM_MINI and row["spec"].startswith("i3d ") and "temporal_stride=false" in row["spec"]:
        known = "the row predates the released code, which pads the last pool" if abs(rest) > EXACT else ""
    if known or abs(rest) >= AGREES:
        return f"{what}; {known or 'counted so, a difference remains'} ({100 * rest:+.2f} %)"
    return f"{what}; counted so, ours is the same"
