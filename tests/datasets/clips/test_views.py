"""All views of a video: those of the plainest rule, each frame decoded once, and few of them in memory at a time."""

import pickle
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from atonce import all_views
from PIL import Image
from videofiles import frame_image, frame_number, write_missing_frames, write_video

from actlib.datasets.clips import views as module
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.clips.views import Chunk, EvaluationViews, evaluation_loader
from actlib.datasets.table import COLUMNS
from actlib.datasets.video import reader
from actlib.datasets.vocabulary import ORDERS

SIZE = {"num_frames": 8, "frame_stride": 2, "short_side": 40, "crop_size": 32}
CLIP = Protocol("clip", **SIZE)
EVERY = {
    "clip": CLIP,
    "begin": Protocol("begin", **SIZE, crop_position="bottom_left"),
    "video": Protocol("video", **SIZE, step=5),
    "even": Protocol("even", **SIZE, num_clips=3, loop="span"),
    "views": Protocol("views", **SIZE, num_clips=4, num_crops=10, average="logits"),
    "dense": Protocol("dense", **SIZE, num_clips=3, num_crops=3),
    "uniform": Protocol("uniform", **SIZE, num_clips=2, num_crops=5),
    "larger": Protocol("video", **{**SIZE, "short_side": 48}, num_crops=3),
}


def table_of(paths, num_frames, **more) -> pd.DataFrame:
    rows = {"video_id": [str(number) for number in range(len(paths))], "path": list(map(str, paths))}
    rows = pd.DataFrame(rows | {"num_frames": num_frames}).reindex(columns=COLUMNS)
    return rows.assign(**{"label": "run", "subset": "validation", "start": np.nan, "end": np.nan} | more)


def numbered_table(folder, num_frames=40, **more) -> pd.DataFrame:
    """One video of 160×128 pixels whose frames carry their numbers in their pixels."""
    return table_of([write_video(folder / "a.mp4", num_frames)], num_frames, **more)


@pytest.mark.parametrize("segment", [(0, 40), (7, 31), (30, 35), (12, 13)])
def test_views_are_those_made_all_at_once(tmp_path, monkeypatch, segment):
    """Of a long segment, one with overlapping windows, one that every clip loops over, and one of a single frame."""
    monkeypatch.setattr(reader, "PIECE_BYTES", 200_000)  # three frames
    found = numbered_table(tmp_path, start=segment[0], end=segment[1])
    for protocols in ({name: each} for name, each in EVERY.items()):
        data = EvaluationViews(found, ["run"], protocols)
        assert torch.equal(data[0].clips, torch.cat(all_views(data, 0))), protocols
    data = EvaluationViews(found, ["run"], EVERY)
    wanted = all_views(data, 0)
    assert data[0].counts == tuple(map(len, wanted)) and torch.equal(data[0].clips, torch.cat(wanted))


def test_views_of_other_orders_hold_the_same_frames(tmp_path):
    found = pd.concat([numbered_table(tmp_path)] * 2, ignore_index=True)
    orders = {order: Protocol("clip", **SIZE, order=order) for order in ORDERS}
    first, second = EvaluationViews(found, ["run"], orders)
    forward, backwards, shuffled, frozen = first.clips
    assert torch.equal(backwards, forward.flip(0)) and torch.equal(frozen, forward[4].expand_as(forward))
    assert torch.equal(shuffled.flatten(1).sort(0).values, forward.flatten(1).sort(0).values)
    assert not torch.equal(shuffled, second.clips[2]) and torch.equal(forward, second.clips[0])


def test_optical_flow_and_tall_frames_too(tmp_path):
    flow, tall = tmp_path / "flow", tmp_path / "tall"
    rng = np.random.default_rng(0)
    for folder in (flow, tall):
        folder.mkdir()
    for number in range(1, 31):
        for axis in "xy":
            Image.fromarray(rng.integers(0, 256, (60, 90), dtype=np.uint8)).save(flow / f"{number:05d}_{axis}.jpg")
        Image.fromarray(frame_image(number, 64, 100)).save(tall / f"{number:05d}.jpg")
    for path, modality in ((flow, "flow"), (tall, "rgb")):
        data = EvaluationViews(table_of([path], 30), ["run"], EVERY, modality=modality)
        assert torch.equal(data[0].clips, torch.cat(all_views(data, 0)))


def test_each_frame_is_decoded_once(tmp_path, monkeypatch):
    found = numbered_table(tmp_path)
    asked, read = [], module.iter_frames
    monkeypatch.setattr(
        module, "iter_frames", lambda path, numbers, **how: asked.append(numbers) or read(path, numbers, **how)
    )
    protocols = {"clip": CLIP, "video": Protocol("views", **SIZE, num_clips=4, num_crops=3)}
    views = EvaluationViews(found, ["run"], protocols)[0]
    assert views.counts == (1, 12) and views.clips.shape == (13, 8, 3, 32, 32)
    assert len(asked) == 1 and len(set(asked[0])) == len(asked[0])
    needed = {number for protocol in protocols.values() for number in protocol.windows(40).ravel()}
    assert set(asked[0].tolist()) == needed


def test_a_view_that_protocols_share_is_made_once(tmp_path):
    found = numbered_table(tmp_path)

    def made(*protocols):
        chunks = list(EvaluationViews(found, ["run"], dict(enumerate(protocols))).chunks(0))
        return sum(len(chunk.places) for chunk in chunks), [each for chunk in chunks for each in chunk.owners()]

    three = Protocol("views", **SIZE, num_clips=3, num_crops=3)  # its middle clip and crop are the centre ones
    assert made(CLIP)[0] == 1 and made(three)[0] == 9
    number, owners = made(CLIP, three)
    assert number == 9 and sorted(owners) == [[0, 1], *[[1]] * 8]
    assert made(CLIP, Protocol("video", **SIZE))[0] == 1 + 3  # no window begins where the centre one does
    assert made(CLIP, Protocol("video", **{**SIZE, "short_side": 48}, step=12))[0] == 1 + 4  # the same frames, smaller
    assert made(CLIP, Protocol("video", **SIZE, step=12))[0] == 4
    short = found.assign(end=10)  # shorter than a clip: ten times the same one, looped
    [chunk] = EvaluationViews(short, ["run"], {"video": Protocol("views", **SIZE, num_clips=10)}).chunks(0)
    assert chunk.counts == (10,) and len(chunk.clips) == 1 and chunk.places == [list(range(10))]


def held_frames(data, index=0) -> tuple[int, int]:
    """The most frames that a video's views held at a time, counted where each is asked for, and all that they need."""
    most, plan = 0, module._Plan(list(data.protocols.values()), *data.segment(index), index)
    views = data._views(index, plan)
    for _ in views:
        most = max(most, len(views.gi_frame.f_locals["held"]))
    return most, len(plan.needed)


def test_no_more_frames_are_held_than_the_next_clips_need(tmp_path):
    found = table_of([write_video(tmp_path / "long.mp4", 400, 32, 32, gop=50)], 400)
    size = {"num_frames": 8, "frame_stride": 2, "short_side": 32, "crop_size": 32}
    for protocols, bound in (
        ([Protocol("video", **size)], 8),
        ([Protocol("video", **size, step=4)], 8),  # each frame in up to four windows
        ([Protocol("views", **size, num_clips=10, num_crops=3)], 8),
        ([Protocol("clip", **size), Protocol("video", **size)], 16),
        ([Protocol("uniform", **size, num_clips=2)], 16),  # each clip reaches from the first frame to the last
    ):
        most, needed = held_frames(EvaluationViews(found, ["run"], dict(enumerate(protocols))))
        assert 8 <= most <= bound and needed >= 16, protocols


def test_the_memory_of_a_long_video_is_that_of_a_short_one(tmp_path, monkeypatch):
    """The most that NumPy's arrays take, which hold all frames: those of the long video would fill 31 MB."""
    monkeypatch.setattr(reader, "PIECE_BYTES", 200_000)
    path, peaks = write_video(tmp_path / "long.mp4", 512), []
    for length in (64, 512):
        data = EvaluationViews(table_of([path], 512, end=length), ["run"], {"clip": CLIP, "video": EVERY["video"]})
        tracemalloc.start()
        views = sum(map(len, (places for chunk in data.chunks(0, 60_000) for places in chunk.places)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert views == 1 + len(EVERY["video"].windows(length))
    assert peaks[1] < 3e6 and peaks[1] < 2 * peaks[0]


def test_chunks_are_bounded(tmp_path):
    data = EvaluationViews(numbered_table(tmp_path), ["run"], EVERY)
    [whole] = data.chunks(0)
    view = whole.clips[0].nbytes
    for bound, most in ((0, 1), (view, 1), (3 * view + 1, 3), (1 << 30, len(whole.places))):
        chunks = list(data.chunks(0, bound))
        assert [len(chunk.clips) for chunk in chunks[:-1]] == [most] * (len(chunks) - 1)
        assert torch.equal(torch.cat([chunk.clips for chunk in chunks]), whole.clips)
        assert [chunk.last for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        for chunk in chunks:
            assert chunk.clips.untyped_storage().nbytes() == chunk.clips.nbytes  # all that goes through shared memory


def test_an_undecodable_video_has_no_views_but_a_reason(tmp_path):
    found = numbered_table(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"")
    data = EvaluationViews(found, ["run"], {"clip": CLIP})
    assert data[0].clips is None and data[0].counts == (0,) and "0 bytes" in data[0].error
    for workers in (0, 1):
        [chunk] = evaluation_loader(data, num_workers=workers)
        assert chunk.clips is None and chunk.last and "0 bytes" in chunk.error


def test_a_video_that_breaks_off_says_so_last(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "PIECE_BYTES", 1)
    path = write_missing_frames(tmp_path / "missing.avi", num_frames=20, num_missing=40)
    data = EvaluationViews(table_of([path], 60), ["run"], {"video": Protocol("video", 4, 1, 40, 32)})
    *good, bad = data.chunks(0, 1)
    assert len(good) == 4 and not any(chunk.error or chunk.last for chunk in good)  # 19 frames can be decoded
    assert bad.last and bad.clips is None and "cannot be decoded" in bad.error
    assert data[0].clips is None and data[0].counts == (0,) and data[0].error == bad.error


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_every_video_is_in_the_loader_once_in_an_order_of_its_own(tmp_path, num_workers):
    paths = [write_video(tmp_path / f"{number}.mp4", 16 + 8 * number, 64, 48) for number in range(5)]
    lengths = [16 + 8 * number for number in range(5)]
    data = EvaluationViews(table_of(paths, lengths), ["run"], {"video": Protocol("video", 4, 1, 40, 32)})
    loader = evaluation_loader(data, num_workers=num_workers)
    rounds = []
    for _ in range(2):  # the workers live on
        chunks: list[Chunk] = list(loader)
        assert sorted(chunk.index for chunk in chunks if chunk.last) == list(range(5))
        for index in range(5):
            places = [each for chunk in chunks if chunk.index == index for each in chunk.places]
            assert sorted(places) == [[place] for place in range(lengths[index] // 4)]
            clips = torch.cat([chunk.clips for chunk in chunks if chunk.index == index])
            assert torch.equal(clips, all_views(data, index)[0])
        rounds.append([(chunk.index, chunk.places) for chunk in chunks])
    assert rounds[0] == rounds[1]


def test_work_is_shared_out_evenly(tmp_path):
    lengths = [900, 10, 10, 300, 300, 300, 10, 10]
    found = table_of([f"{number}.mp4" for number in range(8)], lengths)
    by_length = EvaluationViews(found, ["run"], {"video": Protocol("video", **SIZE)})
    assert [by_length.share(each, 2).tolist() for each in range(2)] == [[0, 6, 7], [1, 2, 3, 4, 5]]
    assert by_length.share(0, 2, by_length.share(1, 2)).tolist() == [1, 3, 5]
    by_number = EvaluationViews(found, ["run"], {"clip": CLIP})
    assert [by_number.share(each, 3).tolist() for each in range(3)] == [[0, 3, 6], [1, 4, 7], [2, 5]]


def test_a_worker_started_anew_makes_the_same_chunks(tmp_path):
    data = EvaluationViews(numbered_table(tmp_path), ["run"], {"clip": CLIP})
    again = pickle.loads(pickle.dumps(data))
    assert again.table is None and torch.equal(again[0].clips, data[0].clips)


def test_views_hold_the_frames_of_their_windows(tmp_path):
    protocol = Protocol("video", 8, 2, 128, 128)
    views = EvaluationViews(numbered_table(tmp_path), ["run"], {"video": protocol})[0]
    assert len(views.clips) == 3 == len(protocol.windows(40))
    data = EvaluationViews(table_of([tmp_path / "a.mp4"], 40), ["run"], {"video": protocol})
    whole = np.concatenate(list(reader.iter_frames(tmp_path / "a.mp4", range(40))))
    assert [frame_number(frame) for frame in whole] == list(range(40))
    shown = torch.from_numpy(whole[protocol.windows(40)]).permute(0, 1, 4, 2, 3)[..., 16:144]
    assert torch.equal(views.clips, shown) and torch.equal(data[0].clips, shown)
