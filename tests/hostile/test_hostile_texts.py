"""Texts in codings that people have."""

import random

import pytest

from actlib.files import read_text

TEXT = "Übung macht den Meister\nzweite Zeile: 日本\n"


@pytest.mark.seeds(10, 400)
def test_a_text_in_any_coding_is_read_or_refused(judge, tmp_path, seed):
    rng = random.Random(seed)
    path, text = tmp_path / "list.txt", "".join(rng.choice(TEXT) for _ in range(rng.randint(1, 60))) + "ü"
    coding = rng.choice(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "utf-32"])
    path.write_bytes(text.encode(coding, errors="replace"))
    judge(
        lambda: read_text(path),
        kind="text",
        errors=ValueError,
        names=["save it as UTF-8"],
        same=lambda found: found == text,
    )
