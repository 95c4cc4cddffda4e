"""Lesson 3: the receptive field in frames of several networks, computed and measured."""

import pandas as pd
import torch

from actlib.analysis.costs.receptive_field import fields_beside_influence
from actlib.lessons.networks import open_network
from actlib.progress import progress


def look(networks: list[str], width: float, num_frames: int, crop_size: int) -> pd.DataFrame:
    """`fields_beside_influence` of every network, by column `network`, on one clip of noise, the same for all."""
    noise = torch.Generator().manual_seed(0)
    clip = torch.randn(1, 3, num_frames, crop_size, crop_size, generator=noise)
    tables = [
        fields_beside_influence(open_network(name, width=width), clip).assign(network=name)
        for name in progress(networks, desc="networks")
    ]
    table = pd.concat(tables, ignore_index=True)
    return table[["network", *table.columns.drop("network")]]
