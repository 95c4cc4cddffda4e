"""Clips, views and spatial transforms: right shapes, one choice a clip, the same whatever the workers."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pandas as pd
import pytest
import torch
from atonce import eval_crops
from torch.utils.data import DataLoader, DistributedSampler, Subset
from videofiles import frame_number, write_video

from actlib.datasets import own_videos as build
from actlib.datasets import table
from actlib.datasets.clips.loaders import EpochBatches, TrainingClips, batch_sizes, training_loader
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.rows import Paths
from actlib.datasets.clips.streams import PURPOSES, stream
from actlib.datasets.clips.transforms import train_transform
from actlib.datasets.clips.views import EvaluationViews
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


def clip_at(clips, epoch, index):
    clips.set_epoch(epoch)
    return clips[index]


def numbers_at(clips, epoch, index):
    return [frame_number(frame) for frame in clip_at(clips, epoch, index)[0].permute(0, 2, 3, 1).numpy()]


def test_training_clips_are_uint8_and_augmented(motion_table):
    clips = clips_of(rows(motion_table))
    one, again, later = clip_at(clips, 0, 3), clip_at(clips, 0, 3), clip_at(clips, 1, 3)
    clip, label = one
    assert clip.shape == (8, 3, 32, 32) and clip.dtype == torch.uint8
    assert torch.equal(clip, again[0]) and not torch.equal(clip, later[0])
    assert clips.labels[3] == label and one.failures == ()
    assert pickle.loads(pickle.dumps(one)).failures == () and torch.equal(clips[-21][0], later[0])
    with pytest.raises(IndexError):
        clips[24]


def epochs(clips, num_workers, batch_size=5, context=None):
    """The clips of two epochs by (epoch, video)."""
    batches, found = EpochBatches(len(clips), batch_size, seed=0), {}
    loader = training_loader(clips, batches, num_workers=num_workers, pin_memory=False)
    loader.multiprocessing_context = context
    for epoch in (0, 1):
        clips.set_epoch(epoch)
        batches.epoch = epoch
        for videos, batch in zip(batches, loader):
            for video, clip, label in zip(videos, batch.clips, batch.labels):
                found[epoch, video] = clip, int(label)
    return found


@pytest.mark.parametrize(("context", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_clips_do_not_depend_on_workers_batches_or_torchs_random_state(motion_table, context, num_workers):
    clips, before = clips_of(rows(motion_table)), torch.get_rng_state()
    here = epochs(clips, 0)
    there = epochs(clips, num_workers, batch_size=7, context=context)
    assert torch.equal(before, torch.get_rng_state())  # loading draws nothing from the state that checkpoints keep
    assert len(here) == 2 * 24 and here.keys() == there.keys()
    for place, (clip, label) in here.items():
        assert torch.equal(clip, there[place][0]) and label == there[place][1], place
    batches = EpochBatches(24, 5, seed=0)
    first = list(batches)
    batches.epoch = 1
    assert first != list(batches)  # each epoch has its own order
    batches.first = 3
    assert list(EpochBatches(24, 5, seed=0)) == first and len(list(batches)) == len(batches) == 2


def test_torchs_own_tools_work_on_the_clips(motion_table):
    clips = clips_of(rows(motion_table))
    found, labels = next(iter(DataLoader(clips, batch_size=6, shuffle=True)))
    assert found.shape == (6, 8, 3, 32, 32) and labels.shape == (6,) and labels.dtype == torch.int64
    part = Subset(clips, [5, 2])
    assert torch.equal(part[0][0], clips[5][0]) and len(part) == 2
    shards = [DistributedSampler(clips, 2, rank, shuffle=False) for rank in (0, 1)]
    seen = [label for shard in shards for _, labels in DataLoader(clips, 4, sampler=shard) for label in labels.tolist()]
    assert sorted(seen) == sorted(clips.labels.tolist())


@pytest.mark.parametrize(
    ("length", "batch_size", "spread", "keep", "drop"),
    [
        (24, 8, [8, 8, 8], [8, 8, 8], [8, 8, 8]),
        (25, 8, [8, 8, 5, 4], [8, 8, 8, 1], [8, 8, 8]),
        (31, 8, [8, 8, 8, 7], [8, 8, 8, 7], [8, 8, 8]),
        (17, 16, [9, 8], [16, 1], [16]),
        (5, 2, [2, 3], [2, 2, 1], [2, 2]),
        (7, 3, [3, 2, 2], [3, 3, 1], [3, 3]),
        (5, 8, [5], [5], None),
        (3, 1, [1, 1, 1], [1, 1, 1], [1, 1, 1]),
    ],
)
def test_what_is_left_after_the_whole_batches(length, batch_size, spread, keep, drop):
    assert batch_sizes(length, batch_size) == spread and batch_sizes(length, batch_size, "keep") == keep
    if drop is None:
        with pytest.raises(DataError, match="last_batch: drop leaves no batch of 8 from 5 clips; lower batch_size"):
            batch_sizes(length, batch_size, "drop")
    else:
        assert batch_sizes(length, batch_size, "drop") == drop
    batches = EpochBatches(length, batch_size, seed=3)
    assert [len(each) for each in batches] == spread
    assert sorted(video for each in batches for video in each) == list(range(length))


def test_streams_are_apart():
    """default_rng((seed, epoch)) and default_rng((seed, epoch, 0)) are one stream; these are not."""
    assert np.random.default_rng((7, 1)).integers(2**62) == np.random.default_rng((7, 1, 0)).integers(2**62)
    keys = [(seed, purpose, *place) for seed in (0, 1, 7) for purpose in PURPOSES
            for place in ((0,), (1,), (0, 0), (0, 1), (1, 0))]  # fmt: skip
    drawn = {stream(*key).integers(2**62) for key in keys}
    assert len(drawn) == len(keys)
    assert stream(*keys[0]).integers(2**62) in drawn  # the same again


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
        numbers = numbers_at(clips, epoch, 0)
        assert min(numbers) >= 10 and max(numbers) < 20 and np.diff(numbers).tolist() == [1, 1, 1]


def test_an_undecodable_clip_is_replaced_and_named(motion_table, tmp_path):
    found = rows(motion_table)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"not a video")
    found.loc[4, "path"] = str(broken)
    sample = clips_of(found)[4]
    assert sample[0].shape == (8, 3, 32, 32)
    assert [path for path, _ in sample.failures] == [str(broken)] and "not a video" in sample.failures[0][1]
    found["path"] = str(broken)
    with pytest.raises(VideoError, match="and 3 replacements failed as well"):
        clips_of(found, max_replacements=3)[4]


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
    assert numbers_at(clips, 0, 0) == numbers


def test_segments_and_dense_clips_are_drawn(tmp_path):
    found = numbered_table(tmp_path)
    for sampling, stride in (("segments", 1), ("segments_regular", 1), ("dense", 2)):
        options = {"num_frames": 8, "frame_stride": stride, "transform": lambda clip: clip, "sampling": sampling}
        clips = clips_of(found, **options)
        drawn = [numbers_at(clips, epoch, 0) for epoch in range(4)]
        assert len(set(map(tuple, drawn))) > 1, sampling
        for numbers in drawn:
            if sampling != "dense":
                assert [number // 5 for number in numbers] == list(range(8))
                assert (len({number % 5 for number in numbers}) == 1) == (sampling == "segments_regular")
            else:
                assert set(np.diff(numbers) % 40) == {2}


def test_paths_survive_being_packed():
    names = ["/data/ä b/1.mp4", "/data/ä b/22.mp4", "/data/x\udcff.avi", "/data/", "/data/日本.mp4"]
    paths = Paths(names)
    assert [paths[index] for index in range(len(paths))] == names and paths._common == "/data/"
    assert Paths(["/a/b.mp4"])[0] == "/a/b.mp4" and len(Paths([])) == 0


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
    with pytest.raises(ValueError, match="video_backend 'cv2': expected one of auto, pyav, decord"):
        clips_of(found, backend="cv2")  # here, and not in a worker
    with pytest.raises(ValueError, match="share num_frames and crop_size"):
        protocols = {"one": Protocol("clip", **SIZE), "other": Protocol("clip", 4, 2, 40, 32)}
        EvaluationViews(found, table.class_names(found), protocols)
