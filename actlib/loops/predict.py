"""What trained networks say of videos that a person names, window by window.

The windows are those of the evaluation protocol `video` (every T · stride frames, or every `window_step`), made, sent
to the device and run as an evaluation does it, so that the mean of a video's windows is the score that notebook 04
gives it. Frames are held as long as a window needs them: memory does not grow with the length of a video.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from actlib.compute.device import pick_device, to_float
from actlib.compute.execution import Execution
from actlib.datasets.clips.handover import workers_in_words
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.transforms import cut, resize_short_side
from actlib.datasets.clips.views import EvaluationViews, evaluation_loader
from actlib.datasets.errors import DataError
from actlib.datasets.named_videos import find_named, probe_named
from actlib.files import write_with
from actlib.loops.evaluate import NOT_FINITE, Folded
from actlib.loops.finetune import inherit_preprocessing
from actlib.loops.prepare_evaluation import open_checkpoint
from actlib.loops.running import chosen_execution
from actlib.models import VideoModel
from actlib.models.weights.checkpoint import CheckpointError
from actlib.models.weights.convert import read_classes, unnamed
from actlib.params import ParamsError, PredictParams

BEST = 5  # classes that tables and plots show of a video


@dataclass(kw_only=True)
class Windows:
    """One network's scores of one video, a row a window in the order of time.

    starts, ends: int64 (K), the frames [start, end) that a window spans. scores: float32 (K, classes), softmax.
    features: float32 (K, D), what the network's last layer gets (the mean where it gets several positions or frames),
    or None. fps: frames a second, 0 where nobody knows. error: why there are no scores from some window on.
    """

    video_id: str
    path: str
    network: str
    classes: list[str]
    fps: float
    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray
    features: np.ndarray | None = None
    error: str = ""

    @property
    def mean(self) -> np.ndarray:
        """The video's scores, notebook 04's `video` with average softmax: float64 (classes); NaN without a window."""
        return self.scores.mean(axis=0, dtype=np.float64) if len(self.scores) else np.full(len(self.classes), np.nan)

    def best(self, count: int = BEST) -> pd.DataFrame:
        """The classes of the highest mean score: video_id, network, rank, class, score, windows."""
        order = np.argsort(-self.mean, kind="stable")[: count if len(self.scores) else 0]
        rows = [(rank, self.classes[place], self.mean[place]) for rank, place in enumerate(order.tolist(), 1)]
        table = pd.DataFrame(rows, columns=["rank", "class", "score"])
        return table.assign(windows=len(self.scores)).pipe(self._named)

    def over_time(self, count: int = BEST) -> pd.DataFrame:
        """A row a window and class, of the classes that score highest in any window: video_id, network, window, start,
        end (frames), start_s, end_s (seconds; empty where fps is unknown), class, score."""
        highest = self.scores.max(axis=0, initial=0)
        shown = np.argsort(-highest, kind="stable")[:count].tolist()
        return pd.concat([self._rows(np.full(len(self.scores), place)) for place in shown])

    def best_of_each(self, count: int = BEST) -> pd.DataFrame:
        """The same columns and `rank`: each window's own best classes."""
        order = np.argsort(-self.scores, axis=1, kind="stable")[:, :count]
        tables = [self._rows(order[:, rank]).assign(rank=rank + 1) for rank in range(order.shape[1])]
        return pd.concat(tables).sort_values(["window", "rank"], kind="stable")

    def strongest(self, place: int) -> int:
        """The window in which the class of this index scores highest."""
        return int(self.scores[:, place].argmax())

    def _rows(self, places: np.ndarray) -> pd.DataFrame:
        seconds = self.fps or np.nan
        columns = {
            "window": np.arange(len(places)), "start": self.starts, "end": self.ends,
            "start_s": np.round(self.starts / seconds, 3), "end_s": np.round(self.ends / seconds, 3),
            "class": [self.classes[place] for place in places], "score": self.scores[np.arange(len(places)), places],
        }  # fmt: skip
        return pd.DataFrame(columns).pipe(self._named)

    def _named(self, table: pd.DataFrame) -> pd.DataFrame:
        table.insert(0, "video_id", self.video_id)
        table.insert(1, "network", self.network)
        return table


@dataclass(kw_only=True)
class OpenNetwork:
    """A network that is ready to answer. `p`: the parameters, completed by what its weights tell."""

    name: str
    p: PredictParams
    model: VideoModel
    classes: list[str]
    device: torch.device
    execution: Execution = field(default_factory=Execution)

    @cached_property
    def protocol(self) -> Protocol:
        p = self.p
        how = {"short_side": p.short_side, "crop_size": p.crop_size, "loop": p.loop, "step": p.window_step}
        return Protocol("video", p.num_frames, p.frame_stride, **how, partial_windows=p.partial_windows)

    @cached_property
    def _folded(self) -> Folded:
        return Folded(self.model, self.execution)

    def as_float(self, clips: torch.Tensor) -> torch.Tensor:
        """uint8 (B, T, C, H, W) as decoded to what the network takes, (B, C, T, H, W) on its device."""
        told = {name: self.model.preprocessing[name] for name in ("mean", "std", "channel_order")}
        return to_float(clips, self.device, **told, execution=self.execution)

    def clip(self, video, window: int) -> torch.Tensor:
        """The frames that the network sees of a window: uint8 (T, C, H, W). `video`: a row of the table. Raises
        VideoError."""
        data = self._views(pd.DataFrame([video]))
        frames = data.read(0, self.protocol.windows(int(video["num_frames"]))[window])
        ((box, _),) = self.protocol.boxes(*frames.shape[2:])
        return cut(resize_short_side(frames, self.p.short_side), box)

    @workers_in_words()
    def score(
        self, videos: pd.DataFrame, *, features: bool = False, progress: Callable[..., Iterable] | None = None
    ) -> list[Windows]:
        """The `Windows` of each video of a table. `progress(iterable, total=…, desc=…)` wraps all of their windows."""
        data, found = self._views(videos), [self._empty(row) for row in videos.to_dict("records")]
        loader = evaluation_loader(data, num_workers=self.p.num_workers)
        windows = self._scored(loader, found, features)
        total = sum(len(each.starts) for each in found)
        with torch.inference_mode(), self.execution.switched():
            for _ in progress(windows, total=total, desc=f"{self.name}: windows") if progress else windows:
                pass
        return [_whole(each) for each in found]

    def _views(self, videos: pd.DataFrame) -> EvaluationViews:
        videos = videos.assign(label=self.classes[0])  # they have none, and none is looked at
        how = {"modality": "rgb", "timeout": self.p.timeout, "backend": self.p.video_backend}
        return EvaluationViews(videos, self.classes, {"video": self.protocol}, **how)

    def _empty(self, video: dict) -> Windows:
        frames = self.protocol.windows(int(video["num_frames"]))
        ends = np.minimum(frames[:, 0] + self.p.num_frames * self.p.frame_stride, int(video["num_frames"]))
        scores = np.full((len(frames), len(self.classes)), np.nan, dtype=np.float32)
        told = {"video_id": video["video_id"], "path": video["path"], "fps": float(video["fps"])}
        return Windows(
            **told, network=self.name, classes=self.classes, starts=frames[:, 0], ends=ends, scores=scores
        )

    def _scored(self, loader, found: list[Windows], features: bool) -> Iterator[int]:
        """Fill in the windows as their clips come; a number for each."""
        for chunk in loader:
            windows = found[chunk.index]
            for begin in range(0, 0 if chunk.clips is None else len(chunk.clips), self.p.batch_size):
                part = slice(begin, begin + self.p.batch_size)
                vectors: list[torch.Tensor] = []
                logits = self._run(chunk.clips[part], vectors if features else None)
                places = [each[0] for each in chunk.places[part]]  # windows differ: each stands in one place
                windows.scores[places] = logits.double().softmax(dim=1).cpu().numpy()
                if features:
                    if windows.features is None:
                        windows.features = np.zeros((len(windows.scores), vectors[0].shape[1]), dtype=np.float32)
                    windows.features[places] = vectors[0].cpu().numpy()
                yield from places
            windows.error = windows.error or chunk.error

    def _run(self, clips: torch.Tensor, vectors: list[torch.Tensor] | None) -> torch.Tensor:
        """The logits of uint8 clips (B, T, C, H, W). What the last layer gets of them, (B, D), goes into `vectors`."""
        clips = self.as_float(clips)
        if vectors is None:
            return self._folded(clips)
        if self._folded.network is None:
            self._folded(clips[:1])  # which runs it more than once
        head = self._folded.network.get_submodule(self.model.classifier_name)
        hook = head.register_forward_pre_hook(lambda head, given: vectors.append(_pooled(head, given[0], len(clips))))
        try:
            return self._folded(clips)
        finally:
            hook.remove()


@dataclass(kw_only=True)
class Predicting:
    """`networks` that are ready, and the `videos`: a table without labels. `unreadable`: video_id, path, reason."""

    p: PredictParams
    networks: list[OpenNetwork]
    videos: pd.DataFrame
    unreadable: pd.DataFrame

    def score(self, progress: Callable[..., Iterable] | None = None) -> list[Windows]:
        """The `Windows` of every video by every network: all videos of the first network, then of the next."""
        features = self.p.features
        return [each for net in self.networks for each in net.score(self.videos, features=features, progress=progress)]

    def score_named(self, name: str) -> tuple[pd.Series, list[Windows]]:
        """(its row of a table, the `Windows` of each network) of one more video, a file or address. Raises DataError
        and VideoError."""
        paths = find_named([name], Path(self.p.run_dir) / "videos")
        if len(paths) > 1:
            raise DataError(f"{name}: {len(paths):,} videos; one at a time here, all in the parameter videos")
        videos, _ = probe_named(paths, timeout=self.p.timeout, backend=self.p.video_backend)
        return videos.iloc[0], [windows for network in self.networks for windows in network.score(videos)]


def find_videos(p: PredictParams, progress: Callable[..., Iterable] | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(videos, unreadable): see `named_videos.probe_named`. What has an address is fetched into `p.run_dir`/videos.
    Raises DataError, and before anything is fetched ParamsError for a network or class list that is not there."""
    missing = p.missing_inputs(".")
    for name in {"networks", "class_list"} & set(missing):
        raise ParamsError(f"{name}: {missing[name]}")
    paths = find_named(p.videos, Path(p.run_dir) / "videos")
    return probe_named(paths, timeout=p.timeout, backend=p.video_backend, progress=progress)


def open_networks(p: PredictParams, videos: pd.DataFrame, unreadable: pd.DataFrame | None = None) -> Predicting:
    """Open every network of `p`, to be run on `videos` of `find_videos`. Raises DataError, CheckpointError,
    WeightsError, ModelError or ValueError."""
    device, names = pick_device(p.device), _names(p.networks)
    networks = [_opened(p, source, name, device, videos["num_frames"]) for source, name in zip(p.networks, names)]
    return Predicting(p=p, networks=networks, videos=videos, unreadable=unreadable)


def write_features(folder: str | Path, answers: list[Windows]) -> list[Path]:
    """A file features_NETWORK.npz for each network whose windows have features: `features` float32 (N, D), a row a
    window, what the network's last layer gets; `video_id` text (N); `start`, `end` int64 (N), frames [start, end)."""
    paths = []
    for network in dict.fromkeys(each.network for each in answers):
        ours = [each for each in answers if each.network == network and each.features is not None]
        if not ours:
            continue
        arrays = {
            "features": np.concatenate([each.features for each in ours]),
            "video_id": np.array([each.video_id for each in ours for _ in each.starts], dtype=str),
            "start": np.concatenate([each.starts for each in ours]),
            "end": np.concatenate([each.ends for each in ours]),
        }
        name = re.sub(r"[^\w.-]+", "_", network)
        path = Path(folder) / f"features_{name}.npz"
        paths.append(write_with(path, lambda temporary, arrays=arrays: np.savez(temporary, **arrays)))
    return paths


def _opened(p: PredictParams, source: str, name: str, device: torch.device, lengths: Iterable) -> OpenNetwork:
    model = open_checkpoint(_checkpoint_of(source))
    if model.preprocessing["modality"] != "rgb":
        raise DataError(f"networks: {source}: a network of optical flow; videos have colours. Notebook 04 evaluates it")
    p = inherit_preprocessing(p, model, source)
    if p.crop_size > p.short_side:
        raise DataError(f"crop_size {p.crop_size} is larger than short_side {p.short_side} of {source}; set both")
    network = OpenNetwork(name=name, p=p, model=model, classes=_classes(p, model, source), device=device)
    windows = sum(len(network.protocol.windows(int(length))) for length in lengths)
    steps = -(-windows // p.batch_size)
    network.execution, _ = chosen_execution(p, model.eval(), p.batch_size, steps, device, training=False)
    network.execution.apply_to(model.to(device))
    return network


def _checkpoint_of(source: str) -> str:
    """`source`, or of a run folder its best checkpoint."""
    path = Path(source)
    if not path.is_dir():
        return source
    best = path / "checkpoints" / "best.pt"
    if not best.is_file():
        raise CheckpointError(f"networks: {source}: no checkpoints/best.pt in this folder; a training writes it")
    return str(best)


def _classes(p: PredictParams, model: VideoModel, source: str) -> list[str]:
    """The checkpoint's, else those of `p.class_list`, else numbers, which is printed."""
    if model.classes and model.classes != unnamed(model.num_classes):
        return model.classes
    if p.class_list:
        names = read_classes(p.class_list)
        if len(names) != model.num_classes:
            raise CheckpointError(
                f"class_list: {p.class_list} has {len(names)} names, and {source} is of {model.num_classes} classes"
            )
        return names
    print(f"{source} does not name its classes: they stand by their numbers; class_list names a file with names")
    return unnamed(model.num_classes)


def _names(sources: list[str]) -> list[str]:
    """What tables call the networks: the run's folder, or the file; as they are given where that would be the same."""
    names = []
    for source in sources:
        path = Path(source)
        run = path.parent.parent if path.parent.name == "checkpoints" else path
        names.append(run.name if path.is_dir() or run != path else path.stem)
    return [name if names.count(name) == 1 else source for name, source in zip(names, sources)]


def _pooled(head: nn.Module, given: torch.Tensor, clips: int) -> torch.Tensor:
    """What a last layer gets, of several positions or frames the mean: float (B, D). A linear one gets (…, D), the
    frames of a clip one after another; a convolution (B, D, T, H, W)."""
    vectors = given.float().flatten(0, -2) if isinstance(head, nn.Linear) else given.float().flatten(2).mean(dim=2)
    return vectors.unflatten(0, (clips, -1)).mean(dim=1)


def _whole(windows: Windows) -> Windows:
    """The windows that have scores."""
    known = ~np.isnan(windows.scores).any(axis=1)
    if not known.all():
        windows.error = windows.error or NOT_FINITE
        for name in ("starts", "ends", "scores", "features"):
            values = getattr(windows, name)
            setattr(windows, name, None if values is None else values[known])
    return windows
