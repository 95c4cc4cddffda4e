"""Random numbers by purpose: each use of chance in a run has a stream of its own, whatever the others draw."""

import numpy as np

PURPOSES = ("order", "clip", "flip", "mix", "rank")


def stream(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A generator for one purpose (of PURPOSES) and place: (epoch,) for the order of the videos and the flips, which
    are drawn for all videos at once; (epoch, video) for a clip, and (epoch, video, times before) for another clip of
    one that the epoch has had before; (epoch, first video of the batch) for mixing;
    (rank,) for what a process draws by itself.

    The key goes through numpy's SeedSequence as a spawn key, where purpose and place cannot run into each other:
    `default_rng((seed, epoch))` and `default_rng((seed, epoch, 0))` are the same stream.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose), *numbers)))
