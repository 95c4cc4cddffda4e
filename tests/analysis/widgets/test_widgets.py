"""Widgets: what a person sees follows what happens and what is chosen, and there is a plain form without a screen."""

import matplotlib

from actlib.analysis.costs import networks
from actlib.analysis.widgets import Guess, LiveCurves, NetworkExplorer

matplotlib.use("Agg")
TINY = "resnet10 widen_factor=0.0625"
ROW = {"epoch": 1, "loss": 2.0, "top1": 10.0, "val_loss": 2.1, "val_top1": 12.0, "lr": 0.1, "clips_per_s": 9.0}
ROW |= {"data_wait": 0.25, "replaced": 2}


def test_live_curves_show_each_epoch(capsys):
    live = LiveCurves(3, interactive=False)
    assert list(live.progress([1, 2], total=2)) == [1, 2]
    live.update(ROW)
    printed = capsys.readouterr().out
    assert "epoch   1 of 3" in printed and "25 % waiting for data, 2 clips replaced" in printed

    live = LiveCurves(3, interactive=True)
    assert list(live.progress(["x", "y"], total=2)) == ["x", "y"] and live.batches.value == 2
    live.update(ROW)
    first = bytes(live.image.value)
    live.update({**ROW, "epoch": 2, "val_top1": 50.0})
    assert live.bar.value == 2 and "val top-1  50.0 %" in live.text.value
    assert first.startswith(b"\x89PNG") and bytes(live.image.value) != first
    assert live.image.layout.visibility == "visible"


def test_the_explorer_follows_its_controls(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *shown: None)
    calls = []
    count = networks.describe_model
    monkeypatch.setattr(networks, "describe_model", lambda *asked: calls.append(asked) or count(*asked))
    explorer = NetworkExplorer(["resnet10", TINY], 4, 32, 5, interactive=True)
    assert explorer.typed.value == f"resnet10\n{TINY}"
    assert TINY in explorer.table.value and explorer.message.value == ""
    first = bytes(explorer.image.value)
    assert first.startswith(b"\x89PNG") and len(calls) == 2

    assert "norm_m" in explorer.table.value and "attention_gmacs" not in explorer.table.value  # none of them has it

    explorer.find.value = "tam_resnet18"  # built for the frames chosen
    assert "tam_resnet18 num_frames=4" in explorer.table.value and bytes(explorer.image.value) != first
    assert len(calls) == 3, "what is counted already is not counted again"
    explorer.frames.value = 8
    assert calls[-1][2] == (8, 32, 32) and "tam_resnet18" in explorer.table.value

    assert explorer.find.value == "" and explorer.typed.value == f"resnet10\n{TINY}\ntam_resnet18"
    explorer.typed.value = "resnet18 shortcut=C\nresnet99"
    assert "resnet18 shortcut=C: " in explorer.message.value and "use one of A, B" in explorer.message.value
    assert "unknown model" in explorer.message.value and "Traceback" not in explorer.message.value
    explorer.find.value = "tam"  # of no network the whole name
    assert explorer.typed.value == "resnet18 shortcut=C\nresnet99"
    explorer.typed.value = ""
    assert explorer.message.value == "choose a network" and explorer.image.layout.display == "none"
    assert "actlib-find" in explorer.find._dom_classes


def test_the_explorer_without_a_screen_shows_its_first_choice(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    NetworkExplorer([TINY], 4, 32, 5, interactive=False)
    assert [type(each).__name__ for each in shown] == ["HTML", "Image"] and TINY in shown[0].data


def test_a_guess_stands_beside_the_truth_whenever_it_is_made(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    before = Guess("Which falls furthest?", ["TSN", "TAM"], interactive=True)
    before.button.click()
    assert before.text.value == "choose one first"
    before.control.value = "TSN"
    before.button.click()
    before.compare("TAM")
    assert shown[-1].value == "Which falls furthest? TAM. You guessed TSN."

    after = Guess("How many are right?", interactive=True)
    after.compare(91.43)
    assert shown[-1].value == "How many are right? 91.4 % (no guess was made: take one above)"
    after.take(60.0)
    assert shown[-1].value == "How many are right? 91.4 %. You guessed 60 %."

    Guess("How many are right?", interactive=False).compare(91.43)
    assert capsys.readouterr().out == "How many are right?\nHow many are right? 91.4 %\n"
