"""Models, datasets and loops of the video action recognition workbook."""

__version__ = "0.1.0"


def __getattr__(name: str):
    """`actlib.save_network`, imported when it is asked for: torch takes seconds, and the command line needs none."""
    if name == "save_network":
        from actlib.models.weights.checkpoint import save_network

        return save_network
    raise AttributeError(f"module 'actlib' has no attribute {name!r}")
