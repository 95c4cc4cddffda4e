"""Storing videos so that clips load fast: what there is to choose from, converting, and measuring what it brings.

A table of converted videos is a table like any other: `sources` reads what its paths name.
"""

from actlib.datasets.prepare.convert import Estimate, convert, estimate
from actlib.datasets.prepare.layout import STORAGES, StorageOptions, stored_bytes
from actlib.datasets.prepare.measure import measure_storages

__all__ = ["STORAGES", "Estimate", "StorageOptions", "convert", "estimate", "measure_storages", "stored_bytes"]
