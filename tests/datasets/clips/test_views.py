"""All views of a video: the frames of its windows, each decoded once."""

import numpy as np
import pandas as pd
import torch
from videofiles import write_video

from actlib.datasets.clips.loaders import TrainingClips
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.clips.views import EvaluationViews, evaluation_loader
from actlib.datasets.table import COLUMNS

SIZE = {"num_frames": 8, "frame_stride": 2, "short_side": 40, "crop_size": 32}


def numbered_table(folder, num_frames=40) -> pd.DataFrame:
    """One video of 160×128 pixels whose frames carry their numbers in their pixels."""
    path = write_video(folder / "a.mp4", num_frames)
    rows = pd.DataFrame({"video_id": ["a"], "path": str(path), "num_frames": num_frames}).reindex(columns=COLUMNS)
    return rows.assign(label="run", subset="validation", start=np.nan, end=np.nan, width=160, height=128)


def test_all_views_of_a_video_come_from_one_decoding(tmp_path, monkeypatch):
    from actlib.datasets.clips import loaders as module

    found = numbered_table(tmp_path)
    asked, read = [], module.read_frames
    monkeypatch.setattr(
        module, "read_frames", lambda path, numbers, **how: asked.append(numbers) or read(path, numbers, **how)
    )
    protocols = {"clip": Protocol("clip", **SIZE), "video": Protocol("views", **SIZE, num_clips=4, num_crops=3)}
    views = EvaluationViews(found, ["run"], protocols)[0]
    assert views.counts == (1, 12) and views.clips.shape == (13, 8, 3, 32, 32)
    assert len(asked) == 1 and len(set(asked[0])) == len(asked[0])
    needed = {number for protocol in protocols.values() for number in protocol.windows(40).ravel()}
    assert set(asked[0].tolist()) == needed


def test_views_hold_the_frames_of_their_windows(tmp_path):
    found = numbered_table(tmp_path)
    height = int(found["height"][0])
    protocol = Protocol("video", 8, 2, height, height)
    views = EvaluationViews(found, ["run"], {"video": protocol})[0]
    whole = TrainingClips(
        found, ["run"], num_frames=40, frame_stride=1, transform=train_transform("center", height, height)
    )[0][0]
    windows = protocol.windows(40)
    assert len(windows) == 3
    assert torch.equal(views.clips, whole[torch.from_numpy(windows)])


def test_an_undecodable_video_has_no_views_but_a_reason(tmp_path):
    found = numbered_table(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    for views in evaluation_loader(EvaluationViews(found, ["run"], {"clip": Protocol("clip", **SIZE)}), num_workers=1):
        assert views.clips is None and views.counts == (0,) and "0 bytes" in views.error
