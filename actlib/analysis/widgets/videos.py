"""What the explorers share: a row of the table into the player."""

import pandas as pd

from actlib.analysis.widgets.player import Player
from actlib.datasets.clips.playable import playable
from actlib.datasets.errors import VideoError


def span_of(row: pd.Series) -> tuple[int, int]:
    """The frames [begin, end) of its file that belong to a video of the table."""
    begin = 0 if pd.isna(row["start"]) else int(row["start"])
    return begin, int(row["num_frames"] if pd.isna(row["end"]) else row["end"])


def show_video(player: Player, row: pd.Series, modality: str, timeout: float | None, backend: str) -> None:
    """Let the player play the video of this row, unless it does so already. One that cannot be decoded is none, and the
    player says why."""
    if getattr(player, "shown", None) == (row["path"], *span_of(row)) or pd.isna(row["num_frames"]):
        return
    begin, end = span_of(row)
    player.shown = row["path"], begin, end
    fps = 0 if pd.isna(row["fps"]) else float(row["fps"])
    player.made = "the video is on its way …"
    try:
        how = {"modality": modality, "timeout": timeout, "backend": backend}
        video, made = playable(row["path"], begin, end, int(row["num_frames"]), fps, **how)
    except VideoError as error:
        video, made = b"", f"cannot be played: {error.reason}"
    player.video = video
    player.made = made
