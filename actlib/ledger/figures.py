"""The rows of the ledger, as they follow from the table of published weights and from what is here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from actlib.ledger.book import Entry, Figures, Ours
from actlib.ledger.data import SUBSET, Table, table_of
from actlib.models import Published, WeightsError, find_weights
from actlib.models.weights.published import Accuracy, published_table
from actlib.params import ParamsError, VideoAccuracyParams
from actlib.progress import progress

NOT_RUN = "not run"


@dataclass(frozen=True)
class Figure:
    """A published figure with its file of weights: `accuracy` is None where a file has none. `weights`: its path, empty
    where it is not here; `table`: its data set, None where that is not here."""

    row: Published
    accuracy: Accuracy | None
    weights: str = ""
    table: Table | None = None

    @property
    def key(self) -> tuple[str, float | None]:
        return self.row.file, self.accuracy and self.accuracy.top1

    @property
    def name(self) -> str:
        """What its run folder is called."""
        return re.sub(r"[^\w.-]+", "_", f"{self.row.file}-{self.accuracy.top1:g}")[-100:].lstrip(".")

    @property
    def recipe(self) -> dict:
        """The parameters of notebook 04 beside checkpoint and table; none where nobody knows them."""
        return dict(self.accuracy.evaluation) if self.accuracy else {}

    @property
    def size(self) -> dict:
        """num_frames, frame_stride, crop_size, … of the clips that it was measured on."""
        return self.row.preprocessing | self.recipe

    @property
    def clip(self) -> str:
        """The same in a word: frames × stride @ crop."""
        size = self.size
        return "images" if self.row.image else f"{size['num_frames']}×{size['frame_stride']} @{size['crop_size']}"

    @property
    def input(self) -> str:
        """What the MACs of a view depend on."""
        return f"{self.row.spec}, {self.clip}, {self.row.dataset}"

    @property
    def why_not(self) -> str:
        """Why it cannot be measured here and now, in words; empty if it can. What is only to be fetched, can be."""
        if self.accuracy is None:
            return "no figure is published"
        if self.row.image:
            return "a figure of images"
        if not self.weights and not self.row.url:
            return "weights need a person"
        if self.table is None:
            return "the data set is not here"
        return "" if self.recipe else "nobody says how it was measured"

    def params(self, run_dir: str, more: dict) -> VideoAccuracyParams:
        """Those of its evaluation; `more`: how it is run. Raises ParamsError for a recipe that is none."""
        given = {"checkpoint": self.weights or self.row.file, "table": self.table.path, "subset": SUBSET}
        source = f"the evaluation of {self.row.file} in the table of published weights"
        return VideoAccuracyParams.build(more | self.recipe | given | {"run_dir": f"{run_dir}/{self.name}"}, source)


def published_figures(tables: Sequence[Table] = ()) -> list[Figure]:
    """All figures, in the order of the table of published weights, with what of weights and `tables` is here."""
    found = []
    for row in published_table().values():
        weights, table = _here(row), table_of(row, tables)
        found += [Figure(row, each, weights, table) for each in row.accuracies or (None,)]
    return found


def _here(row: Published) -> str:
    try:
        return str(find_weights(row.file))
    except WeightsError:
        return ""


def make_entries(
    figures: Iterable[Figure], before: Iterable[Entry], found: Mapping[tuple, Ours | str], gmacs: Mapping[str, float]
) -> list[Entry]:
    """The rows of the ledger for `figures`. `found`: by a figure's key what was measured now, or why that failed;
    without, what the rows `before` say, if that was measured by the same recipe. Of two results that with more videos.
    `gmacs`: of `count_gmacs`.

    Rows with a result, of which the table of published weights knows nothing any more, come last, as they are.
    """
    known = {each.key: each for each in before}
    made = [_entry(each, known.pop(each.key, None), found.get(each.key, ""), gmacs) for each in figures]
    return made + [each for each in known.values() if each.result]


def _entry(figure: Figure, old: Entry | None, found: Ours | str, gmacs: Mapping[str, float]) -> Entry:
    row, accuracy = figure.row, figure.accuracy or Accuracy(0.0, "")
    return Entry(
        file=row.file,
        network=row.spec,
        clip=figure.clip,
        gmacs=gmacs.get(figure.input),
        data=row.dataset,
        published=Figures(top1=accuracy.top1, top5=accuracy.top5) if figure.accuracy else Figures(),
        protocol=accuracy.protocol,
        rests_on=accuracy.rests_on,
        recipe=figure.recipe,
        ours=_ours(figure, old, found),
    )


def _ours(figure: Figure, old: Entry | None, found: Ours | str) -> Ours | str:
    before = old.result if old is not None else None
    if before and not same_recipe(old.recipe, figure.recipe):
        print(f"{figure.row.file}: what was measured on {before.date} was by another recipe, {old.recipe}: left out")
        before = None
    if isinstance(found, Ours) and not (before and before.counts[0] > found.counts[0]):
        return found
    return before or not_run(figure, found)


def not_run(figure: Figure, why: str = "") -> str:
    """What stands in the place of a result."""
    why = why or figure.why_not or ("" if figure.weights else "`ledger run --fetch` fetches its weights")
    return f"{NOT_RUN}: {why}" if why else NOT_RUN


def same_recipe(one: dict, other: dict) -> bool:
    """Whether two recipes measure the same, whatever of the defaults they write down."""
    if one == other:
        return True
    try:
        return VideoAccuracyParams.build(one, "ledger") == VideoAccuracyParams.build(other, "ledger")
    except ParamsError:
        return False


def count_gmacs(figures: Iterable[Figure], before: Iterable[Entry] = ()) -> dict[str, float]:
    """By a figure's `input` the 10⁹ MACs of one view, four digits; what the rows `before` tell is not counted again,
    since that takes a network a fifth of a second. Weights of image networks see no clip, and have none."""
    found = {f"{each.network}, {each.clip}, {each.data}": each.gmacs for each in before if each.gmacs}
    new = {each.input: each for each in figures if not each.row.image and each.input not in found}
    for name, figure in progress(new.items(), desc="MACs of the networks") if new else ():
        from actlib.analysis.costs.flops import count_macs, on_meta

        model, size = on_meta(figure.row.spec, figure.row.num_classes), figure.size
        shape = (model.in_channels, size["num_frames"], size["crop_size"], size["crop_size"])
        found[name] = float(f"{count_macs(model, shape).total / 1e9:.4g}")
    return found
