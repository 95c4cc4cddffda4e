"""The words of parameters that are about how a network runs, each written once. Importing this costs nothing."""

PRECISIONS = ("float32", "bf16")
MEMORY_FORMATS = ("contiguous", "channels_last")
