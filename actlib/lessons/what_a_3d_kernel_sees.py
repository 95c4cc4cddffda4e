"""Lesson 1: the filters of a network's first layer, and what they answer to a bar that moves left and right."""

import io

import IPython.display
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import torch
from torch import nn

from actlib.lessons.networks import open_network, title_of
from actlib.models import VideoModel
from actlib.models.parts.temporal import fold_time, unfold_time

BAR = 1.5  # pixels, the standard deviation of the bar's brightness across it: hard edges would flicker as they move


def first_layer(model: VideoModel) -> nn.Conv2d | nn.Conv3d:
    """The first convolution of `model`, which sees the frames themselves."""
    return next(each for each in model.modules() if isinstance(each, nn.Conv2d | nn.Conv3d))


def films(layer: nn.Conv2d | nn.Conv3d, colours: bool = False) -> np.ndarray:
    """The filters of a first layer as little films: uint8 (N, T, H, W, 3), of a 2-D one T is 1. Grey is zero; each
    filter's largest weight is as far from grey as there is room. Without `colours` the weights of the channels are
    added up: what the filter makes of grey pictures."""
    weights = layer.weight.detach().float().cpu()
    weights = weights[:, :, None] if weights.ndim == 4 else weights
    if not colours:
        weights = weights.sum(dim=1, keepdim=True).expand(-1, 3, -1, -1, -1)
    largest = weights.abs().amax(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1e-12)
    return (127.5 + 127.5 * weights / largest).round().byte().permute(0, 2, 3, 4, 1).numpy()


def moving_bar(speed: float, num_frames: int, size: int) -> torch.Tensor:
    """An upright bright bar on grey that moves by `speed` pixels a frame, to the right where that is above 0, and comes
    back on the other side: float32 (4, 3, T, size, size), from 0 to 1. The four begin half a pixel apart, since a layer
    with a stride sees not every place alike. With a negative speed they are the same clips backwards."""
    places = torch.arange(4)[:, None, None] / 2 + torch.arange(num_frames)[:, None] * abs(speed)
    distance = (torch.arange(size) - places + size / 2) % size - size / 2
    bars = torch.exp(-0.5 * (distance / BAR) ** 2)[:, None, :, None, :].expand(-1, 3, -1, size, -1)
    return (bars.flip(2) if speed < 0 else bars).contiguous()


def tuning(layer: nn.Conv2d | nn.Conv3d, speeds: list[float], num_frames: int = 32, size: int = 48) -> pd.DataFrame:
    """The answer of each filter to the bar at each of `speeds`: columns filter, speed, answer.

    `answer`: the mean square of the filter's output, over all places and those times at which it sees frames alone, in
    percent of the same filter's largest one.
    """
    answers = np.stack([_answer(layer, moving_bar(speed, num_frames, size)) for speed in speeds], axis=1)
    answers *= 100 / np.maximum(answers.max(axis=1, keepdims=True), 1e-12)
    filters, numbers = np.indices(answers.shape)
    return pd.DataFrame(
        {"filter": filters.ravel(), "speed": np.array(speeds)[numbers.ravel()], "answer": answers.ravel()}
    )


def _answer(layer: nn.Conv2d | nn.Conv3d, clips: torch.Tensor) -> np.ndarray:
    clips = clips.to(layer.weight)
    with torch.inference_mode():
        if isinstance(layer, nn.Conv2d):
            output = unfold_time(layer(fold_time(clips)), clips.shape[2])
        else:
            edge = layer.kernel_size[0] // layer.stride[0]
            output = layer(clips)
            output = output[:, :, edge : output.shape[2] - edge]
        return output.square().mean(dim=(0, 2, 3, 4)).double().cpu().numpy()


def direction_index(answers: pd.DataFrame) -> pd.DataFrame:
    """How much each filter prefers one direction: a row a filter, columns filter, index, speed; the one that likes left
    most first. `index`: (right − left) / (right + left) of the answers, −1 to 1, at the `speed` that tells most."""
    table = answers.pivot(index="filter", columns="speed", values="answer")
    speeds = sorted(speed for speed in table.columns if speed > 0 and -speed in table.columns)
    right, left = table[speeds].to_numpy(), table[[-speed for speed in speeds]].to_numpy()
    index = (right - left) / np.maximum(right + left, 1e-12)
    best = np.abs(right - left).argmax(axis=1)  # of the difference: a faint answer is no preference
    rows = np.arange(len(index))
    found = pd.DataFrame({"filter": table.index, "index": index[rows, best], "speed": np.array(speeds)[best]})
    return found.sort_values("index", ignore_index=True)


def answers_of(networks: list[str], fastest: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The `tuning`, at speeds half a pixel a frame apart, and the `direction_index` of the first layer of every
    network, by column `network`."""
    speeds, tables = [step / 2 for step in range(-int(2 * fastest), int(2 * fastest) + 1)], []
    for name in networks:
        answers, title = tuning(first_layer(open_network(name)), speeds), title_of(name)
        tables.append((answers.assign(network=title), direction_index(answers).assign(network=title)))
    answers, index = (pd.concat(each, ignore_index=True) for each in zip(*tables))
    return answers, index


def shown(network: str, index: pd.DataFrame, most: int, colours: bool) -> tuple[np.ndarray, list[str], list[tuple]]:
    """The `films` of the filters of `network` that prefer a direction most, at most `most`, in the order of `index`
    (of `answers_of`), with their titles and the colours of their frames, blue for left and red for right."""
    rows = index[index["network"] == title_of(network)]
    rows = rows.loc[rows["index"].abs().nlargest(most).index.sort_values()]
    titles = [
        f"filter {number}   {'←' if value < 0 else '→'} {abs(value):.2f} at {speed:g} px"
        for number, value, speed in rows[["filter", "index", "speed"]].itertuples(index=False, name=None)
    ]
    scale = plt.get_cmap("coolwarm")
    chosen = films(first_layer(open_network(network)), colours)[rows["filter"]]
    return chosen, titles, [scale((1 + value) / 2) for value in rows["index"]]


def play(chosen: np.ndarray, across: int = 4, scale: int = 9, seconds: float = 0.3) -> IPython.display.Image:
    """Films uint8 (N, T, H, W, 3), all playing side by side, over and over: an animated GIF."""
    count, frames, height, width = chosen.shape[:4]
    down = -(-count // across)
    sheet = np.full((frames, down * across, height + 1, width + 1, 3), 128, dtype=np.uint8)
    sheet[:, :count, :height, :width] = chosen.transpose(1, 0, 2, 3, 4)
    sheet = sheet.reshape(frames, down, across, height + 1, width + 1, 3).transpose(0, 1, 3, 2, 4, 5)
    sheet = sheet.reshape(frames, down * (height + 1), across * (width + 1), 3).repeat(scale, 1).repeat(scale, 2)
    first, *rest = (PIL.Image.fromarray(frame) for frame in sheet)
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=int(1000 * seconds), loop=0)
    return IPython.display.Image(buffer.getvalue(), format="gif")
