"""The page on which JupyterLab opens."""

import json
import re

import papermill

from actlib.params import NOTEBOOKS


def test_the_start_page_leads_everywhere(root, run_notebook):
    page = root / "notebooks" / "00_start.ipynb"
    text = "".join("".join(cell["source"]) for cell in json.loads(page.read_text())["cells"])
    targets = set(re.findall(r"\]\((?!http)([^)]+)\)", text))
    assert not [target for target in targets if not (page.parent / target).is_file()]
    lessons = {f"lessons/{path.name}" for path in (page.parent / "lessons").glob("*.ipynb")}
    assert {f"{name}.ipynb" for name in NOTEBOOKS} | lessons <= targets
    assert set(papermill.inspect_notebook(str(page))) == {"runs", "most"}
    (output,) = run_notebook(page, {}).cells[-1]["outputs"]
    assert re.search(r"\| run \||make demo", "".join(output["data"]["text/markdown"]))
