"""Lesson 7: the MACs and the time of networks, part by part."""

import pandas as pd
import torch

from actlib.analysis.costs.layer_times import layer_times
from actlib.analysis.costs.networks import describe_models
from actlib.compute.device import pick_device
from actlib.compute.execution import Execution
from actlib.lessons.networks import open_network
from actlib.progress import progress


def counted(networks: list[str], num_frames: int, crop_size: int) -> pd.DataFrame:
    """What is known before anything runs: a row a network, the columns of `costs.networks.describe_model`."""
    specs = [title.replace(":", "=") for title in networks]
    return describe_models(specs, 400, (num_frames, crop_size, crop_size))[0].assign(model=networks)


def measure(
    networks: list[str], num_frames: int, crop_size: int, batch_size: int, memory_format: str, device: str = "auto"
) -> pd.DataFrame:
    """`layer_times` of every network in float32 and this memory format, by column `network`, on a batch of noise."""
    place, execution, tables = pick_device(device), Execution("float32", memory_format), []
    for name in progress(networks, desc="networks"):
        clips = torch.randn(batch_size, 3, num_frames, crop_size, crop_size, device=place)
        clips = clips.contiguous(memory_format=execution.layout_of_clips())
        model = execution.apply_to(open_network(name, 400).to(place))
        tables.append(layer_times(model, clips).assign(network=name))
    table = pd.concat(tables, ignore_index=True)
    return table[["network", *table.columns.drop("network")]]


def totals(parts: pd.DataFrame) -> pd.DataFrame:
    """Of each network its gmacs, ms and clips_per_s, how many times less work and time than the first one's it takes
    (`less_work`, `less_time`), and the 10⁹ MACs a second that it gets out of the machine (`gmacs_per_s`)."""
    table = parts.groupby("network", sort=False)[["gmacs", "ms"]].sum().reset_index()
    first = table.iloc[0]
    return table.assign(
        clips_per_s=1000 / table["ms"],
        less_work=first["gmacs"] / table["gmacs"],
        less_time=first["ms"] / table["ms"],
        gmacs_per_s=1000 * table["gmacs"] / table["ms"],
    )
