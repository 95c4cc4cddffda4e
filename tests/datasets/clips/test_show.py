"""Clips to look at: colours as they are, optical flow in grey."""

import numpy as np
import torch

from actlib.datasets.clips.show import pictures, samples


def test_a_clip_to_look_at():
    flow = np.full((2, 4, 6, 10), 128, dtype=np.uint8)
    flow[1, ..., :3] = 148, 60, 250  # x, y of the first pair, x of the second
    shown = pictures(flow)
    assert shown.shape == (2, 10, 6, 3) and shown.dtype == np.uint8
    assert (shown[0, :4] == 128).all() and (shown[:, 4:6] == 255).all() and (shown[0, 6:] == 128).all()
    assert (shown[1, :4] == 188).all() and (shown[1, 6:] == 0).all()
    colours = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    assert (pictures(colours) == colours).all()


def test_samples_of_a_data_set():
    clips = [torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8), torch.rand(2, 3, 4, 6)]
    shown, names = samples(list(zip(clips, (1, 0))), ["a", "b"])
    assert names == ["b", "a"] and (shown[0] == clips[0].permute(0, 2, 3, 1).numpy()).all()
    assert (shown[1] == (clips[1] * 255).byte().permute(0, 2, 3, 1).numpy()).all()
