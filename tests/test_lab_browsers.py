"""Run folders and predictions in a real JupyterLab: filters typed, heads, rows and cells clicked, videos that play."""

from lab_fixtures import IN_A_BROWSER, run_all
from runfolders import evaluation, training
from videofiles import write_video

from actlib.datasets.table import read_table, rows_of, write_table

pytestmark = IN_A_BROWSER

BROWSERS = """
from actlib.analysis.widgets import PredictionBrowser, RunBrowser
runs = RunBrowser(["runs/*"])
predictions = PredictionBrowser("runs/eval")
"""
PLAYS = "[...document.querySelectorAll('.actlib-card video')].map(each => [each.currentTime > 0.1, each.videoWidth])"


def test_runs_are_found_and_a_cell_of_the_matrix_plays_its_videos(page, lab, tmp_path, motion_table):
    for number, name in enumerate(("slow", "fast", "third")):
        training(tmp_path / "runs" / name, top1=40 + number, lr=0.001 * (1 + number), picture=True)
    (tmp_path / "runs" / "fast" / "result.json").write_text("{")
    videos = rows_of(read_table(motion_table), "validation")
    videos.loc[1, "path"] = str(write_video(tmp_path / "other.avi", 32, 64, 48, codec="mpeg4"))
    taken_for = videos["label"][8]
    table = write_table(videos, tmp_path / "table.csv")
    evaluation(tmp_path / "runs" / "eval", table, {0: taken_for, 1: taken_for, 5: taken_for})

    run_all(page, lab({"browsers": BROWSERS}), "browsers")
    rows = page.locator(".actlib-runs-rows tbody tr")
    rows.nth(3).wait_for(timeout=120_000)
    assert "1 damaged: fast" in page.inner_text(".actlib-runs-message")
    page.locator(".actlib-runs-find input").press_sequentially("resnet10 train")
    page.wait_for_selector(".actlib-runs-count:has-text('2 of 4 runs')")
    assert rows.count() == 2
    page.locator(".actlib-runs-rows th:has-text('accuracy')").click()
    page.wait_for_selector(".actlib-runs-rows th:has-text('accuracy, % ▼')")
    assert [rows.nth(number).locator("td").nth(1).inner_text() for number in (0, 1)] == ["third", "slow"]

    rows.nth(1).locator("td").nth(1).click()
    pictures = "count => document.querySelectorAll('.actlib-runs-pictures img').length == count"
    page.wait_for_function(pictures, arg=1)  # the last that is drawn of a choice
    assert rows.nth(1).get_attribute("class") == "actlib-chosen" and rows.nth(0).get_attribute("class") is None
    alone = page.locator("img.actlib-runs-curves").get_attribute("src")
    rows.nth(0).locator("input").click()
    page.wait_for_function(pictures, arg=2)
    assert page.locator("img.actlib-runs-curves").get_attribute("src") != alone
    assert page.inner_text(".actlib-runs-parameters tbody").split()[-3:] == ["lr", "0.001", "0.003"]
    assert "centre clip, best epoch" in page.inner_text(".actlib-runs-numbers")

    page.locator(f".actlib-predictions-matrix g:has(title:text('{videos['label'][0]} → {taken_for}'))").click()
    page.wait_for_selector(".actlib-predictions-matrix .actlib-ring")
    assert page.locator(".actlib-predictions-label select").input_value() == videos["label"][0]
    page.wait_for_selector(".actlib-predictions-count:has-text('1 to 2 of 2 videos')")
    page.wait_for_function(f"{PLAYS}.filter(([plays, width]) => plays && width > 0).length == 2")
    assert page.locator(".actlib-card .actlib-bar").count() >= 5
    page.screenshot(path=tmp_path / "browsers.png")
    assert page.errors == []
