"""Run folders as the notebooks leave them, made without running one."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from actlib.analysis.results.scores import Scores, save_scores
from actlib.datasets.table import class_names, read_table, rows_of
from actlib.files import write_csv, write_json, write_text
from actlib.params import TrainParams, VideoAccuracyParams

PROTOCOL = "all windows × centre crop @ 48"


def status(folder: Path, state: str = "done", time: str = "2026-01-02T03:04:05+00:00", **more) -> Path:
    write_json(folder / "status.json", {"state": state, "time": time, "pid": os.getpid(), **more})
    return folder


def training(folder: Path, epochs: int = 3, top1: float = 50.0, picture: bool = False, **params) -> Path:
    """A finished training: parameters, history, result and, where asked for, a picture."""
    status(folder, time=f"2026-01-02T03:{int(top1):02}:00+00:00")
    write_text(folder / "params.yaml", TrainParams(run_dir=str(folder), epochs=epochs, **params).as_yaml())
    steps = np.arange(1, epochs + 1)
    history = pd.DataFrame({"epoch": steps, "loss": 2 / steps, "top1": top1 + steps, "val_loss": 3 / steps})
    write_csv(folder / "metrics.csv", history.assign(val_top1=top1))
    number = {"value": top1, "protocol": "centre clip, best epoch", "videos": 15, "expected": 16}
    model = params.get("model", "resnet10")
    write_json(folder / "result.json", {"kind": "train", "model": model, "numbers": {"val_top1": number}})
    if picture:
        Image.new("RGB", (64, 48), (200, 30, 30)).save(folder / "curves.png")
    return folder


def evaluation(
    folder: Path,
    table: Path,
    wrong: dict[int, str] | None = None,
    undecodable: dict[int, str] | None = None,
    classes: list[str] | None = None,
) -> Path:
    """A finished notebook 04 on the validation videos of a table: right but for the videos `wrong` (row: prediction)
    and `undecodable` (row: why). The videos are the less sure the later they come."""
    videos = rows_of(read_table(table), "validation")
    classes, wrong, undecodable = classes or class_names(videos), wrong or {}, undecodable or {}
    scores = np.zeros((len(videos), len(classes)))
    for row, label in enumerate(videos["label"]):
        first = classes.index(wrong.get(row, label))
        scores[row, first], scores[row, first - 1] = 0.9 - 0.4 * row / len(videos), 0.1 + 0.4 * row / len(videos)
        if row in undecodable:
            scores[row] = np.nan
    errors = [undecodable.get(row, "") for row in range(len(videos))]
    found = Scores(
        folder.name, videos["video_id"].tolist(), videos["label"].tolist(), classes, scores, PROTOCOL,
        expected=len(videos), paths=videos["path"].tolist(), views=np.ones(len(videos), int), errors=errors,
    )  # fmt: skip
    status(folder)
    write_text(folder / "params.yaml", VideoAccuracyParams(run_dir=str(folder), table=str(table)).as_yaml())
    save_scores(folder / "scores.npz", found)
    write_csv(folder / "predictions.csv", found.table)
    on = {"protocol": PROTOCOL, "videos": found.num_scored, "expected": len(videos)}
    numbers = {f"video_top{k}": {"value": round(found.top(k), 4), **on} for k in (1, 5)}
    result = {"kind": "video_accuracy", "model": "resnet10", "dataset": "motion", "gmacs": 1.5, "numbers": numbers}
    write_json(folder / "result.json", result)
    return folder
