"""Grad-CAM through time: which places of which frames speak for a class, and whether that is so.

"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (Selvaraju et al., ICCV 2017):
    map = ReLU(Σ_c α_c · A_c),   α_c = the mean over all positions of ∂ logit / ∂ A_c
for feature maps A of any layer, here over T', H' and W'. Networks that fold time keep (B · T', C, H', W'): their maps
are unfolded, and the mean goes over the frames too. What is marked is then hidden (`falls`): where the score falls
further than for a region of the same shape elsewhere, the map tells something of what the network uses.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from actlib.messages import listed
from actlib.models import VideoModel

FEATURES = "the features before the head"
FINE = (2, 4, 4)  # positions along T, H and W without which a map is too coarse to look at


class NoMapsError(ValueError):
    """A network, or a layer of it, that has no maps over frames and places. Says which, and what to do."""


@dataclass
class Explanation:
    """`maps`: float32 (T, H, W), 0 to 1, for the class of index `place`; of `layer`'s maps of `grid` (T', H', W').

    score: the softmax score of the clip. share: of the clip that `falls` hid. fall_marked: by how much the score fell
    when the most marked places were hidden; falls_random: the same for each random region."""

    maps: np.ndarray
    place: int
    layer: str
    grid: tuple[int, int, int]
    score: float
    share: float = 0.0
    fall_marked: float = 0.0
    falls_random: tuple[float, ...] = ()

    @property
    def fall_random(self) -> float:
        return float(np.mean(self.falls_random))


class GradCam:
    """Maps of one network, of which a copy is made. `layer`: the module whose output is weighed, by its name; empty:
    the last one on the way of all data with FINE positions, or what there is where no layer has.

    Raises NoMapsError where the first clip that is shown has no such maps.
    """

    def __init__(self, model: VideoModel, layer: str = ""):
        self.model = copy.deepcopy(model).eval().requires_grad_(False)  # gradients begin at the maps, not before
        if layer and layer not in dict(self.model.named_modules()):
            known = listed([name for name, _ in _trunk(self.model)], 20)
            raise NoMapsError(f"explain_layer {layer!r}: no such module of {model.spec}; there are {known}")
        while layer and isinstance(part := self.model.get_submodule(layer), nn.Sequential | nn.ModuleList):
            layer = f"{layer}.{[*part._modules][-1]}"  # the last part of a list, which some networks never call whole
        self.asked, self.layer = layer, ""

    def explain(
        self, clip: torch.Tensor, place: int, *, share: float = 0.1, regions: int = 8, seed: int = 0
    ) -> Explanation:
        """The map of one normalised clip (C, T, H, W) for the class of index `place`, and its check (see `falls`)."""
        maps, logits, grid = self.maps(clip[None], place)
        score = float(logits.softmax(dim=1)[0, place])
        found = Explanation(maps[0].cpu().numpy(), place, self.layer, grid, score, share)
        how = {"share": share, "regions": regions, "seed": seed}
        found.fall_marked, found.falls_random = self.falls(clip, maps[0], place, **how)
        return found

    def maps(self, clips: torch.Tensor, place: int) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int, int]]:
        """Normalised clips (B, C, T, H, W) to maps (B, T, H, W), each 0 to 1 (all 0 where nothing speaks for the
        class), the logits (B, classes), and the size T', H', W' that the maps had."""
        self.layer = self.layer or self.asked or self._finest(clips)
        with torch.enable_grad():
            features, logits = self._run(clips)
            (slopes,) = torch.autograd.grad(logits[:, place].sum(), features)
        shape = tuple(features.shape)
        features, slopes = (_unfolded(each, len(clips)) for each in (features.detach(), slopes))
        if features is None or features[0, 0].numel() == 1:
            raise NoMapsError(
                f"{self.model.spec}: {self.layer} are no maps over frames and places, their shape is {shape}; name a "
                "module that has some with explain_layer, or leave this network out"
            )
        weights = slopes.mean(dim=(2, 3, 4), keepdim=True)
        found = F.relu((weights * features).sum(dim=1, keepdim=True))
        found = F.interpolate(found.float(), size=clips.shape[2:], mode="trilinear", align_corners=False)[:, 0]
        highest = found.amax(dim=(1, 2, 3), keepdim=True)
        return found / highest.clamp(min=torch.finfo(found.dtype).tiny), logits.detach(), tuple(features.shape[2:])

    @torch.no_grad()
    def falls(
        self, clip: torch.Tensor, maps: torch.Tensor, place: int, *, share: float, regions: int, seed: int = 0
    ) -> tuple[float, tuple[float, ...]]:
        """By how much the softmax score of class `place` falls where the `share` of the clip (C, T, H, W) that `maps`
        (T, H, W) marks most is hidden, and where the same shape is hidden at each of `regions` other places.

        Hidden places show the mean colour of their frame. The other places are the marked ones moved through frames,
        rows and columns, going on at the other end: as many, as large and as long, so that only the place differs.
        """
        marked = torch.zeros(maps.numel(), dtype=torch.bool, device=maps.device)
        marked[maps.flatten().topk(max(1, round(share * maps.numel()))).indices] = True
        marked, rng = marked.view_as(maps), np.random.default_rng(seed)
        moves = [tuple(int(rng.integers(size)) for size in maps.shape) for _ in range(regions)]
        hidden = torch.stack([marked, *(marked.roll(move, dims=(0, 1, 2)) for move in moves)])
        grey = clip.mean(dim=(2, 3), keepdim=True)
        scores = [
            float(self.model(torch.where(each, grey, clip)[None]).softmax(dim=1)[0, place])
            for each in (torch.zeros_like(marked), *hidden)
        ]
        before, with_marked, *others = scores
        return before - with_marked, tuple(before - other for other in others)

    def _run(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the layer's output as the beginning of the gradients, the logits)."""
        if self.layer == FEATURES:
            features = self.model.forward_features(clips).detach().requires_grad_()
            return features, self.model.forward_head(features.clone())  # a head may work in place
        kept: list[torch.Tensor] = []

        def begin_here(module, given, output):
            if kept:
                raise NoMapsError(f"{self.model.spec}: {self.layer} runs several times in a pass; name another module")
            if not isinstance(output, torch.Tensor):
                raise NoMapsError(f"{self.model.spec}: {self.layer} gives a {type(output).__name__}, no maps")
            kept.append(output.detach().requires_grad_())
            return kept[0].clone()

        hook = self.model.get_submodule(self.layer).register_forward_hook(begin_here)
        try:
            logits = self.model(clips)
        finally:
            hook.remove()
        if not kept or not logits.requires_grad:
            raise NoMapsError(f"{self.model.spec}: the logits do not come from what {self.layer} gives")
        return kept[0], logits

    @torch.no_grad()
    def _finest(self, clips: torch.Tensor) -> str:
        """FEATURES where they are FINE enough, else the last part of the trunk that is."""
        ran: dict[str, int] = {}
        fine: list[str] = []

        def look(name: str):
            def hook(module, given, output):
                ran[name] = ran.get(name, 0) + 1
                if not isinstance(output, torch.Tensor) or output.ndim == 3:
                    fine.clear()  # tokens: what was a map before has been taken apart
                elif (maps := _unfolded(output, len(clips))) is not None and _is_fine(maps):
                    fine.append(name)

            return hook

        hooks = [module.register_forward_hook(look(name)) for name, module in _trunk(self.model)]
        try:
            features = _unfolded(self.model.forward_features(clips), len(clips))
        finally:
            for hook in hooks:
                hook.remove()
        once = [name for name in fine if ran[name] == 1]
        return once[-1] if once and (features is None or not _is_fine(features)) else FEATURES


def explain_window(
    network, video, windows, *, layer: str = "", share: float = 0.1
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Of a video's best class, the window in which it scores highest: (the frames that the network saw, uint8
    (T, H, W, 3); the map, float32 (T, H, W); a row of a table: video_id, network, class, window, start, end, score,
    layer, grid, hidden, fall_marked, fall_random, fall_random_sd).

    `network`, `video`, `windows`: as in `loops.predict` (OpenNetwork, a row of its videos, its Windows of that video).
    Raises NoMapsError and VideoError.
    """
    place = int(windows.mean.argmax())
    number = windows.strongest(place)
    clip = network.clip(video, number)
    found = GradCam(network.model, layer).explain(network.as_float(clip[None])[0], place, share=share)
    row = {
        "video_id": windows.video_id, "network": windows.network, "class": windows.classes[place], "window": number,
        "start": int(windows.starts[number]), "end": int(windows.ends[number]), "score": found.score,
        "layer": found.layer, "grid": "×".join(map(str, found.grid)), "hidden": share,
        "fall_marked": found.fall_marked, "fall_random": found.fall_random,
        "fall_random_sd": float(np.std(found.falls_random)),
    }  # fmt: skip
    return np.ascontiguousarray(clip.permute(0, 2, 3, 1).numpy()), found.maps, row


def in_words(row: dict) -> str:
    """A row of `explain_window` as a picture's title."""
    return (
        f"{row['video_id']}, {row['network']}: {row['class']} {row['score']:.2f}\nWith {100 * row['hidden']:.0f} % of "
        f"the clip hidden the score falls by {row['fall_marked']:.2f} (what is marked), {row['fall_random']:.2f} ± "
        f"{row['fall_random_sd']:.2f} (the same shape elsewhere)"
    )


def _trunk(model: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The parts that a clip goes through one after another: the children, and those of lists among them."""
    found = []
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            found += _trunk(child, f"{prefix}{name}.")
        else:
            found.append((prefix + name, child))
    return found


def _is_fine(maps: torch.Tensor) -> bool:
    return all(size >= least for size, least in zip(maps.shape[2:], FINE))


def _unfolded(maps: torch.Tensor, clips: int) -> torch.Tensor | None:
    """(B, C, T', H', W') of maps like that, or of folded ones (B · T', C, H', W'); None of anything else."""
    if maps.ndim == 5 and maps.shape[0] == clips:
        return maps
    if maps.ndim == 4 and maps.shape[0] % clips == 0:
        return maps.unflatten(0, (clips, -1)).transpose(1, 2)
    return None
