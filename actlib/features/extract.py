"""Videos through a network to their embeddings: a table of notebook 01, or files as notebook 08 takes them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from actlib.compute.device import pick_device
from actlib.datasets.clips.handover import workers_in_words
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.show import span_of
from actlib.datasets.clips.views import EvaluationViews, evaluation_loader
from actlib.datasets.dataset_info import DatasetInfo, read_dataset_info
from actlib.datasets.errors import DataError
from actlib.datasets.named_videos import find_named, probe_named
from actlib.datasets.table import COLUMNS, class_names, read_table, rows_of
from actlib.features.embeddings import VIDEO_COLUMNS, Features
from actlib.loops.evaluate import Owner
from actlib.loops.predict import OpenNetwork, checkpoint_of, network_of, require_colours, short_names
from actlib.loops.prepare_evaluation import evaluation_protocols, open_checkpoint
from actlib.models import VideoModel
from actlib.models.weights.checkpoint import UNSAID
from actlib.models.weights.convert import unnamed
from actlib.params import ParamsError, VideoAccuracyParams

NOT_FINITE = "the network's features are not finite numbers"
SIZES = ("num_frames", "frame_stride", "short_side", "crop_size")
# Parameters of notebook 04 that say nothing of features, or for which `clip_features` has an argument.
_NOT_HERE = {"run_dir", "checkpoint", "table", "subset", "average", "order_check", "worst", "class_list", "devices"}
_SETTLED = {"device", "precision", "memory_format", "compile"}  # of a network that is open
# What a network that is open keeps of its parameters: all but which clips it sees.
_KEPT = (*SIZES, "loop", "batch_size", "num_workers", "video_backend", "timeout", *_SETTLED)
_NEEDED = ("video_id", "path", "label", "subset", "start", "end", "num_frames")


@workers_in_words()
def clip_features(
    videos: str | Path | pd.DataFrame | Sequence[str | Path],
    network: str | Path | VideoModel | OpenNetwork,
    *,
    subset: str = "all",
    keep_clips: bool = False,
    downloads: str | Path = "outputs/videos",
    progress: Callable[..., Iterable] | None = None,
    **values,
) -> Features:
    """The embedding of each video: the mean over its clips of what the network's last layer gets. Of several positions
    or frames of a clip that is the mean too; of a head with a hidden layer, what that layer gives.

    videos: the path of a table.csv of notebook 01, or such a table, of which `subset` says which videos; or files,
    folders of videos, patterns and web addresses (fetched into the folder `downloads`), which have no labels.
    network: a run folder, checkpoint or published weights by name; a network with the attribute `preprocessing` (see
    `registry.adopt`); or one of notebook 08's, which runs as it does there.
    keep_clips: keep the vector of every clip too (`Features.clips`); else memory holds the means and the clips at work.
    values: parameters of notebook 04 by their names: which clips (`protocol`, `num_clips`, `num_crops`, …; by default
    all windows in a row; the literature of video retrieval takes protocol="views", num_clips=10), their size where the
    weights do not tell it, batch_size, num_workers, timeout, device, precision, compile. One device computes.
    progress: `progress(iterable, total=…, desc=…)` wraps the videos.

    A video that cannot be decoded has its row, with the reason. Raises ParamsError, DataError, CheckpointError,
    WeightsError, ModelError or ValueError, where it can before a video is decoded.
    """
    opened = _opened(network, values)
    p, preprocessing = opened.p, opened.model.preprocessing
    table, info, unreadable = _table(videos, subset, p, Path(downloads), progress)
    if not info.classes[0]:
        require_colours(opened.model, opened.name)
    (*_, protocol) = evaluation_protocols(p, info).values()
    how = {"modality": preprocessing["modality"], "timeout": p.timeout, "backend": p.video_backend}
    data = EvaluationViews(table, info.classes, {"features": protocol}, **how)
    spans = [span_of(row) for row in table.itertuples()]
    if not isinstance(network, OpenNetwork):
        length = int(np.median(np.diff(spans)))
        opened.settle(len(table) * len(protocol.windows(length)) * protocol.num_crops)
    means = _Means(len(table), keep_clips)
    done = means.filled(opened, evaluation_loader(data, num_workers=p.num_workers))
    with torch.inference_mode(), opened.execution.switched():
        for _ in progress(done, total=len(table), desc=f"{opened.name}: features") if progress else done:
            pass
    vectors, (begins, ends) = means.vectors(), zip(*spans)
    rows = table.assign(start=begins, end=ends, clips=means.counts, error=means.errors)
    return Features(
        videos=rows[list(VIDEO_COLUMNS)], vectors=vectors, classes=[name for name in info.classes if name],
        network=opened.name, spec=opened.model.spec, protocol=str(protocol),
        preprocessing=preprocessing | {name: getattr(protocol, name) for name in SIZES},
        expected={name: info.expected(name) for name in dict.fromkeys(table["subset"]) if info.expected(name)},
        **means.clips(protocol, spans),
    ).and_unreadable(unreadable)  # fmt: skip


class _Means:
    """The sums of the vectors of each video's clips; with `keep` the vectors one by one too."""

    def __init__(self, videos: int, keep: bool):
        self.counts, self.errors, self._keep = np.zeros(videos, dtype=np.int64), [""] * videos, keep
        self._sums: np.ndarray | None = None
        self._vectors: list[np.ndarray] = []
        self._places: list[np.ndarray] = []  # (video, place among its clips) of each vector

    def filled(self, network: OpenNetwork, loader: DataLoader) -> Iterator[int]:
        """Run the network over all videos; the number of each as soon as all its clips are in a batch."""

        def take(answer: tuple[torch.Tensor, torch.Tensor], owners: list[Owner]) -> None:
            _, videos, places, views = np.array(owners).T
            vectors = answer[1].cpu().numpy()[places]
            if self._sums is None:
                self._sums = np.zeros((len(self.counts), vectors.shape[1]), dtype=np.float32)
            np.add.at(self._sums, videos, vectors)
            if self._keep:
                self._vectors.append(vectors)
                self._places.append(np.stack([videos, views], axis=1))

        for chunk in network.run(loader, take, features=True):
            if chunk.last:
                self.counts[chunk.index] = 0 if chunk.error else sum(chunk.counts)
                self.errors[chunk.index] = chunk.error
                yield chunk.index

    def vectors(self) -> np.ndarray:
        """The means: float32 (N, D). NaN, and an error, where they are no finite numbers."""
        if self._sums is None:
            self._sums = np.zeros((len(self.counts), 0), dtype=np.float32)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._sums /= self.counts[:, None]
        finite = np.isfinite(self._sums).all(axis=1)
        self.errors = [error or ("" if sound else NOT_FINITE) for error, sound in zip(self.errors, finite)]
        self._sums[[bool(error) for error in self.errors]] = np.nan
        return self._sums

    def clips(self, protocol: Protocol, spans: list[tuple[int, int]]) -> dict[str, np.ndarray]:
        """`clips` and `spans` of `Features`, of the videos without an error; nothing where they were not kept."""
        if not self._keep:
            return {}
        places = np.concatenate([*self._places, np.zeros((0, 2), dtype=np.int64)])
        order = np.lexsort((places[:, 1], places[:, 0]))
        order = order[[not self.errors[video] for video in places[order, 0]]]
        vectors = np.concatenate([*self._vectors, np.zeros((0, self._sums.shape[1]), dtype=np.float32)])
        found = [np.zeros((0, 3), dtype=np.int64)]
        for video, (begin, end) in enumerate(spans):
            if not self.errors[video]:
                frames = begin + np.repeat(protocol.windows(end - begin), protocol.num_crops, axis=0)
                reach = np.minimum(frames[:, 0] + protocol.num_frames * protocol.frame_stride, end)
                ends = np.maximum(frames.max(axis=1) + 1, reach)
                found.append(np.stack([np.full(len(frames), video), frames[:, 0], ends], axis=1))
        return {"clips": vectors[order], "spans": np.concatenate(found)}


# --- what goes through it -------------------------------------------------------------------------------------


def _opened(network: str | Path | VideoModel | OpenNetwork, values: dict) -> OpenNetwork:
    """The network with notebook 04's parameters, complete. Raises ParamsError for one that has no meaning here."""
    is_open = isinstance(network, OpenNetwork)
    if unfit := sorted(set(values) & (_NOT_HERE | (_SETTLED if is_open else set()))):
        why = "the network runs as it was opened" if set(unfit) <= _SETTLED else "no parameter of features"
        raise ParamsError(f"clip_features: {', '.join(unfit)}: {why}")
    if is_open:
        told = {name: getattr(network.p, name) for name in _KEPT}
        return replace(network, p=VideoAccuracyParams.build(told | values, "clip_features"))
    p = VideoAccuracyParams.build(values, "clip_features")
    device = pick_device(p.device)
    if isinstance(network, str | Path):
        source = str(network)
        model, (name,) = open_checkpoint(checkpoint_of(source), p.model), short_names([source])
        return network_of(p, model, source, device, name=name, classes=unnamed(model.num_classes))
    if not isinstance(network, VideoModel) or not {"mean", "std"} <= set(network.preprocessing or {}):
        raise ValueError(
            f"network: a {type(network).__name__}: give a name, or a network (of your own after actlib.models.adopt) "
            "whose attribute preprocessing is a dict of mean, std, num_frames, frame_stride, …"
        )
    network.preprocessing = UNSAID | network.preprocessing
    told = {"name": network.name, "classes": unnamed(network.num_classes)}
    return network_of(p, network, network.name, device, **told)


def _table(
    videos: str | Path | pd.DataFrame | Sequence[str | Path], subset: str, p: VideoAccuracyParams, downloads: Path,
    progress: Callable[..., Iterable] | None,
) -> tuple[pd.DataFrame, DatasetInfo, pd.DataFrame | None]:  # fmt: skip
    """(videos, what is known of their data set, those that cannot be read: video_id, path, reason)."""
    unreadable = None
    if isinstance(videos, pd.DataFrame):
        if missing := [name for name in _NEEDED if name not in videos]:
            raise DataError(f"videos: a table without {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
        source, table = "videos", videos.reset_index(drop=True)
        info = DatasetInfo(source, source, class_names(table))
    elif isinstance(videos, str | Path) and str(videos).endswith(".csv"):
        source, table = str(videos), read_table(videos)
        info = read_dataset_info(videos, table)
    else:
        names = [str(each) for each in ([videos] if isinstance(videos, str | Path) else videos)]
        how = {"timeout": p.timeout, "backend": p.video_backend, "progress": progress}
        table, unreadable = probe_named(find_named(names, downloads), **how)
        return table, DatasetInfo("videos", "videos", [""]), unreadable
    return (table if subset == "all" else rows_of(table, subset, source)), info, unreadable
