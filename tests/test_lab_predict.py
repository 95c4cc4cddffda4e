"""One's own video in a real JupyterLab, in a real browser: uploaded, answered, and the drawn one plays."""

import torch
from lab_fixtures import IN_A_BROWSER, run_all
from videofiles import write_video

from actlib.models import create_model, save_network

pytestmark = IN_A_BROWSER
SIZES = {"num_frames": 4, "frame_stride": 2, "short_side": 32, "crop_size": 32, "mean": [0.5] * 3, "std": [0.2] * 3}
UPLOAD = """
from pathlib import Path
from actlib.analysis import widgets
from actlib.loops import predict
from actlib.params import PredictParams
p = PredictParams.build({{"videos": [{video!r}], "networks": [{network!r}], "run_dir": {folder!r}, "num_workers": 0,
                          "precision": "float32", "memory_format": "contiguous"}}, "this test")
job = predict.open_networks(p, *predict.find_videos(p))
upload = widgets.Upload(Path({folder!r}), job.score_named)
"""


def test_a_video_is_uploaded_and_the_answer_plays(page, lab, tmp_path):
    torch.manual_seed(0)
    model = create_model("resnet10 widen_factor=0.0625", 2)
    network = save_network(model, tmp_path / "net.pt", classes=["odd <one>", "even"], preprocessing=SIZES)
    first = write_video(tmp_path / "first.mp4", 16)
    mine = write_video(tmp_path / "mine.avi", 48, codec="mpeg4")
    source = UPLOAD.format(video=str(first), network=str(network), folder=str(tmp_path / "run"))
    run_all(page, lab({"upload": source}), "upload")

    page.wait_for_selector(".actlib-upload-upload", timeout=180_000)
    assert not page.locator(".actlib-upload-bars").is_visible()
    with page.expect_file_chooser() as chooser:
        page.locator(".actlib-upload-upload").click()
    chooser.value.set_files(mine)
    page.wait_for_selector(".actlib-upload-message:has-text('mine: 48 frames')", timeout=120_000)
    for name in ("bars", "curves"):
        page.wait_for_selector(f"img.actlib-upload-{name}")
        assert page.evaluate(f"document.querySelector('img.actlib-upload-{name}').naturalWidth") > 300
    assert (tmp_path / "run" / "mine.avi").read_bytes() == mine.read_bytes()

    video = "document.querySelector('video.actlib-upload-video')"
    page.wait_for_function(f"{video}.readyState >= 2", timeout=60_000)
    assert page.evaluate(f"[{video}.videoWidth, {video}.duration]") == [400, 1.6]
    page.evaluate(f"{video}.play()")
    page.wait_for_function(f"{video}.currentTime > 0.3", timeout=60_000)
    page.screenshot(path=tmp_path / "upload.png")

    page.locator(".actlib-upload-typed input").fill(str(tmp_path / "gone.mp4"))
    page.locator(".actlib-upload-typed input").press("Enter")
    page.wait_for_selector(".actlib-upload-message:has-text('no such file or folder')", timeout=60_000)
    assert not page.locator("video.actlib-upload-video").is_visible() and not page.errors
