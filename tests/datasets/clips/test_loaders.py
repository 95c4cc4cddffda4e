"""Clips, views and spatial transforms: right shapes, one choice a clip, the same whatever the workers."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pandas as pd
import pytest
import torch
from videofiles import frame_number, write_video

from actlib.datasets import own_videos as build
from actlib.datasets import table
from actlib.datasets.clips.loaders import EvaluationViews, TrainingClips, _Paths, evaluation_loader, training_loader
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.transforms import eval_crops, train_transform
from actlib.datasets.errors import DataError, VideoError
from actlib.datasets.prepare import probe as prepare

SIZE = {"num_frames": 8, "frame_stride": 2, "short_side": 40, "crop_size": 32}


def rows(path, subset="training"):
    return table.rows_of(table.read_table(path), subset)


def clips_of(found, classes=None, **more):
    options = {"num_frames": 8, "frame_stride": 2, "transform": train_transform("random_resized", 40, 32)} | more
    return TrainingClips(found, classes or table.class_names(found), **options)


def numbered_table(folder, num_frames=40):
    """One video whose frames carry their numbers in their pixels."""
    (folder / "run").mkdir()
    write_video(folder / "run" / "a.mp4", num_frames)
    readable, quarantine = prepare.probe_table(build.from_folders(folder, validation=0), workers=1)
    assert quarantine.empty
    return readable


def test_training_clips_are_uint8_and_augmented(motion_table):
    clips = clips_of(rows(motion_table))
    one, again, later = clips[0, 3], clips[0, 3], clips[1, 3]
    assert one.clips.shape == (1, 8, 3, 32, 32) and one.clips.dtype == torch.uint8
    assert torch.equal(one.clips, again.clips) and not torch.equal(one.clips, later.clips)
    assert clips.labels[3] == one.labels.item() and one.failures == []


def test_clips_do_not_depend_on_workers_or_on_torchs_random_state(motion_table):
    def epoch(num_workers):
        loader = training_loader(clips_of(rows(motion_table)), batch_size=5, num_workers=num_workers, pin_memory=False)
        found = []
        for number in (0, 1):
            loader.sampler.epoch = number
            found += list(loader)
        return found

    before = torch.get_rng_state()
    here, there = epoch(0), epoch(2)
    assert torch.equal(before, torch.get_rng_state())  # loading draws nothing from the state that checkpoints keep
    assert len(here) == len(there) == 2 * 5
    for one, other in zip(here, there):
        assert torch.equal(one.clips, other.clips) and torch.equal(one.labels, other.labels)
    assert not torch.equal(here[0].labels, here[5].labels)  # each epoch has its own order


def test_one_random_choice_holds_for_the_whole_clip():
    frame = torch.randint(0, 256, (1, 3, 50, 60), dtype=torch.uint8)
    for crop in ("random_resized", "random", "center"):
        out = train_transform(crop, 40, 32)(frame.expand(6, -1, -1, -1))
        assert out.shape == (6, 3, 32, 32) and out.dtype == torch.uint8
        assert (out == out[:1]).all(), crop  # equal frames stay equal
    with pytest.raises(ValueError, match="crop 'middle'"):
        train_transform("middle", 40, 32)


def test_crops_lie_where_they_should():
    wide = torch.arange(80, dtype=torch.uint8).repeat(2, 3, 40, 1)  # a pixel's value is its column
    three = eval_crops(wide, 40, 40, 3)
    assert three.shape == (3, 2, 3, 40, 40)
    assert three[:, 0, 0, 0, 0].tolist() == [0, 20, 40]
    tall = wide.transpose(-1, -2)
    assert eval_crops(tall, 40, 40, 3)[:, 0, 0, 0, 0].tolist() == [0, 20, 40]
    assert torch.equal(eval_crops(wide, 40, 40, 1)[0], three[1])
    assert eval_crops(wide, 40, 32, 5).shape[0] == 5
    ten = eval_crops(wide, 40, 32, 10)
    assert torch.equal(ten[5:], ten[:5].flip(-1))  # each crop, then each mirrored
    with pytest.raises(ValueError, match="num_crops is 2"):
        eval_crops(wide, 40, 32, 2)


def test_a_segment_bounds_the_clip(tmp_path):
    found = numbered_table(tmp_path).assign(start=10, end=20)
    clips = clips_of(found, num_frames=4, frame_stride=1, transform=lambda clip: clip)
    for epoch in range(20):
        numbers = [frame_number(frame) for frame in clips[epoch, 0].clips[0].permute(0, 2, 3, 1).numpy()]
        assert min(numbers) >= 10 and max(numbers) < 20 and np.diff(numbers).tolist() == [1, 1, 1]


def test_an_undecodable_clip_is_replaced_and_named(motion_table, tmp_path):
    found = rows(motion_table)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    found.loc[4, "path"] = str(broken)
    batch = clips_of(found)[0, 4]
    assert batch.clips.shape == (1, 8, 3, 32, 32)
    assert [path for path, _ in batch.failures] == [str(broken)] and "not a video" in batch.failures[0][1]
    found["path"] = str(broken)
    with pytest.raises(VideoError, match="and 3 replacements failed as well"):
        clips_of(found, max_replacements=3)[0, 4]


def test_all_views_of_a_video_come_from_one_decoding(tmp_path, monkeypatch):
    from actlib.datasets.clips import loaders as module

    found = numbered_table(tmp_path)
    asked, read = [], module.read_frames
    monkeypatch.setattr(
        module, "read_frames", lambda path, numbers, **how: asked.append(numbers) or read(path, numbers, **how)
    )
    protocols = [Protocol("clip", **SIZE), Protocol("views", **SIZE, num_clips=4, num_crops=3)]
    views = EvaluationViews(found, ["run"], protocols)[0]
    assert views.counts == (1, 12) and views.clips.shape == (13, 8, 3, 32, 32)
    assert len(asked) == 1 and len(set(asked[0])) == len(asked[0])
    needed = set(protocols[0].windows(40).ravel()) | set(protocols[1].windows(40).ravel())
    assert set(asked[0].tolist()) == needed


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"sampling": "begin"}, [10, 12, 14, 16]),
        ({"sampling": "center"}, [11, 13, 15, 17]),
        ({"sampling": "begin", "num_frames": 6}, [10, 12, 14, 16, 18, 10]),
        ({"sampling": "begin", "num_frames": 6, "frame_stride": 4, "loop": "span"}, [10, 14, 18, 12, 16, 10]),
    ],
)
def test_a_clip_follows_its_rule_within_its_segment(tmp_path, options, numbers):
    found = numbered_table(tmp_path).assign(start=10, end=20)
    clips = clips_of(found, **{"num_frames": 4, "transform": lambda clip: clip} | options)
    assert [frame_number(frame) for frame in clips[0, 0].clips[0].permute(0, 2, 3, 1).numpy()] == numbers


def test_segments_and_dense_clips_are_drawn(tmp_path):
    found = numbered_table(tmp_path)
    for sampling, stride in (("segments", 1), ("dense", 2)):
        options = {"num_frames": 8, "frame_stride": stride, "transform": lambda clip: clip, "sampling": sampling}
        clips = clips_of(found, **options)
        drawn = [
            [frame_number(frame) for frame in clips[epoch, 0].clips[0].permute(0, 2, 3, 1).numpy()] for epoch in (0, 1)
        ]
        assert drawn[0] != drawn[1], sampling
        for numbers in drawn:
            if sampling == "segments":
                assert [number // 5 for number in numbers] == list(range(8))
            else:
                assert set(np.diff(numbers) % 40) == {2}


def test_paths_survive_being_packed():
    names = ["/data/ä b/1.mp4", "/data/ä b/22.mp4", "/data/x\udcff.avi", "/data/", "/data/日本.mp4"]
    paths = _Paths(names)
    assert [paths[index] for index in range(len(paths))] == names and paths._common == "/data/"
    assert _Paths(["/a/b.mp4"])[0] == "/a/b.mp4" and len(_Paths([])) == 0


def test_workers_started_anew_get_the_table_as_shared_memory(motion_table):
    found = rows(motion_table)
    small, large = clips_of(found), clips_of(pd.concat([found] * 100, ignore_index=True))
    small_pickle, large_pickle = (bytes(ForkingPickler.dumps(clips)) for clips in (small, large))
    assert len(large_pickle) < len(small_pickle) + 100
    for tensor in (large.labels, large.paths._bytes, large.paths._ends, large._begins, large._ends):
        assert tensor.is_shared()
    again = pickle.loads(large_pickle)
    assert again.paths[2399] == large.paths[2399] == found["path"].iloc[-1]
    assert torch.equal(again.labels, large.labels) and again.segment(7) == large.segment(7)


def test_views_hold_the_frames_of_their_windows(tmp_path):
    found = numbered_table(tmp_path)
    height = int(found["height"][0])
    protocol = Protocol("video", 8, 2, height, height)
    views = EvaluationViews(found, ["run"], [protocol])[0]
    whole = TrainingClips(
        found, ["run"], num_frames=40, frame_stride=1, transform=train_transform("center", height, height)
    )[0, 0].clips[0]
    windows = protocol.windows(40)
    assert len(windows) == 3
    assert torch.equal(views.clips, whole[torch.from_numpy(windows)])


def test_an_undecodable_video_has_no_views_but_a_reason(tmp_path):
    found = numbered_table(tmp_path)
    (tmp_path / "run" / "a.mp4").write_bytes(b"")
    for views in evaluation_loader(EvaluationViews(found, ["run"], [Protocol("clip", **SIZE)]), num_workers=1):
        assert views.clips is None and views.counts == (0,) and "0 bytes" in views.error


def test_what_does_not_fit_is_named(motion_table):
    found = rows(motion_table)
    with pytest.raises(DataError, match="label 'clockwise', 'counterclockwise'.* is not among the 1 classes left"):
        clips_of(found, ["left"])
    with pytest.raises(DataError, match="24 videos have no num_frames.*01_data_prep"):
        clips_of(found.assign(num_frames=np.nan))
    with pytest.raises(ValueError, match="sampling 'rondom'"):
        clips_of(found, sampling="rondom")
    with pytest.raises(ValueError, match="modality 'depth'"):
        clips_of(found, modality="depth")
    with pytest.raises(ValueError, match="share num_frames and crop_size"):
        EvaluationViews(found, table.class_names(found), [Protocol("clip", **SIZE), Protocol("clip", 4, 2, 40, 32)])
