"""Widgets for JupyterLab, each with a plain form without a screen."""

from actlib.analysis.widgets.live import LiveCurves, describe_row
from actlib.analysis.widgets.networks import NetworkExplorer

__all__ = ["LiveCurves", "NetworkExplorer", "describe_row"]
