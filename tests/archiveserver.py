"""A real server of archives that misbehaves as told, and small archives to serve: tar, zip, and rar written by hand."""

import contextlib
import http.server
import io
import struct
import tarfile
import threading
import zipfile
import zlib


class ArchiveServer(http.server.ThreadingHTTPServer):
    """Serves `files` (path: bytes). By path: `cuts`, after how many bytes each answer breaks off, one a request;
    `told`, what it says the length is; `kinds`, the content type. `asked`: (method, path, Range) of each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.told: dict[str, int] = {}
        self.kinds: dict[str, str] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def got(self, suffixes=(".gz", ".tgz", ".zip", ".rar", ".tar")) -> list[str]:
        """The archives that were asked for, and not only how large they are."""
        return [path for method, path, _ in self.asked if method == "GET" and path.endswith(suffixes)]


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self._answer(whole=False)

    def do_GET(self):
        self._answer(whole=True)

    def _answer(self, whole: bool) -> None:
        told, asked = self.server, self.headers.get("Range")
        told.asked.append((self.command, self.path, asked))
        content, begin, etag = told.files.get(self.path), 0, f'"{self.path}"'
        if content is None:
            return self.send_error(404)
        if asked and self.headers.get("If-Range") == etag:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        content = content[begin:]
        self.send_header("ETag", etag)
        self.send_header("Content-Type", told.kinds.get(self.path, "application/octet-stream"))
        self.send_header("Content-Length", str(told.told.get(self.path, len(content))))
        self.end_headers()
        if whole:
            cuts = told.cuts.get(self.path)
            with contextlib.suppress(OSError):  # who asked has had enough
                self.wfile.write(content[: cuts.pop(0)] if cuts else content)

    def log_message(self, *arguments):
        pass


def tar_of(files: dict[str, bytes], kind: str = "gz", links: dict[str, str] | None = None) -> bytes:
    """A tar of `files`, and of symbolic `links` before them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as tar:
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def rar_of(files: dict[str, bytes]) -> bytes:
    """A rar of version 4 with stored files, as its format is described in unrar's technote.txt."""

    def block(kind: int, flags: int, fields: bytes) -> bytes:
        body = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
        return struct.pack("<H", zlib.crc32(body) & 0xFFFF) + body

    out = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, content in files.items():
        size, crc, stored, unix = len(content), zlib.crc32(content), 0x30, 3
        named = name.replace("/", "\\").encode()
        facts = (size, size, unix, crc, 0x5A210000, 29, stored, len(named), 0o100644)
        fields = struct.pack("<IIBIIBBHI", *facts)
        out += block(0x74, 0x8000, fields + named) + content
    return out + block(0x7B, 0x4000, b"")
