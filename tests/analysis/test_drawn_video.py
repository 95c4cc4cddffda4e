"""Drawn videos and plots of predictions: what stands in the picture is what the numbers say."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from videofiles import frame_image, write_video

from actlib.analysis import plots
from actlib.analysis.drawn_video import BAR, heat, write_drawn, write_heat
from actlib.datasets.video.reader import probe, read_frames
from actlib.loops.predict import Windows

matplotlib.use("Agg")


def windows_of(scores, classes, network="net") -> Windows:
    """Windows of ten frames, one after another."""
    scores, starts = np.array(scores, dtype=np.float32), np.arange(0, 10 * len(scores), 10)
    return Windows(video_id="v", path="v", network=network, classes=classes, fps=20.0, starts=starts, ends=starts + 10,
                   scores=scores)  # fmt: skip


def bar_length(frame: np.ndarray, above: int) -> int:
    """Of the bar in the row so many pixels above the bottom, its length in pixels: the panel itself is dark."""
    return int((frame[-above, 8 : 9 + BAR, 2] > 120).sum())


@pytest.mark.parametrize(("width", "height"), [(64, 48), (1000, 400)])
def test_the_answer_of_the_nearest_window_stands_below_each_frame(tmp_path, width, height):
    video = write_video(tmp_path / "v.mp4", 20, width=width, height=height, fps=20)
    row = {"path": str(video), "num_frames": 20, "fps": 20.0}
    one = windows_of([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], ["a", "b" * 200, "c"])
    other = windows_of(np.empty((0, 2)), ["a", "b"], "no scores")
    path = write_drawn(tmp_path / "drawn.mp4", row, [one, other])
    assert probe(path).num_frames == 20 and probe(path).fps == 20 and probe(path).width in (400, 640)
    frames = read_frames(path, [9, 11])
    for frame, scores in zip(frames, ((0.9, 0.1), (0.8, 0.2))):
        # The second network has a line less, and takes 62 pixels; below each name stand the bars, 18 pixels apart.
        found = [bar_length(frame, 62 + 80 - above) for above in (31, 49)]
        assert found == pytest.approx([BAR * each for each in scores], abs=4)
        assert [bar_length(frame, 62 - above) for above in (31, 49)] == [0, 0]


def test_heat_shows_where_the_map_is_high_and_the_frame_where_it_is_not(tmp_path):
    frames, maps = np.stack([frame_image(number, 64, 48) for number in range(4)]), np.zeros((4, 48, 64))
    maps[2, :24] = 1
    shown = heat(frames, maps)
    assert np.array_equal(shown[maps == 0], frames[maps == 0])
    assert np.abs(shown[2, :24].astype(int) - frames[2, :24]).mean() > 30
    assert probe(write_heat(tmp_path / "heat.mp4", frames, maps, 10)).num_frames == 4


def test_plots_label_what_they_show():
    answers = [windows_of([[0.7, 0.3], [0.1, 0.9]], ["$a_1$", "b"]), windows_of([[0.5, 0.5]], ["x", "y"], "other $1$")]
    ax = plots.best_bars(pd.concat([each.best() for each in answers]))
    assert [text.get_text() for text in ax.get_yticklabels()] == ["b", "$a_1$"]
    assert [each.get_xlabel() for each in ax.figure.axes] == ["mean score by net", "mean score by other $1$"]
    assert [round(bar.get_width(), 3) for bar in ax.patches] == [0.6, 0.4]
    curves = pd.concat([each.over_time() for each in answers])
    ax = plots.score_curves(curves)
    assert ax.lines[0].get_xdata().tolist() == [0.25, 0.75] and "seconds" in ax.figure.axes[1].get_xlabel()
    assert "frame" in plots.score_curves(curves.assign(start_s=np.nan, end_s=np.nan)).figure.axes[1].get_xlabel()
    falls = {"video_id": ["v"], "network": ["n"], "fall_marked": [0.5], "fall_random": [0.1], "fall_random_sd": [0.05]}
    assert plots.fall_bars(pd.DataFrame(falls)).get_xlabel() == "the score falls by"
    ax = plots.marked_strip(np.zeros((4, 8, 8, 3), np.uint8), np.ones((4, 8, 8)), "$title$")
    assert len(ax.figure.axes) == 8 and all(np.isfinite(ax.figure.get_size_inches()))
    for each in (ax, plots.best_bars(pd.concat([each.best() for each in answers]))):
        each.figure.canvas.draw()  # where a name with dollar signs would be read as a formula
    matplotlib.pyplot.close("all")
