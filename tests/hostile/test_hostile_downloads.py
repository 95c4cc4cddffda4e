"""Servers that drip, break off, send pages, other lengths or other files: kept is what opens, and the rest is asked for
only of the same content."""

import http.server
import multiprocessing
import random
import sys
import threading
import time

import pytest
import torch

from actlib import downloads as module
from actlib.models import WeightsError, find_weights
from actlib.models.weights.fetch import fetch_weights

PAGE = b"<!DOCTYPE html><html><body>Sign in to download</body></html>"


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` under any name. `asked`: the Range of each request, or None.

    ranges: whether it knows Range. etag: what it calls the content. cuts: after how many bytes each answer breaks off,
    one a request, whole ones after that. pause: seconds after each `piece` bytes. told: what it says the length is.
    """

    daemon_threads = True

    def __init__(self, content: bytes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.etag, self.cuts, self.asked = content, True, '"1"', [], []
        self.pause, self.piece, self.told, self.kind, self.status = 0.0, 1 << 16, None, "application/octet-stream", 200
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/net.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        told, content, begin = self.server, self.server.content, 0
        asked = self.headers.get("Range")
        told.asked.append(asked)
        same = told.etag and self.headers.get("If-Range") == told.etag
        if asked and told.ranges and same:
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                return self.send_error(416)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(told.status)
        content = content[begin:]
        if told.etag:
            self.send_header("ETag", told.etag)
        self.send_header("Content-Type", told.kind)
        if told.told != "none":
            self.send_header("Content-Length", str(told.told or len(content)))
        self.end_headers()
        content = content[: told.cuts.pop(0)] if told.cuts else content
        try:
            for place in range(0, len(content), told.piece):
                self.wfile.write(content[place : place + told.piece])
                time.sleep(told.pause)
        except OSError:  # who asked has had enough
            pass

    def log_message(self, *arguments):
        pass


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ACTLIB_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    return tmp_path / "weights"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("served") / "net.pth"
    torch.manual_seed(0)
    torch.save({"a.weight": torch.randn(300, 1000)}, path)
    return path.read_bytes()


@pytest.fixture
def server(weights):
    with Server(weights) as running:
        yield running
        running.shutdown()


def left(folder) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())


@pytest.mark.seeds(6, 150)
def test_a_file_that_comes_in_parts_is_whole_or_not_there(judge, folder, server, weights, seed):
    """Broken off at any place, again and again, by servers that know Range and that do not, call their content
    something or nothing, and have another content in between."""
    rng = random.Random(seed)
    server.cuts = [rng.randrange(len(weights)) for _ in range(rng.randint(0, 7))]
    server.ranges, server.etag = rng.random() < 0.7, rng.choice(['"1"', '"1"', 'W/"1"', ""])
    server.told = rng.choice([None, None, None, "none", len(weights) // 2])
    if rng.random() < 0.3:  # a part of another file is there
        server.content = weights[::-1]
        server.cuts, cuts = [len(weights) // 3] * module.TRIES, server.cuts
        with pytest.raises(WeightsError):
            fetch_weights(server.url)
        server.content, server.cuts = weights, cuts
        server.etag = server.etag and '"2"'
    outcome = judge(
        lambda: fetch_weights(server.url).read_bytes(),
        kind="a download in parts",
        errors=WeightsError,
        names=[server.url],
        same=lambda found: found == weights,
    )
    assert (folder / "net.pth").is_file() == (outcome is None)


def test_the_rest_alone_is_asked_for(folder, server, weights, capsys):
    server.cuts = [500_000] + [0] * (module.TRIES - 1)
    with pytest.raises(WeightsError, match=r"broke off 4 times .*the next fetch goes on from there"):
        fetch_weights(server.url)
    assert left(folder) == ["net.pth.part/.lock", "net.pth.part/content", "net.pth.part/origin.json"]
    with pytest.raises(WeightsError, match="neither a file"):  # a part is no file of weights
        find_weights("net.pth")
    server.asked.clear()
    assert fetch_weights(server.url).read_bytes() == weights
    assert server.asked == ["bytes=500000-"] and left(folder) == ["net.pth"]


def test_a_connection_that_breaks_off_is_taken_up_within_a_call(folder, server, weights, capsys):
    server.cuts = [300_000, 300_000]
    assert fetch_weights(server.url).read_bytes() == weights
    assert server.asked == [None, "bytes=300000-", "bytes=600000-"]
    assert "net.pth: broke off after 300,000 bytes" in capsys.readouterr().out


def test_another_file_begins_anew(folder, server, weights):
    server.content, server.cuts = weights[::-1], [500_000] + [0] * (module.TRIES - 1)
    with pytest.raises(WeightsError):
        fetch_weights(server.url)
    server.content, server.etag = weights, '"2"'
    assert fetch_weights(server.url).read_bytes() == weights
    server.cuts = [500_000] + [0] * (module.TRIES - 1)
    (folder / "net.pth").unlink()
    with pytest.raises(WeightsError):
        fetch_weights(server.url)
    server.content = weights[:400_000]  # shorter, under the same name: 416, then another content
    with pytest.raises(WeightsError, match="not what it should be"):
        fetch_weights(server.url)
    assert left(folder) == []


def test_a_server_that_drips_is_left(judge, folder, server, monkeypatch):
    monkeypatch.setattr(module, "WINDOW_S", 0.5)
    monkeypatch.setattr(module, "SLOWEST", 100_000)
    server.piece, server.pause = 100, 0.02
    begin = time.monotonic()
    judge(lambda: fetch_weights(server.url), kind="a download that drips", errors=WeightsError,
          names=[server.url, "bytes came in", "goes on from there"])  # fmt: skip
    assert time.monotonic() - begin < 60  # of four minutes
    server.piece, server.pause = 1 << 16, 0
    assert fetch_weights(server.url).is_file() and server.asked[-1].startswith("bytes=")


def test_a_silent_server_is_left(folder, server, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_S", 0.2)
    server.piece, server.pause = 1000, 5
    with pytest.raises(WeightsError, match=r"broke off 4 times \(timed out\)"):
        fetch_weights(server.url)


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (PAGE, "text/html; charset=utf-8", "a page, a login perhaps"),
        (b"\n " + PAGE, "application/octet-stream", "a page of HTML"),
        (b"", "application/octet-stream", "it is empty"),
        (b'{"error": "quota"}', "application/json", "it is damaged, or a pickle that torch.save did not write"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "text/plain", "git lfs pull"),
        (b"PK\x03\x04" + bytes(1000), "application/zip", "damaged zip archive"),
    ],
)
def test_what_is_no_file_of_weights_is_not_kept(judge, folder, server, content, kind, words):
    server.content, server.kind = content, kind
    judge(lambda: fetch_weights(server.url), kind="another file", errors=WeightsError,
          names=[server.url, words, f"put it at {folder / 'net.pth'}"])  # fmt: skip
    assert left(folder) == []


def test_a_damaged_file_is_not_kept(folder, server, weights):
    server.content = weights[:600_000] + bytes([weights[600_000] ^ 1]) + weights[600_001:]
    with pytest.raises(WeightsError, match="its entry 'data/0' is damaged .its checksum does not match"):
        fetch_weights(server.url)
    assert left(folder) == []


def test_what_does_not_fit_is_said_first(folder, server):
    server.told = 1 << 60
    with pytest.raises(WeightsError, match="the disk is full.*ACTLIB_WEIGHTS name a folder on another disk"):
        fetch_weights(server.url)
    assert left(folder) == []


FULL = """
import sys
from actlib.models import WeightsError
from actlib.models.weights.fetch import fetch_weights
try:
    fetch_weights(sys.argv[1])
except WeightsError as error:
    print("refused:", error)
"""


def test_a_disk_that_fills_up(folder, server, in_small_memory):
    """The server does not say the length, so it is noticed only on the way."""
    server.told = "none"
    folder.mkdir()
    done = in_small_memory(folder, "512k", [sys.executable, "-c", FULL, server.url])
    assert "refused:" in done.stdout and "the disk is full" in done.stdout, done.stdout + done.stderr


def test_two_processes_fetch_one_file_once(folder, server, weights, capfd):
    server.piece, server.pause = 100_000, 0.05
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=fetch_weights, args=(server.url,)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(60)
    assert [each.exitcode for each in both] == [0, 0]
    assert (folder / "net.pth").read_bytes() == weights and left(folder) == ["net.pth"] and server.asked == [None]
    assert capfd.readouterr().out.count("another process is fetching it") == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1", "http://127.0.0.1/", "https://127.0.0.1/..", "http://[::1/a.pth"])
def test_addresses_that_name_no_file(folder, url):
    with pytest.raises(WeightsError, match="127|::1"):
        fetch_weights(url)


def test_an_answer_of_nonsense(folder, server):
    server.told = "abc"
    with pytest.raises(WeightsError, match="not fetched"):
        fetch_weights(server.url)


def test_a_bad_file_that_was_kept_before_says_to_delete_it(folder):
    from actlib.models import create_model

    folder.mkdir()
    (folder / "net.pth").write_bytes(PAGE)
    with pytest.raises(WeightsError, match="it is a page of HTML.*delete it, and fetch or save it again"):
        create_model(pretrained="net.pth")
