"""Writing small and full-size annotation lists in the layouts in which the data sets are published."""

import json
from pathlib import Path

DATA = Path(__file__).parent / "data" / "annotations"


def write(folder: Path, **texts: str) -> Path:
    """Write files into `folder`; `__` in a name stands for `/`, the last `_` for `.`: train_csv -> train.csv."""
    for name, text in texts.items():
        stem, _, suffix = name.replace("__", "/").rpartition("_")
        write_file(folder / f"{stem}.{suffix}", text)
    return folder


def write_file(path: Path, text: str | bytes = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def kinetics(rows, split: str, *, label: bool = True, header: str = "") -> str:
    """A CSV of (label, YouTube id, start); every clip has 10 s."""
    lines = [header or f"{'label,' if label else ''}youtube_id,time_start,time_end,split"]
    for name, youtube, start in rows:
        quoted = f'"{name}",' if "," in name else f"{name},"
        lines.append(f"{quoted if label else ''}{youtube},{start},{start + 10},{split}")
    return "\n".join(lines) + "\n"


def something_v2(folder: Path, templates: list[str], **lists: list[tuple[str, str]]) -> Path:
    """labels.json, and a list for each of train, validation, test: (id, template with brackets, or "")."""
    labels = {template.replace("[", "").replace("]", ""): str(index) for index, template in enumerate(templates)}
    write_file(folder / "something-something-v2-labels.json", json.dumps(labels, indent=1))
    for name, videos in lists.items():
        entries = [{"id": video} | ({"template": template} if template else {}) for video, template in videos]
        write_file(folder / f"something-something-v2-{name}.json", json.dumps(entries, indent=1))
    return folder


def ucf101_split(folder: Path, counts: dict[str, int]) -> Path:
    """The lists of split 1 at full size: videos dealt out to the real 101 classes in turn."""
    numbered = [line.split() for line in (DATA / "ucf101" / "classInd.txt").read_text().splitlines() if line]
    write_file(folder / "classInd.txt", (DATA / "ucf101" / "classInd.txt").read_bytes())
    for part, count in counts.items():
        lines = []
        for index in range(count):
            number, name = numbered[index % len(numbered)]
            # Files of HandstandPushups are called v_HandStandPushups_….
            file = f"v_{name.replace('Handstand', 'HandStand') if name == 'HandstandPushups' else name}"
            path = f"{name}/{file}_g{part[1]}_c{index:05d}.avi"
            lines.append(f"{path} {number}" if part == "train" else path)
        write_file(folder / f"{part}list01.txt", "\r\n".join(lines) + "\r\n")
    return folder
