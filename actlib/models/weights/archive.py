"""Whether a file is whole before torch reads it: torch.load looks neither at checksums nor at declared sizes.

torch.save has written zip archives since 1.6, with a checksum of each entry. The pickles of before have none: there
only what breaks the pickle itself is noticed.
"""

import re
import zipfile
from pathlib import Path

CHUNK = 1 << 20  # bytes
HEAD = 512  # bytes that `what_it_is` wants
MOST_UNPACKED = 1 << 30  # bytes of an archive's compressed entries: torch.save compresses none
_WRONG = "its checksum does not match"


class DamagedError(ValueError):
    """The reason alone: the caller names the file, raises an error of its own kind and says what to do."""


def what_it_is(head: bytes) -> str:
    """In words what a file is that begins so, where that can be no file of weights; else empty."""
    if not head:
        return "it is empty"
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<(!doctype|html|head|body|\?xml|!--)", begin):
        return "it is a page of HTML or XML, a login or an error perhaps"
    if begin.startswith(b"version https://git-lfs"):
        return "it is the pointer of git-lfs, not the file itself; `git lfs pull` gets that"
    return ""


def is_archive(head: bytes) -> bool:
    """Whether torch takes a file that begins so for a zip archive."""
    return head.startswith(b"PK\x03\x04")


def check_archive(path: Path) -> None:
    """Read a zip archive of torch.save's and compare its checksums. Raises DamagedError, naming the first wrong entry,
    for one that is not as it was written, that holds something else, or that would unpack to far more than it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_sizes(entries, path.stat().st_size)
            names = [entry.filename for entry in entries]
            if any(name.endswith("/constants.pkl") for name in names):
                raise DamagedError("it is TorchScript; torch.jit.load it and torch.save its state_dict()")
            if not any(name.endswith("/data.pkl") for name in names):
                raise DamagedError("it is a zip archive that torch.save did not write: it has no data.pkl")
            # torch.serialization.set_crc32_options(False) writes zeros instead.
            if any(entry.CRC for entry in entries):
                for entry in entries:
                    _check_entry(archive, entry)
    except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        if isinstance(error, DamagedError):
            raise
        raise DamagedError(f"it is a damaged zip archive ({str(error)[:120]})") from error


def _check_sizes(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Before anything is unpacked: what the entries say of their sizes must be possible."""
    for entry in entries:
        if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
            raise DamagedError(f"its entry {_name(entry)} is damaged (it has two sizes)")
    if sum(entry.compress_size for entry in entries) > size:
        raise DamagedError("it is a damaged zip archive (its entries together are larger than the file)")
    unpacked = sum(entry.file_size for entry in entries if entry.compress_type != zipfile.ZIP_STORED)
    if unpacked > MOST_UNPACKED:
        raise DamagedError(
            f"it is compressed and would be {unpacked / 2**30:,.1f} GiB; torch.save compresses nothing, and more than "
            f"{MOST_UNPACKED / 2**30:g} GiB is not unpacked"
        )


def _check_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    try:
        with archive.open(entry) as file:
            while file.read(CHUNK):
                pass
    except Exception as error:  # zipfile and the decompressors fail in many ways
        reason = _WRONG if "CRC" in str(error) else str(error)[:120] or type(error).__name__
        raise DamagedError(f"its entry {_name(entry)} is damaged ({reason})") from error


def _name(entry: zipfile.ZipInfo) -> str:
    """Without the folder, which torch names after the file that it wrote."""
    return ascii(entry.filename.partition("/")[2][:120] or entry.filename[:120])
