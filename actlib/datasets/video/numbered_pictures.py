"""Pictures that make a video, JPEG or PNG, a file each with its number in the name: finding and decoding them."""

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from actlib.datasets.errors import VideoError
from actlib.datasets.video.info import check_size, first_line, status_of


@dataclass(frozen=True)
class Numbered:
    """The pictures of a folder, `count` numbers from `first` on without a gap, each number once for every one of
    `axes`. `form` makes a name, as in "image_{number:05d}.jpg" or "{number:05d}_{axis}.jpg"."""

    folder: str
    form: str
    first: int
    count: int
    axes: Sequence[str] = ("",)

    def path(self, index: int, axis: str = "") -> str:
        return os.path.join(self.folder, self.form.format(number=self.first + index, axis=axis))

    def paths(self, indices: Iterable[int]) -> Iterator[str]:
        """Of each index all axes, one after another."""
        return (self.path(index, axis) for index in indices for axis in self.axes)


def remembered(look: Callable[[str], Numbered]) -> Callable[[str | Path], Numbered]:
    """`look`, which lists a folder, asked again only where something was added to the folder. Raises VideoError."""
    found = lru_cache(maxsize=1 << 14)(lambda folder, changed: look(folder))
    return lambda folder: found(str(folder), status_of(folder).st_mtime_ns)


def list_numbered(
    folder: str, patterns: Sequence[re.Pattern], *, axes: Sequence[str] = ("",), what: str, example: str, remedy: str
) -> Numbered:
    """The pictures whose names match one of `patterns`, which name the groups `number` and, of several axes, `axis`.

    Raises VideoError for a folder that holds none, several kinds, or a gap; it says `what` they are and the `remedy`.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        raise VideoError(folder, f"cannot be opened: {error.strerror}") from None
    kinds: dict[str, list[str]] = {}  # by form, the numbers as they are written
    for name in names:
        found = next((found for pattern in patterns if (found := pattern.fullmatch(name))), None)
        if found and not name.startswith("."):
            kinds.setdefault(_form_of(found), []).append(found["number"])
    if not kinds:
        raise VideoError(folder, f"holds no {what} such as {example}")
    if len(kinds) > 1:
        shown = ", ".join(form.format(number="…", axis=axes[0]) for form in sorted(kinds))
        raise VideoError(folder, f"holds {what} under several names: {shown}; keep one kind")
    ((form, numbers),) = kinds.items()
    form = form.replace("{number}", f"{{number:0{min(map(len, numbers))}d}}")
    values = set(map(int, numbers))
    found = Numbered(folder, form, min(values), max(values) - min(values) + 1, axes)
    if len(numbers) != found.count * len(axes) or len(values) != found.count:
        held = set(names)
        for path in found.paths(range(found.count)):
            if os.path.basename(path) not in held:
                raise VideoError(path, f"is missing between other {what}; {remedy}")
        raise VideoError(folder, f"holds {what} whose number stands twice, with and without zeros before; {remedy}")
    return found


def _form_of(found: re.Match) -> str:
    """The name that matched, with {number} and {axis} in their places."""
    form, end = "", 0
    for (begin, stop), group in sorted((found.span(group), group) for group in found.re.groupindex):
        form += found.string[end:begin].replace("{", "{{").replace("}", "}}") + f"{{{group}}}"
        end = stop
    return form + found.string[end:].replace("{", "{{").replace("}", "}}")


def told_count(folder: str, remedy: str) -> int | None:
    """What the file n_frames in the folder says; None without one. Raises VideoError for what is no number."""
    try:
        with (Path(folder) / "n_frames").open("rb") as file:
            text = file.read(100).decode(errors="replace").strip()
    except OSError:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1:
        raise VideoError(folder, f"its n_frames says {text!r}: a number of frames was expected; {remedy}")
    return int(text)


def read_pictures(paths: Iterable[str], *, mode: str = "RGB", remedy: str) -> Iterator[np.ndarray]:
    """The picture files, which are of one size, one after another: each uint8 (H, W, 3), or (H, W) for `mode` "L".
    Raises VideoError, naming the file, for one that is missing, damaged or of another size than the first."""
    return decode_pictures(((path, _bytes_of(path, remedy)) for path in paths), mode=mode, remedy=remedy)


def decode_pictures(pictures: Iterable[tuple[str, bytes]], *, mode: str = "RGB", remedy: str) -> Iterator[np.ndarray]:
    """As `read_pictures`, from pairs of a name, for the errors, and a picture's bytes."""
    shape = None
    for name, data in pictures:
        image = _decode(name, data, mode, remedy)
        shape = shape or image.shape
        if image.shape != shape:
            sizes = f"{image.shape[1]}×{image.shape[0]} pixels, others of its video {shape[1]}×{shape[0]}"
            raise VideoError(name, f"has {sizes}; {remedy}")
        yield image


def _decode(name: str, data: bytes, mode: str, remedy: str) -> np.ndarray:
    """uint8 (H, W, 3), or (H, W) for `mode` "L". By Pillow: torchvision's decoder takes two thirds of the time for the
    same pixels, but is deprecated, and its import takes every worker process seconds."""
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            check_size(name, *image.size)
            if image.mode.startswith(("I", "F")):
                raise VideoError(name, "has more than 8 bits a sample; write it as JPEG")
            return np.asarray(image if image.mode == mode else image.convert(mode))
    except VideoError:
        raise
    except Exception as error:  # Pillow raises whatever its parser met: OSError, SyntaxError, struct.error, …
        reason = "it is no JPEG or PNG" if isinstance(error, UnidentifiedImageError) else first_line(error)
        raise VideoError(name, f"cannot be decoded: {reason}; {remedy}") from None


def _bytes_of(path: str, remedy: str) -> bytes:
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise VideoError(path, f"cannot be opened: {error.strerror}; {remedy}") from None
    if not data:
        raise VideoError(path, f"is empty (0 bytes); {remedy}")
    return data
