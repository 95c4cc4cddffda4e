"""Tables for people."""

import pandas as pd


def for_display(table: pd.DataFrame) -> pd.DataFrame:
    """The table as a person reads it: numbers to three digits, counts without a point, nothing where nothing is."""
    return table.map(_shown)


def _shown(value) -> str:
    if pd.isna(value):
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value == int(value) else f"{value:.3g}"
    return str(value)
