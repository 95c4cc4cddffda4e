"""Nothing waits in silence: a step that takes long says what it is."""

import time

from actlib.progress import progress, told_if_slow


def test_a_slow_step_says_what_it_does_and_a_quick_one_nothing(monkeypatch, capsys):
    monkeypatch.setattr("actlib.progress.SLOW_S", 0.05)
    with told_if_slow("opening the network"):
        time.sleep(0.3)
    assert capsys.readouterr().out == "opening the network …\n"
    with told_if_slow("reading the table"):
        pass
    time.sleep(0.1)
    assert capsys.readouterr().out == ""


def test_headless_progress_speaks_before_the_first_item_is_done(monkeypatch, capsys):
    monkeypatch.setenv("ACTLIB_HEADLESS", "1")
    monkeypatch.setattr("actlib.progress.SLOW_S", 0.05)

    def slow():
        time.sleep(0.3)
        yield 1
        yield 2

    for number in progress(slow(), total=2, desc="epoch 1"):
        time.sleep(0.3 if number == 1 else 0)
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == ["epoch 1: waiting for number 1 of 2 …", "epoch 1: at work on number 1 of 2 …"]
