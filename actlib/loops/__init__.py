"""The run: `job = prepare(p)`, then `for row in train(job)`, or `evaluate(job)`; `looking(p, …)` for one video."""

from actlib.loops.evaluate import evaluate
from actlib.loops.explore import looking, open_videos
from actlib.loops.job import Evaluation, Job
from actlib.loops.prepare import prepare
from actlib.loops.train import TrainingError, train

__all__ = ["Evaluation", "Job", "TrainingError", "evaluate", "looking", "open_videos", "prepare", "train"]
