"""What networks cost, what runs have reached, and how both are shown."""

from actlib.analysis.display import for_display

__all__ = ["for_display"]
