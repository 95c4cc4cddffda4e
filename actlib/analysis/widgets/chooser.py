"""A video of a table to choose, by subset, class and a part of its name."""

from collections.abc import Callable

import ipywidgets
import pandas as pd

LISTED = 200  # names in the list; of more one types a part
ALL = "all"
NONE = "no video fits what is chosen"


class VideoChooser:
    """The controls `subset`, `label`, `find` and `video`; `row` is the number of the chosen video in the table, None
    where nothing fits. `changed()` is called when another one is chosen."""

    def __init__(self, videos: pd.DataFrame, changed: Callable[[], None]):
        self._videos, self._changed, self.row = videos, lambda: None, None
        how = {"layout": {"width": "240px"}, "style": {"description_width": "48px"}}
        subsets, labels = (list(videos[name].unique()) for name in ("subset", "label"))
        self.subset = ipywidgets.Dropdown(options=[ALL, *subsets], description="subset", **how)
        self.label = ipywidgets.Dropdown(options=[(ALL, None), *((each, each) for each in sorted(labels))],
                                         index=0, description="class", **how)  # fmt: skip
        self.find = ipywidgets.Text(placeholder="part of a name", continuous_update=False, description="find", **how)
        self.video = ipywidgets.Dropdown(description="video", **how)
        self.count = ipywidgets.HTML()
        self.widget = ipywidgets.VBox([self.subset, self.label, self.find, self.video, self.count])
        for name in ("subset", "label", "find", "video"):
            getattr(self, name).add_class(f"actlib-{name}")
        self._narrow()
        self._changed = changed
        for control in (self.subset, self.label, self.find):
            control.observe(lambda change: self._narrow(), names="value")
        self.video.observe(lambda change: self._chosen(), names="value")

    def _narrow(self) -> None:
        """List the videos that fit what is chosen."""
        fitting, part = self._videos, self.find.value.strip()
        if self.subset.value != ALL:
            fitting = fitting[fitting["subset"] == self.subset.value]
        if self.label.value is not None:
            fitting = fitting[fitting["label"] == self.label.value]
        if part:
            fitting = fitting[fitting["video_id"].str.contains(part, case=False, regex=False)]
        first = fitting["video_id"].iloc[:LISTED]
        self.video.options = list(zip(first, first.index.tolist()))
        self.video.index = 0 if len(first) else None
        more = f", the first {LISTED} are listed" if len(fitting) > LISTED else ""
        self.count.value = f"{len(fitting):,} videos{more}"
        self._chosen()

    def _chosen(self) -> None:
        if self.video.value != self.row:
            self.row = self.video.value
            self._changed()
