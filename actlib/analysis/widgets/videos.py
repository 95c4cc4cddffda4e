"""What the explorers share: a row of the table into the player."""

import pandas as pd

from actlib.analysis.playable import playable_mp4, plays_as_it_is
from actlib.analysis.widgets.player import Player
from actlib.datasets.clips.show import span_of
from actlib.datasets.errors import VideoError


def show_video(player: Player, row: pd.Series, modality: str, timeout: float | None, backend: str) -> None:
    """Let the player play the video of this row, unless it does so already. One that cannot be decoded is none, and the
    player says why."""
    if getattr(player, "shown", None) == (row["path"], *span_of(row)) or pd.isna(row["num_frames"]):
        return
    player.shown = row["path"], *span_of(row)
    player.made = "the video is on its way …"
    try:
        video = playable_mp4(row, modality=modality, timeout=timeout, backend=backend)
    except VideoError as error:
        player.video, player.made = b"", f"cannot be played: {error.reason}"
    else:
        made = "the file itself" if plays_as_it_is(row, modality) else "encoded for the browser"
        player.video, player.made = video, made
