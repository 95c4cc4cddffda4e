"""On what the published figures rest: words, and parameters of notebook 04 that measure them again."""

from types import SimpleNamespace

import pytest

from actlib.analysis.costs.literature import published_figures
from actlib.loops.prepare_evaluation import evaluation_protocols
from actlib.models import find_published
from actlib.models.weights.published import Published, published_table
from actlib.params import VideoAccuracyParams, load_yaml

FIGURES = [(row, figure) for row in published_table().values() for figure in row.accuracies]


def protocol_of(row: Published, evaluation: dict):
    """What notebook 04 evaluates with these values, the row's where they say nothing."""
    of_row = {name: getattr(row, name) for name in ("num_frames", "frame_stride", "short_side", "crop_size")}
    p = VideoAccuracyParams.build(of_row | evaluation, row.file)
    return list(evaluation_protocols(p, SimpleNamespace(mirrored=())).values())[-1]


def test_words_and_values_of_every_figure_are_one():
    assert len(FIGURES) > 100
    for row, figure in FIGURES:
        assert figure.rests_on, f"{row.file}: nobody says on what the protocol of {figure.top1} rests"
        if row.image:
            assert not figure.evaluation
        elif figure.evaluation:
            words = figure.protocol.partition(";")[0]
            assert words == str(protocol_of(row, figure.evaluation)), f"{row.file}, {figure.top1}"


def test_recipes_measure_published_files_as_they_were_published(root):
    found = []
    for path in sorted((root / "params" / "video_accuracy").glob("*.yaml")):
        p = VideoAccuracyParams.build(load_yaml(path), path.name)
        if (row := find_published(p.checkpoint)) and row.accuracies:
            own = str(list(evaluation_protocols(p, SimpleNamespace(mirrored=())).values())[-1])
            assert own in [figure.protocol.partition(";")[0] for figure in row.accuracies], path.name
            found.append(path.stem)
    assert found == ["ibm_dense_256", "ibm_uniform_256", "resnet3d_10x3", "resnet3d_clip", "resnet3d_nl_10x3"]


def test_the_literature_has_the_same_protocol():
    """The figures of Efficient-3DCNNs stand in the table of weights and in that of the paper."""
    told = published_figures()
    told = told[told["source"] == "arXiv:1904.02422, table 8"]
    compared = set()
    for row, figure in FIGURES:
        alike = told["top1"].eq(figure.top1) & told["dataset"].eq(row.dataset) & told["spec"].eq(row.spec)
        for words in told.loc[alike, "protocol"]:
            assert figure.protocol.startswith(words), f"{row.file}, {figure.top1}: {words}"
            compared.add((row.dataset, figure.top1))
    assert len(compared) == 19 + 18  # Kinetics-600, whose two deeper ResNets have another shortcut, and Jester


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("jester_shufflenet_0.5x_G3_RGB_16_best.pth", ["centre clip × centre crop @ 112, 16 frames, stride 2"]),
        ("kinetics_shufflenet_0.5x_G3_RGB_16_best.pth", ["all non-overlapping clips × centre crop @ 112, 16 frames"]),
        ("resnext-101-64f-kinetics-hmdb51_split1.pth", ["all non-overlapping clips × centre crop @ 112, 64 frames"]),
        ("i3d_r50_kinetics.pth", ["centre clip × centre crop @ 256, 32 frames", "10 clips × 3 crops @ 256, 32 frames"]),
        ("tv_s3d", ["first clip × centre crop @ 224, 128 frames, stride 2"]),
        ("tv_swin3d_t", ["12 clips × centre crop @ 224, 32 frames, stride 2"]),
    ],
)
def test_protocols_that_the_references_measure_with(file, words):
    figures = next(row.accuracies for row in published_table().values() if file in (row.file, row.spec))
    assert len(figures) == len(words)
    assert all(figure.protocol.startswith(each) for figure, each in zip(figures, words)), figures
