"""How long reading lists of full size and finding their videos takes. Printed, never asserted: `make bench`."""

import random
import string
import time

from annotationfiles import kinetics, write, write_file

from actlib.datasets.lists.annotations import find_videos, read_annotations

PUBLISHED = {"train": 545_317, "val": 35_000, "test": 70_000}  # Kinetics-700
LETTERS = string.ascii_letters + string.digits + "-_"


def test_lists_of_650000_videos_and_100000_files(tmp_path):
    rng = random.Random(0)
    for split, count in PUBLISHED.items():
        rows = [(f"class, {k % 700}", "".join(rng.choices(LETTERS, k=11)), k % 300) for k in range(count)]
        write(tmp_path / "lists", **{f"kinetics-700_{split}_csv": kinetics(rows, split, label=split != "test")})
    begin = time.process_time()
    listed = read_annotations("kinetics700", tmp_path / "lists")
    seconds = time.process_time() - begin
    print(f"\n{len(listed.videos):,} videos of three CSVs: {seconds:.1f} s of CPU")
    assert len(listed.videos) == sum(PUBLISHED.values()) and len(listed.classes) == 700

    for row in listed.videos.head(100_000).itertuples():
        write_file(tmp_path / "videos" / row.label / f"{row.video_id}.mp4")
    begin = time.process_time()
    table, missing = find_videos(listed, tmp_path / "videos")
    seconds = time.process_time() - begin
    print(f"found {len(table):,} of them among as many files, {len(missing):,} missing: {seconds:.1f} s of CPU")
    assert len(table) == 100_000 and listed.unlisted == 0
