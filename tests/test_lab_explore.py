"""The explorers of notebook 07 in a real JupyterLab, in a real browser: clicked, turned and played."""

import pytest
from lab_fixtures import IN_A_BROWSER, run_all

pytestmark = IN_A_BROWSER
CLIPS = """
from actlib.analysis import widgets
from actlib.datasets.table import class_names, read_table
videos = read_table({table!r})
clips = widgets.ClipExplorer(videos, class_names(videos), num_frames=4)
"""
VIEWS = """
import torch
from actlib.analysis import widgets
from actlib.datasets.clips.protocol import Protocol
from actlib.datasets.table import class_names, read_table
videos = read_table({table!r})
protocol = Protocol("views", 4, 2, 40, 32, num_clips=3)
score = lambda data, index: torch.tensor([[9.0], [0], [0]]) * torch.eye(8)[data.labels[index]]
views = widgets.ViewExplorer(videos, class_names(videos), protocol, score)
"""
TICKS = "[...document.querySelectorAll('.actlib-player-track path')].map(each => each.getAttribute('d'))"


@pytest.fixture
def opened(lab, page, motion_table):
    def run(source: str):
        run_all(page, lab({"explore": source.format(table=str(motion_table))}), "explore")
        page.wait_for_selector(".actlib-strip img", timeout=180_000)
        page.wait_for_function("document.querySelector('video').readyState >= 2", timeout=60_000)

    return run


def test_a_clip_is_chosen_turned_and_played(opened, page, tmp_path):
    opened(CLIPS)
    page.locator(".actlib-label select").select_option("up")
    page.wait_for_selector(".actlib-video option:text-is('up_training_0000')", state="attached")
    page.locator(".actlib-sampling select").select_option("center")
    page.wait_for_function(f"{TICKS}[0] == 'M12.5 0V1M14.5 0V1M16.5 0V1M18.5 0V1'", timeout=30_000)
    page.locator(".actlib-frame-stride input").fill("4")
    page.locator(".actlib-frame-stride input").press("Enter")
    page.wait_for_function(f"{TICKS}[3] == 'M8.5 0V1M12.5 0V1M16.5 0V1M20.5 0V1'", timeout=30_000)
    page.wait_for_selector(".actlib-strip figure:has-text('frame 8')", timeout=30_000)
    assert page.locator(".actlib-player-box").count() == 4
    before = page.locator(".actlib-strip img").last.get_attribute("src")
    page.locator(".actlib-again").click()
    page.wait_for_function(
        "before => [...document.querySelectorAll('.actlib-strip img')].at(-1).src != before", arg=before
    )
    assert page.locator(".actlib-player-name").first.inner_text() == "epoch 5"

    page.wait_for_function("document.querySelector('video').readyState >= 2")
    page.locator(".actlib-player-play").click()
    page.wait_for_function("document.querySelector('video').currentTime > 0.2", timeout=30_000)
    assert page.evaluate("document.querySelector('video').videoWidth") == 64
    page.wait_for_function("/^frame [1-9]/.test(document.querySelector('.actlib-player-told').textContent)")
    page.locator(".actlib-player-play").click()
    assert page.evaluate("document.querySelector('video').paused")
    track = page.locator(".actlib-player-track").first
    track.click(position={"x": track.bounding_box()["width"] * 20.5 / 32, "y": 5})
    page.wait_for_function("document.querySelector('.actlib-player-told').textContent.startsWith('frame 20 ')")
    page.screenshot(path=tmp_path / "clips.png")
    assert page.errors == []


def test_the_views_are_predicted(opened, page, tmp_path):
    opened(VIEWS)
    page.locator(".actlib-label select").select_option("grow")
    page.wait_for_selector(".actlib-video option:text-is('grow_training_0000')", state="attached")
    page.locator(".actlib-predict").click()
    page.wait_for_selector(".actlib-best-five:has-text('✓ grow')", timeout=30_000)
    assert page.locator(".actlib-player-score").all_inner_texts()[:3] == ["100 %", "12 %", "12 %"]
    assert page.locator(".actlib-strip figure").first.inner_text() == "100 %"
    page.locator(".actlib-num-crops select").select_option("3")
    page.wait_for_function("document.querySelectorAll('.actlib-player-box').length == 3", timeout=30_000)
    assert page.locator(".actlib-best-five").count() == 0 and page.locator(".actlib-strip img").count() == 9
    page.screenshot(path=tmp_path / "views.png")
    assert page.errors == []
