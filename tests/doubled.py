"""A network of the user's in float64, with which what should be equal is so to ten digits; any process can build it."""

from pathlib import Path

from training import TINY

from actlib.files import write_text

SOURCE = f"""
from torch import nn
from actlib.models.registry import create_from_spec

class Double(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.network = create_from_spec({TINY["model"]!r}, num_classes).double()

    def forward(self, clips):
        return self.network(clips.double())

def double(num_classes):
    return Double(num_classes)
"""


def double_network(folder: Path) -> str:
    """Its spec; its file is written into `folder`."""
    return f"{write_text(folder / 'nets.py', SOURCE)}:double"
