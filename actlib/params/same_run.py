"""Whether a run may go on from a checkpoint: with other parameters it would be neither the old run nor a new one."""

from pathlib import Path

from actlib.messages import PROBLEMS_SHOWN, shown

# Parameters that may differ between a checkpoint and the run that goes on from it.
FREE_ON_RESUME = {
    "run_dir", "table", "pretrained", "epochs", "resume", "checkpoint_every", "checkpoint_minutes", "device",
    "devices", "num_workers", "video_backend", "timeout", "tensorboard",
}  # fmt: skip
# What a checkpoint without them was trained with.
BEFORE = {"channel_order": "rgb", "lr_factors": [], "head_dropout": -1.0, "modality": "rgb", "sampling": "random"}
BEFORE |= {"loop": "taken", "short_side_max": 0, "flip_labels": "refuse", "color_jitter": 0.0, "rand_augment": 0}
BEFORE |= {"random_erasing": 0.0, "mixup": 0.0, "cutmix": 0.0, "no_decay": "none", "compile": False}
BEFORE |= {"sync_bn": False, "lr_per": "batch", "class_sampling": "natural", "class_weights": "none"}
BEFORE |= {"best_by": "top1"}


def differences(mine: dict, content: dict) -> list[str]:
    """In words, what of a run's parameters `mine` differs from those of a checkpoint with this `content`."""
    theirs = {**BEFORE, **content["params"]}
    if "frozen_bn" in theirs:  # as it was called before
        theirs["batch_norm"] = "frozen_layers" if theirs["frozen_bn"] else "tuned"
    differ = [
        f"{name} is {shown(mine[name])}, was {shown(value)}"
        for name, value in theirs.items()
        if name in mine and name not in FREE_ON_RESUME and mine[name] != value
    ]
    done = len(content["history"])
    return differ + ([f"epochs is {mine['epochs']}, and {done} are done"] if mine["epochs"] < done else [])


def refusal(path: Path, differ: list[str]) -> str:
    """What to say of a checkpoint that a run cannot go on from."""
    return (
        f"{path} is of a run with other parameters: {'; '.join(differ[:PROBLEMS_SHOWN])}. "
        "Use another run_dir, or resume: never to start again here (the old checkpoints are kept aside)"
    )
