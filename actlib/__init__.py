"""Models, datasets and loops of the video action recognition workbook."""

__version__ = "0.1.0"
