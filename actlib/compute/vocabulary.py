"""The words of parameters that are about how a network runs, each written once. Importing this costs nothing."""

PRECISIONS = ("float32", "tf32", "bf16", "fp16")
MEMORY_FORMATS = ("contiguous", "channels_last")
CHOSEN = ("auto", "measure")  # by the table of `compute.choose`, or by timing what the device has
