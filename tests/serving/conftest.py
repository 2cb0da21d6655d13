"""A server as its users start it, and its application without one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

BOUNDARY = "----a-line-between-parts"
PATIENCE_S = 60


@dataclass
class Server:
    """A running `avfusion serve`.

    Attributes:
        url: where it answers.
        temporary: what its temporary folder is.
        process: it.
        log: its error stream.
    """

    url: str
    temporary: Path
    process: "subprocess.Popen[str]"
    log: Path

    def post(self, name: str, content: bytes) -> requests.Response:
        """Upload a video."""
        return requests.post(f"{self.url}/api/jobs", files={"video": (name, content)}, timeout=60)

    def finished(self, job: str) -> dict[str, object]:
        """Wait until a job is done or has failed; its description."""
        while True:
            state = requests.get(f"{self.url}/api/jobs/{job}", timeout=60).json()
            if state.get("state") not in ("waiting", "running"):
                return state

    def result(self, name: str, content: bytes) -> dict[str, object]:
        """Upload a video, wait, fetch its result as JSON, delete it."""
        answer = self.post(name, content)
        assert answer.status_code == 202, answer.text
        job = answer.json()["id"]
        state = self.finished(job)
        assert state["state"] == "done", state
        result = requests.get(f"{self.url}/api/jobs/{job}/result", timeout=60)
        assert requests.delete(f"{self.url}/api/jobs/{job}", timeout=60).status_code == 204
        return result.json()

    def files(self) -> set[str]:
        """Names of what is in its folder beside the model."""
        (folder,) = self.temporary.glob("avfusion-serve-*")
        return {path.name for path in folder.iterdir()} - {"model", "in-use"}

    def wait_for_removal(self, before: Set[str] = frozenset()) -> None:
        """Wait until it has no files but those that were there before."""
        until = time.monotonic() + PATIENCE_S
        while left := self.files() - before:
            assert time.monotonic() < until, f"{left} are not removed"

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send it a signal; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


def start_server(model: Path, temporary: Path, *options: object) -> Server:
    """Run `avfusion serve` on a free port, with a temporary folder of its own, until it answers."""
    temporary.mkdir(exist_ok=True)
    log = temporary.with_suffix(".log")
    command = [sys.executable, "-m", "avfusion.cli", "serve", "--model", model, "--port", "0", *options]
    environment = os.environ | {"TMPDIR": str(temporary)}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, stderr=stream, text=True, env=environment
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("serving on http://127.0.0.1:"), log.read_text()
    return Server(line.split()[2].rstrip(","), temporary, process, log)


@pytest.fixture(scope="session")
def server(trained_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share: at most 3 MB and 30 s."""
    temporary = tmp_path_factory.mktemp("server") / "temporary"
    running = start_server(trained_models / "fusion", temporary, "--max-size", "3", "--max-minutes", "0.5")
    yield running
    assert running.stop() == 0
    assert list(temporary.iterdir()) == [], "nothing is left behind"
    assert "Traceback" not in running.log.read_text()


@dataclass
class Answer:
    """An HTTP answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    unread: int = 0

    @property
    def error(self) -> str:
        """Its text, where it is one of an error."""
        return json.loads(self.body)["error"]


async def ask(
    app: Callable[..., object],
    method: str,
    path: str,
    *,
    headers: dict[str, str] | None = None,
    pieces: list[bytes] | None = None,
    stalls: bool = False,
    leaves: bool = False,
    pause_s: float = 0,
) -> Answer:
    """Send a request to an application in this process.

    Args:
        pieces: of its body, as they come in.
        stalls: after them nothing comes any more, and the body is not at its end.
        leaves: after them the client goes away.
        pause_s: before each of them.
    """
    import asyncio

    path, _, query = path.partition("?")
    fields = [
        (name.lower().encode(), value.encode()) for name, value in ({"Host": "localhost"} | (headers or {})).items()
    ]
    waiting = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces or []]
    if not stalls and not leaves:
        waiting.append({"type": "http.request", "body": b"", "more_body": False})
    if leaves:
        waiting.append({"type": "http.disconnect"})
    answer = Answer()

    async def receive() -> dict[str, object]:
        if not waiting:
            await asyncio.Event().wait()
        await asyncio.sleep(pause_s)
        return waiting.pop(0)

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]  # type: ignore[assignment]
            answer.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}  # type: ignore[attr-defined]
        else:
            answer.body += message.get("body", b"")  # type: ignore[operator]

    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": fields}
    scope |= {"http_version": "1.1", "scheme": "http", "server": ("localhost", 80), "client": ("localhost", 1)}
    scope |= {"raw_path": path.encode(), "root_path": "", "asgi": {"version": "3.0"}}
    await app(scope, receive, send)  # type: ignore[misc]
    answer.unread = len(waiting)
    return answer


def form(content: bytes, name: str = "a.mp4", field: str = "video") -> bytes:
    """A multipart body with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
