"""Networks whose checkpoints spell the classes otherwise than the table does."""

import pytest
from training import TINY_FINETUNE  # noqa: F401
