"""YAML as people write it, and what papermill makes of it."""

import json
import subprocess
import sys

import pytest
import yaml
from batches import make_project

from actlib.params import ParamsError, load_yaml
from actlib.params.yaml_files import dump_yaml


def read(tmp_path, text, **how):
    path = tmp_path / "x.yaml"
    path.write_text(text, **how)
    return load_yaml(path)


def test_a_number_is_what_it_looks_like(tmp_path):
    text = "a: yes\nb: 010\nc: 1:30\nd: 1e-3\ne: off\nf: 0o17\ng: 0x1F\n"
    text += "h: [true, False, ~, null]\ni: 2020-01-01\non: 1_000\n"
    assert read(tmp_path, text) == {
        "a": "yes", "b": 10, "c": "1:30", "d": 0.001, "e": "off", "f": 15, "g": 31, "h": [True, False, None, None],
        "i": "2020-01-01", "on": "1_000",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lr: 0.1\nepochs: 3\nlr: 0.2\n", r"x.yaml: 'lr' stands in line 1 and in line 3"),
        ("steps:\n  - {a: 1, a: 2}\n", "'a' stands in line 2 and in line 2"),
        ("1: x\n", r"line 1: 1: expected a name before the colon, found an int"),
        ("lr: 0.1\n? [a]\n: 2\n", r"line 2: \['a'\]: expected a name"),
        ("!!map x\n", "line 1: expected names with values"),
        ("- 1\n", "expected lines of the form name: value, found a list"),
        ('run_dir: "a\\0b"\n', "line 1: .*NUL"),
        ("a: [1\n", "(?s)not valid YAML.*line 2"),
        ("a: !!python/object/apply:os.system [ls]\n", "not valid YAML.*could not determine a constructor"),
        ("a: &a [*a, *a]\n", "aliases.*write them out"),
        ("[" * 5000, "(?s)not valid YAML: .*nesting|deeper"),
        ("a: " + "{a: " * 900 + "1" + "}" * 900, "deeper than any recipe"),
        ("a: " + "1" * 5000, "x.yaml: .*digit"),
        ("x" * 5_000_000, "holds 5,000,000 bytes"),
    ],
)
def test_what_nobody_means_is_refused_in_few_words(tmp_path, text, words):
    with pytest.raises(ParamsError, match=words) as error:
        read(tmp_path, text)
    assert len(str(error.value)) < 1500


def test_aliases_and_merge_keys_are_for_use_and_bombs_are_not(tmp_path):
    text = "base: &b {lr: 0.1, epochs: 3}\nstep: {<<: *b, lr: 0.2}\nboth: {<<: [{a: 1}, *b]}\n"
    found = read(tmp_path, text)
    assert found["step"] == {"epochs": 3, "lr": 0.2} and found["both"] == {"a": 1, "lr": 0.1, "epochs": 3}
    lines = ["a0: &a0 [lol, lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(ParamsError, match="line 7: aliases"):
        read(tmp_path, "\n".join(lines))


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_other_unicode_is_read_and_latin_1_refused(tmp_path, coding):
    assert read(tmp_path, "run_dir: läuft\n", encoding=coding) == {"run_dir": "läuft"}
    with pytest.raises(ParamsError, match="x.yaml: line 2: byte 0xe4 is not UTF-8.*save it as UTF-8"):
        read(tmp_path, "a: 1\nrun_dir: läuft\n", encoding="latin-1")


def test_what_is_written_reads_the_same_in_both_yamls(tmp_path):
    texts = ["yes", "010", "1:30", "1e3", "0o7", "1_000", "2020-01-01", "~", "", "<<", "null", ".5", "on", "é", "a: b"]
    values = {"texts": texts, "numbers": [1e-5, 1e300, 0.1, -3, 10**20], "bools": [True, False, None]}
    (tmp_path / "x.yaml").write_text(dump_yaml(values), encoding="utf-8")
    assert load_yaml(tmp_path / "x.yaml") == values == yaml.safe_load(dump_yaml(values))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "options", "words"),
    [
        ("acuracy: clip_top1\n", [], "acuracy: no such parameter; did you mean accuracy?"),
        ("runs: [x]\nruns: [y]\n", [], "stands in line 1 and in line 2"),
        ("runs: [x]\n", ["-p", "rums", "y"], "rums: no such parameter; did you mean runs?"),
        ("runs: [yes, 1:30, '010']\n", [], ""),
    ],
)
def test_what_papermill_passes_over_is_refused_in_the_first_cell(tmp_path, monkeypatch, recipe, options, words):
    project = make_project(tmp_path, monkeypatch)
    (project / "r.yaml").write_text(recipe)
    (project / "papermill").write_text("from actlib.runs.papermill_sooner import papermill\n\npapermill()\n")
    command = [sys.executable, "papermill", "notebooks/06_compare.ipynb", "out.ipynb", "-f", "r.yaml", *options]
    done = subprocess.run([*command, "-k", "python3"], capture_output=True, text=True, cwd=project)
    folder = project / "outputs" / "compare"
    if words:
        assert done.returncode and words in done.stderr and not folder.exists()
    else:
        assert done.returncode == 0, done.stderr[-2000:]
        assert json.loads((folder / "result.json").read_text())["runs"] == ["yes", "1:30", "010"]
