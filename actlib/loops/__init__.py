"""The run: `job = prepare(p)`, then `for row in train(job)`, or `evaluate(job)`."""

from actlib.loops.evaluate import evaluate
from actlib.loops.job import Evaluation, Job
from actlib.loops.prepare import prepare
from actlib.loops.train import TrainingError, train

__all__ = ["Evaluation", "Job", "TrainingError", "evaluate", "prepare", "train"]
