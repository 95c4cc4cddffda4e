"""Segments in seconds, which ActivityNet has, as frames: by the rules of both branches of
kenshohara/3D-ResNets-PyTorch."""

import numpy as np
import pandas as pd

RULES = ("master", "CVPR2018")


def segment_frames(
    time_start, time_end, fps, num_frames, rule: str = "master", *, lose_last: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """(first, last + 1) of segments in seconds, frames numbered from 1, by one of RULES; all four numbers or arrays.

    `master`: floor(start · fps) + 1 to floor(end · fps) + 1; `CVPR2018`: ceil(start · fps), at least 1, to
    ceil(end · fps). Neither reaches past the video. As published, `master` could never reach a video's last frame
    either: `lose_last` does that too, for comparison.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r}: expected one of {', '.join(RULES)}")
    if rule == "CVPR2018":
        return np.maximum(1, np.ceil(time_start * fps)), np.minimum(np.ceil(time_end * fps), num_frames + 1)
    last = num_frames + (not lose_last)
    return np.floor(time_start * fps) + 1, np.minimum(np.floor(time_end * fps) + 1, last)


def seconds_to_frames(
    table: pd.DataFrame, *, rule: str = "master", min_frames: int | None = None, lose_last: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fill in `start` and `end` (frames from 0, `end` exclusive) from the columns time_start and time_end, which are
    dropped, and clamp all segments to the videos. To be called when num_frames and fps are known.

    Returns (table, dropped): segments in seconds of fewer than `min_frames` frames (8, or 16 by the rule CVPR2018, as
    in the references), and any that begin behind the end of their video, are dropped: video_id, path, label, subset,
    reason. A table without times or segments comes back as it is.
    """
    table = table.reset_index(drop=True)
    times = table.reindex(columns=["time_start", "time_end"]).to_numpy(float)
    timed = ~np.isnan(times[:, 0])
    least = min_frames if min_frames is not None else 16 if rule == "CVPR2018" else 8
    start, end, frames, fps = (table[name].to_numpy(float) for name in ("start", "end", "num_frames", "fps"))
    first, behind = segment_frames(*times.T, fps, frames, rule, lose_last=lose_last)
    start = np.where(timed & (fps > 0), first - 1, start)
    end = np.where(timed & (fps > 0), behind - 1, end)
    end = np.where(np.isnan(end), end, np.minimum(end, frames))
    unknown = timed & np.isnan(end)
    length = np.where(np.isnan(end), frames, end) - np.nan_to_num(start)
    bad = unknown | (length < np.where(timed, least, 1))
    reasons = [
        "frames per second unknown: the segment in seconds has no frame numbers"
        if unknown[row]
        else f"segment of {max(0, int(length[row]))} frames, fewer than {least if timed[row] else 1}"
        for row in np.flatnonzero(bad)
    ]
    dropped = table.loc[bad, ["video_id", "path", "label", "subset"]].assign(reason=reasons)
    table = table.assign(start=start, end=end).drop(columns=["time_start", "time_end"], errors="ignore")
    return table[~bad].reset_index(drop=True), dropped.reset_index(drop=True)
