"""Clips to look at: colours as they are, optical flow in grey."""

import numpy as np
import torch

from actlib.datasets.clips.show import pictures


def test_a_clip_to_look_at():
    clip = torch.full((2, 10, 4, 6), 128, dtype=torch.uint8)
    clip[1, 0], clip[1, 1], clip[1, 2] = 148, 60, 250  # x, y of the first pair, x of the second
    shown = pictures(clip)
    assert shown.shape == (2, 10, 6, 3) and shown.dtype == np.uint8
    assert (shown[0, :4] == 128).all() and (shown[:, 4:6] == 255).all() and (shown[0, 6:] == 128).all()
    assert (shown[1, :4] == 188).all() and (shown[1, 6:] == 0).all()
    colours = torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    assert (pictures(colours) == colours.permute(0, 2, 3, 1).numpy()).all()
