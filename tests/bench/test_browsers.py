"""How quickly the run browser answers with a thousand run folders. Printed, never asserted: `make bench`."""

import shutil
import time

from runfolders import training

from actlib.analysis.widgets import RunBrowser


def test_a_thousand_run_folders(tmp_path, monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    models = ("resnet10", "resnet18", "c3d")
    made = [training(tmp_path / f"run{number:04}", top1=number, model=model) for number, model in enumerate(models)]
    for number in range(3, 1000):
        shutil.copytree(made[number % 3], tmp_path / f"run{number:04}")

    def timed(what, do):
        begin = time.process_time()
        made = do()
        print(f"{what}: {1000 * (time.process_time() - begin):,.0f} ms of CPU")
        return made

    print()
    timed("the first browser (with imports of matplotlib)", lambda: RunBrowser([str(tmp_path / "run000*")], True))
    browser = timed("1,000 run folders read and shown", lambda: RunBrowser([str(tmp_path / "*")], True))
    timed("a letter typed", lambda: setattr(browser.find, "value", "c3d"))
    timed("sorted", lambda: browser.sort_by("accuracy"))
    timed("four runs chosen", lambda: browser.choose(browser.table["folder"].tolist()[:4]))
    print(f"the table takes {len(browser.rows.html) / 1000:,.0f} kB of HTML")
    assert browser.count.value == "333 of 1,000 runs, the first 200 are shown"
