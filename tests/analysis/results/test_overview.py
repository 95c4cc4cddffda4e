"""The start page's list of what has run."""

import json

from actlib.analysis.results.overview import links


def test_the_newest_runs_come_first_with_links(tmp_path):
    number = {"value": 71.25, "protocol": "10 clips × 3 crops @ 256", "videos": 9, "expected": 1000}
    for name, time in (("old", "2026-01-01"), ("new", "2026-02-01"), ("broken", "2025-01-01")):
        (tmp_path / "outputs" / name).mkdir(parents=True)
        (tmp_path / "outputs" / name / "status.json").write_text(json.dumps({"state": "done", "time": time}))
    (tmp_path / "outputs" / "new" / "notebook.ipynb").touch()
    result = {"kind": "video_accuracy", "model": "tam_resnet18 width_mult=0.25", "numbers": {"video_top1": number}}
    (tmp_path / "outputs" / "new" / "result.json").write_text(json.dumps(result))
    (tmp_path / "outputs" / "broken" / "result.json").write_text("{")
    lines = links([f"{tmp_path}/outputs/*"], tmp_path / "notebooks").splitlines()
    assert "[outputs/new](<../outputs/new/notebook.ipynb>)" in lines[2]
    assert r"tam\_resnet18 width\_mult=0.25" in lines[2]
    assert r"video\_top1 71.25 (10 clips × 3 crops @ 256, 9 of 1,000 videos)" in lines[2]
    assert "../outputs/old/status.json" in lines[3] and "damaged" in lines[4] and "not valid JSON" in lines[4]
    assert "Reports" not in "".join(lines)
    (tmp_path / "outputs" / "batch_report.html").touch()
    told = links([f"{tmp_path}/outputs/*"], tmp_path / "notebooks")
    assert told.endswith("Reports of batches: [outputs](<../outputs/batch_report.html>)")
    assert "newest 1 of 3" in links([f"{tmp_path}/outputs/*"], tmp_path, most=1)
    assert "make demo" in links([f"{tmp_path}/nothing/*"], tmp_path)
