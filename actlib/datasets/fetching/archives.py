"""What is in an archive: tar (plain, gzip, bzip2, xz), zip and rar, one file after the other.

An archive is only read: nothing in it decides where something is written, and links, devices and the like are passed
over. A rar is unpacked by a program of the system: bsdtar (libarchive), unrar or unar, whichever is there.
"""

import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from actlib.files import TEMPORARY
from actlib.messages import shown

PIECE = 1 << 20  # bytes that are copied at once
_DAMAGE = (EOFError, OSError, RuntimeError, NotImplementedError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile,
           zlib.error)  # fmt: skip
RAR_TOOLS = ("bsdtar", "unrar", "unar")
_UNPACK = {  # into a folder; a line of what it does wrong goes to stderr
    "unrar": ["unrar", "x", "-idq", "-o+", "-y", "-p-"],
    "unar": ["unar", "-quiet", "-force-overwrite", "-no-directory", "-output-directory"],
}
_KINDS = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"PK\x03\x04": "zip", b"PK\x05\x06": "zip",
    b"Rar!\x1a\x07": "rar",
}  # fmt: skip


class ArchiveError(RuntimeError):
    """An archive that is damaged, cut off, or none at all. The message names it."""


@dataclass
class Member:
    """A file in an archive: its path there, with slashes, and its size in bytes. It can be copied until the next one is
    asked for."""

    archive: str
    name: str
    size: int
    _stream: BinaryIO

    @property
    def path(self) -> PurePosixPath:
        return PurePosixPath(self.name)

    def copy_to(self, target: Path) -> None:
        """Write its content to `target`. Raises ArchiveError where there is less of it than there should be, or
        another content than its checksum says; what the disk does wrong leaves as it is."""
        done = 0
        with target.open("wb") as out:
            while piece := self._read():
                out.write(piece)
                done += len(piece)
        if done != self.size:
            raise ArchiveError(f"{self.archive}: cut off in {self.name}: {done:,} of {self.size:,} bytes are there")

    def _read(self) -> bytes:
        with _reading(self.archive):
            return self._stream.read(PIECE)


@contextmanager
def _reading(archive: str) -> Iterator[None]:
    """What goes wrong when an archive is read leaves as an ArchiveError."""
    try:
        yield
    except _DAMAGE as error:
        raise ArchiveError(f"{archive}: damaged or cut off ({str(error) or type(error).__name__})") from error


def _opened(archive: str, opening: Callable, *given, **named):
    with _reading(archive):
        return opening(*given, **named)


def kind_of_archive(path: Path) -> str:
    """gzip, bzip2, xz, zip, rar or tar, by its first bytes; "" for what is none of them."""
    with path.open("rb") as file:
        head = file.read(512)
    for begin, kind in _KINDS.items():
        if head.startswith(begin):
            return kind
    return "tar" if head[257:262] == b"ustar" else ""


def rar_tool() -> str:
    """The program that unpacks a rar here; "" where there is none."""
    return next((name for name in RAR_TOOLS if shutil.which(name)), "")


def members(path: Path, name: str = "") -> Iterator[Member]:
    """The files in an archive, in its order; `name` is what it is called in messages. Raises ArchiveError, also for a
    path in it that leads out of it."""
    name = name or path.name
    with _reading(name):
        kind = kind_of_archive(path)
    if not kind:
        raise ArchiveError(f"{name}: no archive (tar, zip or rar)")
    for member in {"zip": _of_zip, "rar": _of_rar}.get(kind, _of_tar)(path, name):
        if ".." in member.path.parts:
            raise ArchiveError(f"{name}: holds {shown(member.name)}, a path that leads out of it: not to be trusted")
        yield member


def _of_tar(path: Path, name: str) -> Iterator[Member]:
    with _opened(name, tarfile.open, path, "r:*") as tar:
        yield from _files(tar, name)
        if kind_of_archive(path) == "tar" and _ends_early(tar):
            raise ArchiveError(f"{name}: cut off: its end is missing")


def _ends_early(tar: tarfile.TarFile) -> bool:
    """Whether the block of zeros that ends a tar is not there: it may be cut off between two files."""
    tar.fileobj.seek(tar.offset)
    return tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE)


def _files(tar: tarfile.TarFile, name: str) -> Iterator[Member]:
    while True:
        with _reading(name):
            entry = tar.next()
            tar.members = []  # else it keeps all of them
        if entry is None:
            return
        if entry.isreg():
            yield Member(name, entry.name.replace("\\", "/"), entry.size, tar.extractfile(entry))


def _of_zip(path: Path, name: str) -> Iterator[Member]:
    with _opened(name, zipfile.ZipFile, path) as archive:
        for entry in archive.infolist():
            kind = entry.external_attr >> 28  # of Unix: 8 a file, 10 a link, 0 nothing is said
            if not entry.is_dir() and kind in (0, 8):
                with _opened(name, archive.open, entry) as stream:
                    yield Member(name, entry.filename.replace("\\", "/"), entry.file_size, stream)


def _of_rar(path: Path, name: str) -> Iterator[Member]:
    tool = rar_tool()
    if not tool:
        raise ArchiveError(f"{name}: {how_to_unpack_rar()}")
    if tool == "bsdtar":
        yield from _through_bsdtar(path, name)
        return
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=path.parent) as folder:
        command = [*_UNPACK[tool], str(path), f"{folder}/"] if tool == "unrar" else [*_UNPACK[tool], folder, str(path)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise ArchiveError(_said(name, tool, done.stderr or done.stdout))
        for below, _, files in sorted(os.walk(folder)):
            for file in sorted(files):
                found = Path(below, file)
                if not found.is_symlink():
                    with found.open("rb") as stream:
                        yield Member(name, found.relative_to(folder).as_posix(), found.stat().st_size, stream)


def _through_bsdtar(path: Path, name: str) -> Iterator[Member]:
    """bsdtar writes what is in the rar as a tar, which is read as it comes: nothing is unpacked that is not wanted."""
    with tempfile.TemporaryFile() as told:
        command = ["bsdtar", "-c", "-f", "-", "--format", "pax", f"@{path.resolve()}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=told)
        try:
            error = None
            try:
                with _opened(name, tarfile.open, fileobj=process.stdout, mode="r|") as tar:
                    yield from _files(tar, name)
                while process.stdout.read(PIECE):
                    pass
            except ArchiveError as raised:  # what bsdtar says of it is better
                error = raised
            process.stdout.close()
            if process.wait() or error:
                told.seek(0)
                said = told.read().decode(errors="replace").replace("bsdtar: ", "").replace("(null)", "").strip()
                raise ArchiveError(_said(name, "bsdtar", said) if said or not error else str(error)) from error
        finally:
            process.kill()
            process.stdout.close()
            process.wait()


def _said(name: str, tool: str, text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{name}: damaged or cut off ({tool}: {lines[0] if lines else 'it says nothing'})"


def how_to_unpack_rar() -> str:
    return (
        "a rar needs one of the programs bsdtar (Debian: apt install libarchive-tools; conda: libarchive), unrar or "
        "unar, and none is here"
    )
