"""Downloads: resumed, checked, atomic, one at a time, against a server that misbehaves in every way."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evalkit.errors import StoreError, WeightsError
from evalkit.features.weights import WeightsEntry, fetch, status

EntryFor = Callable[[str | None], WeightsEntry]
ROOT = Path(__file__).resolve().parents[2]


class Server(http.server.ThreadingHTTPServer):
    """Serves one file, as badly as it is told to."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.ranges = True
        self.statuses: list[int] = []  # answers to give before the first good one
        self.cut_after: list[int] = []  # bytes after which to hang up, one a request
        self.wrong_range = False
        self.block_pause = 0.0
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.requests.append((self.path, asked))
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        content, start = self.server.content, 0
        if asked and self.server.ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            told = 0 if self.server.wrong_range else start
            self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        body = content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        end = self.server.cut_after.pop(0) if self.server.cut_after else len(body)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client was killed
            for place in range(0, min(end, len(body)), 65536):
                self.wfile.write(body[place : min(place + 65536, end)])
                time.sleep(self.server.block_pause)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, content: bytes) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    running = Server(content)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_download_appears_whole_and_only_once(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    seen: list[tuple[int, int]] = []
    path = fetch(
        entry_for(server.url), tmp_path / "new", progress=lambda done, total: seen.append((done, total))
    )
    assert path.read_bytes() == content
    assert seen[-1] == (len(content), len(content))
    assert fetch(entry_for(server.url), tmp_path / "new") == path
    assert server.requests == [("/file.bin", None)]
    assert [p.name for p in path.parent.iterdir() if not p.name.startswith(".")] == ["net-file.pth"]


def test_a_download_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    (tmp_path / "net-file.pth.part").write_bytes(content[:1000])
    assert fetch(entry_for(server.url), tmp_path).read_bytes() == content
    assert server.requests == [("/file.bin", "bytes=1000-")]


def test_a_server_without_ranges_is_asked_for_everything(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    server.ranges = False
    (tmp_path / "net-file.pth.part").write_bytes(content[:1000])
    assert fetch(entry_for(server.url), tmp_path).read_bytes() == content


def test_a_part_that_is_already_whole_is_taken(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    (tmp_path / "net-file.pth.part").write_bytes(content)
    assert fetch(entry_for(server.url), tmp_path).read_bytes() == content


def test_a_part_longer_than_the_file_is_dropped(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    (tmp_path / "net-file.pth.part").write_bytes(content + b"more")
    assert fetch(entry_for(server.url), tmp_path, pause=0.01).read_bytes() == content


def test_a_part_of_another_file_is_dropped(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    (tmp_path / "net-file.pth.part").write_bytes(b"?" * 1000)
    assert fetch(entry_for(server.url), tmp_path).read_bytes() == content
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


def test_a_server_that_sends_another_range_is_asked_again(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    server.wrong_range = True
    (tmp_path / "net-file.pth.part").write_bytes(content[:1000])
    assert fetch(entry_for(server.url), tmp_path, pause=0.01).read_bytes() == content
    assert [asked for _, asked in server.requests] == ["bytes=1000-", None]


def test_a_connection_that_ends_early_is_taken_up_again(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    server.cut_after = [100_000, 100_000]
    assert fetch(entry_for(server.url), tmp_path, pause=0.01).read_bytes() == content
    assert [asked for _, asked in server.requests] == [None, "bytes=100000-", "bytes=200000-"]


def test_a_connection_that_always_ends_early_is_given_up_and_kept(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    server.cut_after = [100_000] * 3
    with pytest.raises(
        WeightsError,
        match=r"could not be downloaded: the connection ended after 300,000 of 1,048,576 bytes; what was "
        r"received is kept, and `evalkit weights fetch net` goes on from there; without a network, get the",
    ):
        fetch(entry_for(server.url), tmp_path, attempts=3, pause=0.01)
    assert status(entry_for(server.url), tmp_path).state == "partial"
    assert fetch(entry_for(server.url), tmp_path).read_bytes() == content
    assert server.requests[-1] == ("/file.bin", "bytes=300000-")


def test_wrong_content_is_refused_and_dropped(server: Server, tmp_path: Path, entry_for: EntryFor):
    server.content = b"<html>please log in</html>"
    with pytest.raises(
        WeightsError,
        match=r"is not the published file: its sha256 begins \w{8} and should begin .* nothing was kept",
    ):
        fetch(entry_for(server.url), tmp_path)
    assert status(entry_for(server.url), tmp_path).state == "missing"


def test_a_wrong_file_is_replaced(server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes):
    (tmp_path / "net-file.pth").write_bytes(b"half a file")
    assert fetch(entry_for(server.url), tmp_path).read_bytes() == content


def test_a_file_that_is_gone_is_not_asked_for_again(server: Server, tmp_path: Path, entry_for: EntryFor):
    server.statuses = [404, 404]
    with pytest.raises(
        WeightsError, match=r"file.bin could not be downloaded: the server answered 404 Not Found; "
    ):
        fetch(entry_for(server.url), tmp_path)
    assert len(server.requests) == 1


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes):
    server.statuses = [503, 429]
    assert fetch(entry_for(server.url), tmp_path, pause=0.01).read_bytes() == content
    server.statuses = [503] * 2
    with pytest.raises(WeightsError, match="the server answered 503 Service Unavailable"):
        fetch(entry_for(server.url), tmp_path / "other", attempts=2, pause=0.01)


def test_no_network_is_explained(server: Server, tmp_path: Path, entry_for: EntryFor):
    url = server.url
    server.shutdown()
    server.server_close()
    with pytest.raises(
        WeightsError, match=r"could not be downloaded: .*refused.* without a network, get the file on an"
    ):
        fetch(entry_for(url), tmp_path, attempts=2, pause=0.01)


def test_a_proxy_of_the_environment_is_used(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry_for: EntryFor, content: bytes
):
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/file.bin"))
    assert fetch(entry_for("http://weights.invalid/net"), tmp_path).read_bytes() == content
    assert server.requests == [("http://weights.invalid/net", None)]


def test_weights_given_by_hand_cannot_be_fetched(tmp_path: Path):
    with pytest.raises(WeightsError, match=r"stem192 cannot be downloaded: .* it is given by hand"):
        fetch("inception-tf2015-stem192", tmp_path)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path, entry_for: EntryFor):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="preparing the weights folder .* choose another path"):
        fetch(entry_for("http://127.0.0.1:9/x"), tmp_path / "file" / "weights")


def test_of_several_at_once_one_downloads(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    server.block_pause = 0.01
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch(entry_for(server.url), tmp_path)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == content for path in found] == [True] * 3
    assert len(server.requests) == 1


def test_a_killed_download_leaves_a_part_that_the_next_one_goes_on_with(
    server: Server, tmp_path: Path, entry_for: EntryFor, content: bytes
):
    server.block_pause = 0.05
    fields = dataclasses.asdict(entry_for(server.url))
    code = (
        "from pathlib import Path\nfrom evalkit.features.weights import WeightsEntry, fetch\n"
        f"fetch(WeightsEntry(**{fields!r}), Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    part = tmp_path / "net-file.pth.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 200_000):
        assert time.monotonic() < deadline, "the download never began"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(content)
    assert status(entry_for(server.url), tmp_path).state == "partial"
    server.block_pause = 0.0
    assert fetch(entry_for(server.url), tmp_path).read_bytes() == content
    assert server.requests[-1] == ("/file.bin", f"bytes={kept}-")
