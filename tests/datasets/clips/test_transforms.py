"""Crops and augmentations: where the references put them, one choice for the whole clip, uint8 in and out."""

import pickle

import pytest
import torch
from atonce import eval_crops
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from actlib.datasets.clips import crops
from actlib.datasets.clips.transforms import crop_resize, mirror, train_transform
from actlib.datasets.vocabulary import CROPS, NUM_CROPS

HEIGHT, WIDTH = 60, 90
SCALES = (1.0, 0.875, 0.75, 0.66)  # action-recognition-pytorch's


def places(height=HEIGHT, width=WIDTH):
    """A frame that tells where a pixel comes from: row, column and 0, uint8 (1, 3, H, W)."""
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([row, column, torch.zeros_like(row)]).to(torch.uint8)[None]


def noise(channels=3, frames=1):
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, 256, (frames, channels, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)


def drawn(draw, times=400):
    torch.manual_seed(0)
    return {draw() for _ in range(times)}


AUGMENTED = {"color_jitter": 0.4, "rand_augment": 15, "random_erasing": 1.0}


EACH_OPTION = [{"color_jitter": 0.4}, {"rand_augment": 15}, {"random_erasing": 1.0}]
CHOICES = [(crop, {}) for crop in CROPS] + [("center", each) for each in EACH_OPTION] + [("random_resized", AUGMENTED)]


@pytest.mark.parametrize(("crop", "options"), CHOICES, ids=str)
def test_one_random_choice_holds_for_the_whole_clip(crop, options):
    transform = train_transform(crop, 40, 32, **options)
    frame, found = noise(), set()
    for seed in range(5):
        torch.manual_seed(seed)
        clip = transform(frame.expand(4, -1, -1, -1))
        assert clip.shape == (4, 3, 32, 32) and clip.dtype == torch.uint8
        assert (clip == clip[:1]).all()  # equal frames stay equal
        torch.manual_seed(seed)
        assert torch.equal(clip, transform(frame.expand(4, -1, -1, -1)))
        found.add(clip.numpy().tobytes())
    assert len(found) == 1 if crop == "center" and not options else len(found) > 1
    assert torch.equal(frame, noise())  # the input is left as it was


def test_a_transform_travels_to_worker_processes():
    transform = train_transform("multi_scale_corner", 40, 32, **AUGMENTED)
    copied = pickle.loads(pickle.dumps(transform))
    torch.manual_seed(0)
    here = transform(noise(frames=2))
    torch.manual_seed(0)
    assert torch.equal(here, copied(noise(frames=2)))


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize(("height", "width"), [(40, 40), (41, 77), (77, 41)])
def test_crops_of_any_frame_are_whole(crop, height, width):
    """No crop leaves the frame, whatever its shape: a frame of one colour stays it."""
    frame = torch.full((2, 3, height, width), 200, dtype=torch.uint8)
    transform = train_transform(crop, 40, 38, crop_scales=(1.0, 0.9, 0.5))
    for seed in range(20):
        torch.manual_seed(seed)
        assert (transform(frame) == 200).all()


@pytest.mark.parametrize("scale_min", [0.08, 0.8, 1.0])
def test_random_resized_boxes_are_torchvisions(scale_min):
    """The same draws in the same order, of frames too narrow or too flat for any box as well."""
    for seed, (height, width) in enumerate([(240, 320), (90, 60), (61, 61), (200, 3), (2, 150), (1, 1)] * 50):
        torch.manual_seed(seed)
        frame = torch.empty(1).expand(1, height, width)
        theirs = RandomResizedCrop.get_params(frame, [scale_min, 1.0], [3 / 4, 4 / 3]), torch.rand(1).item()
        torch.manual_seed(seed)
        assert (crops.random_resized_box(height, width, scale_min), torch.rand(1).item()) == theirs


@pytest.mark.parametrize("channels", [3, 10])
@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize("box", [(0, 0, 60, 90), (7, 11, 20, 33), (59, 89, 1, 1), (4, 5, 32, 40)], ids=str)
def test_resized_crops_are_torchvisions(channels, frames, box):
    """Bit for bit, of clips as a decoder gives them (channels last) and of contiguous ones; the order stays."""
    clip = noise(channels, frames)
    for given in (clip, clip.contiguous(memory_format=torch.channels_last)):
        for size in ((32, 40), (8, 9), (70, 20)):
            ours = crop_resize(given, *box, size)
            assert torch.equal(ours, F.resized_crop(given, *box, list(size), antialias=True))
            view = box[2:] == size
            assert view or given is clip or ours.is_contiguous(memory_format=torch.channels_last)


def test_random_crops_reach_every_place():
    assert {box[:2] for box in drawn(lambda: crops.random_box(34, 35, 32))} == {
        (top, left) for top in range(3) for left in range(4)
    }
    boxes = drawn(lambda: crops.multi_scale_box(20, 24, (1.0, 0.9), "random"), 2000)
    assert {box[2] for box in boxes} == {20, 18}
    assert {box[1] for box in boxes if box[2] == 18} == set(range(7))  # up to the right edge, 24 − 18
    assert {box[:2] for box in boxes if box[2] == 20} == {(0, left) for left in range(5)}


def test_scale_jitter_draws_the_short_side():
    """A wider frame shows less in a crop: the slope of the columns tells the scale."""
    transform = train_transform("random", 40, 32, short_side_max=60)
    slopes = []
    for seed in range(60):
        torch.manual_seed(seed)
        clip = transform(places())
        slopes.append(float(clip[0, 1, 16, 31]) - float(clip[0, 1, 16, 0]))
    expected = [31 * 60 / side for side in (60, 40)]
    assert min(slopes) == pytest.approx(expected[0], abs=1.5) and max(slopes) == pytest.approx(expected[1], abs=1.5)
    assert len(set(slopes)) > 8


def test_multi_scale_corner_takes_each_scale_at_each_corner():
    boxes = drawn(lambda: crops.multi_scale_box(60, 90, (1.0, 0.5), "corner"), 1000)
    expected = {(0, left, 60, 60) for left in (0, 30, 15)}
    expected |= {(top, left, 30, 30) for top in (0, 30) for left in (0, 60)} | {(15, 30, 30, 30)}
    assert boxes == expected
    only_one_scale = drawn(lambda: crops.multi_scale_box(60, 90, (0.5,), "corner"), 300)
    assert len(only_one_scale) == 5  # the references draw the place from as many as there are scales
    assert drawn(lambda: crops.multi_scale_box(60, 90, (1.0, 0.5), "center"), 50) == {(0, 15, 60, 60), (15, 30, 30, 30)}


def test_multi_scale_fixed_follows_tsn():
    boxes = drawn(lambda: crops.multi_scale_fixed_box(256, 340, SCALES, 224), 6000)
    sides = [256, 224, 192, 168]
    pairs = {(sides[i], sides[j]) for i in range(4) for j in range(4) if abs(i - j) <= 1}
    assert {box[2:] for box in boxes} == pairs  # height and width at most one scale apart
    tops_lefts = {box[:2] for box in boxes if box[2:] == (192, 168)}
    down, right = 64 // 4, 172 // 4
    grid = {(0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3)}
    assert tops_lefts == {(y * down, x * right) for y, x in grid} and len(grid) == 13
    # 0.875 of 254 is 222: near enough to 224 to be taken as it is
    assert {box[2] for box in drawn(lambda: crops.multi_scale_fixed_box(254, 340, SCALES, 224))} == {254, 224, 190, 167}
    # but a frame that is smaller than the crop has no box of its size
    assert max(box[2] for box in drawn(lambda: crops.multi_scale_fixed_box(222, 340, SCALES, 224))) == 222


def test_random_resized_boxes_have_their_area_and_aspect():
    boxes = drawn(lambda: crops.random_resized_box(200, 300, 0.25))
    shares = [height * width / 60000 for _, _, height, width in boxes]
    aspects = [width / height for _, _, height, width in boxes]
    assert 0.24 < min(shares) < 0.3 and max(shares) > 0.7
    assert 0.74 < min(aspects) < 0.8 and 1.27 < max(aspects) < 1.35


@pytest.mark.parametrize("position", crops.POSITIONS)
def test_a_single_crop_lies_at_its_position(position):
    frame = places()  # 60 × 90, short side kept
    [view] = eval_crops(frame, 60, 40, 1, position)
    top = {"center": 10, "top": 0, "bottom": 20}[position.split("_")[0]]
    left = {"center": 25, "left": 0, "right": 50}[position.split("_")[-1]]
    assert torch.equal(view, frame[..., top : top + 40, left : left + 40])


@pytest.mark.parametrize(("height", "width"), [(60, 90), (90, 60), (61, 61), (63, 80)])
def test_evaluation_crops_are_torchvisions(height, width):
    frame = noise()[..., :height, :width]
    frame = F.resize(frame, [height, width])
    resized = F.resize(frame, [48])
    assert torch.equal(eval_crops(frame, 48, 40, 1)[0], F.center_crop(resized, [40, 40]))
    assert torch.equal(eval_crops(frame, 48, 40, 5), torch.stack(F.five_crop(resized, [40, 40])))
    ten = eval_crops(frame, 48, 40, 10)
    mirrored = F.ten_crop(resized, [40, 40])[5:9]  # of the mirrored frame: its left is our right
    assert torch.equal(ten[5:9], torch.stack([mirrored[place] for place in (1, 0, 3, 2)]))
    assert torch.equal(ten[:5], eval_crops(frame, 48, 40, 5)) and torch.equal(ten[9], ten[4].flip(-1))
    three = eval_crops(frame, 48, 40, 3)
    assert torch.equal(three[1], F.center_crop(resized, [40, 40]))
    wide = width >= height
    rows, columns = resized.shape[-2:]
    first = resized[..., round((rows - 40) / 2) :, :] if wide else resized[..., :, round((columns - 40) / 2) :]
    assert torch.equal(three[0], first[..., :40, :40])
    last = first[..., :40, -40:] if wide else first[..., -40:, :40]
    assert torch.equal(three[2], last)


def test_grid_crops_are_action_recognition_pytorchs():
    def corners(frame, *sizes):
        return [view[0, :2, 0, 0].tolist() for view in eval_crops(frame, *sizes, grid=True)]

    frame = places(43, 83)  # room of 3 and 43: steps of 0 and 10
    assert corners(frame, 43, 40, 3) == [[0, 0], [0, 40], [0, 20]]
    assert corners(places(83, 43), 43, 40, 3) == [[0, 0], [40, 0], [20, 0]]
    assert corners(places(60, 90), 60, 32, 5) == [[0, 0], [0, 56], [28, 0], [28, 56], [14, 28]]
    ten = eval_crops(places(60, 90), 60, 32, 10, grid=True)
    assert torch.equal(ten[5:], ten[:5].flip(-1))
    assert torch.equal(eval_crops(frame, 43, 40, 1, grid=True), eval_crops(frame, 43, 40, 1))


@pytest.mark.parametrize("num_crops", NUM_CROPS)
def test_flow_is_cropped_and_mirrored(num_crops):
    flow = noise(channels=10, frames=2)
    views = eval_crops(flow, 48, 40, num_crops)
    assert views.shape == (num_crops, 2, 10, 40, 40)
    if num_crops == 10:
        assert torch.equal(views[5:, :, ::2].flip(-1), 255 - views[:5, :, ::2])  # what went left goes right
        assert torch.equal(views[5:, :, 1::2].flip(-1), views[:5, :, 1::2])
    assert torch.equal(mirror(mirror(flow)), flow) and torch.equal(mirror(noise()), noise().flip(-1))


def test_flow_is_augmented_but_for_its_colours():
    flow = noise(channels=10, frames=4)
    for crop in CROPS:
        clip = train_transform(crop, 40, 32, random_erasing=1.0)(flow)
        assert clip.shape == (4, 10, 32, 32) and clip.dtype == torch.uint8
        erased = (clip == 128).all(dim=1).all(dim=0)  # no motion, in all frames and both directions
        assert 0.01 < float(erased.float().mean()) < 0.5
    for options in ({"color_jitter": 0.1}, {"rand_augment": 3}):
        with pytest.raises(ValueError, match="not 10 of optical flow"):
            train_transform("random", 40, 32, **options)(flow)


def test_strength_of_the_colour_jitter():
    grey = torch.full((1, 3, 40, 40), 100, dtype=torch.uint8)
    transform = train_transform("center", 40, 40, color_jitter=0.5)
    torch.manual_seed(0)
    values = [int(transform(grey)[0, 0, 0, 0]) for _ in range(60)]
    assert 48 <= min(values) < 65 and 135 < max(values) <= 152  # brightness changes by up to the half


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("middle", 40, 32), {}, "crop 'middle': expected one of random_resized, random, center, multi_scale_random"),
        (("random", 30, 32), {}, "crop_size 32 is larger than short_side 30"),
        (("random", 40, 32), {"short_side_max": 39}, "short_side_max 39 is smaller"),
        (("multi_scale_fixed", 40, 32), {"crop_scales": [1.5]}, "crop_scales"),
        (("multi_scale_fixed", 40, 32), {"crop_scales": []}, "crop_scales"),
    ],
)
def test_what_cannot_be_is_named(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        train_transform(*arguments, **options)


def test_crops_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="crop_size 50 is larger than the resized frame of 60×40; raise short_side"):
        eval_crops(places(), 40, 50, 1)
    with pytest.raises(ValueError, match="num_crops is 4: expected one of 1, 3, 5, 10"):
        eval_crops(places(), 40, 32, 4)
    with pytest.raises(ValueError, match="crop_position 'left': expected one of center"):
        eval_crops(places(), 40, 32, 1, "left")
