"""A store that does not answer costs seconds, and always has a reason."""

import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from avfusion import Predictor
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.tracking import answers
from avfusion.tracking.answers import StoreAwayError, ask, check_answers
from avfusion.tracking.registry import ensure_registered
from avfusion.tracking.runs import tracked_run
from tests.project_copy import ROOT

BIN = Path(sys.executable).parent
SLACK_S = 3.0  # for a busy machine


class Odd:
    """A server on 127.0.0.1 that does with each connection what it is told; `none` of them is MLflow."""

    def __init__(self, behaviour: Callable[[socket.socket], None]) -> None:
        self.behaviour = behaviour
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed at the end of the test
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            self.behaviour(connection)


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def dripping(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        connection.sendall(b" ")
        time.sleep(0.2)


def answering(status: str, body: bytes = b"<html>\n<h1>a page</h1></html>") -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(4096)
        head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body)

    return answer


def hanging_up(connection: socket.socket) -> None:
    connection.recv(10)


@pytest.fixture
def odd() -> Iterator[Callable[[Callable[[socket.socket], None]], Odd]]:
    made: list[Odd] = []

    def serve(behaviour: Callable[[socket.socket], None]) -> Odd:
        made.append(Odd(behaviour))
        return made[-1]

    yield serve
    for server in made:
        server.listener.close()


def away(root: Path, uri: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The reason why the store cannot be asked; it came in time, and MLflow's settings are as before."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before, started = dict(os.environ), time.monotonic()
    with pytest.raises(StoreAwayError) as caught:
        ask(root, lambda client: client.get_model_version("avfusion", "1"))
    assert time.monotonic() - started < answers.ANSWER_S + SLACK_S
    assert dict(os.environ) == before
    assert "secret" not in str(caught.value)
    where, _, why = str(caught.value).partition(" cannot be asked: ")
    assert where.startswith("the MLflow store ")
    assert "\n" not in why
    return why


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (silent, "no answer within 1 s"),
        (dripping, "no answer within 1 s"),
        (hanging_up, "Connection reset by peer|closed connection without response"),
        (answering("500 Internal Server Error"), "it answers with HTTP 500$"),
        (answering("502 Bad Gateway", b""), "it answers with HTTP 502$"),
        (answering("401 Unauthorized"), "it answers with HTTP 401: set MLFLOW_TRACKING_USERNAME"),
        (answering("403 Forbidden", b""), "it answers with HTTP 403: set MLFLOW_TRACKING_USERNAME"),
        (answering("404 Not Found"), r"it answers with HTTP 404: is it an MLflow server\?"),
        (answering("200 OK"), "not in a valid JSON format"),
    ],
)
def test_a_server_that_is_no_help_costs_seconds(
    tmp_path: Path,
    odd: Callable[..., Odd],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Callable[[socket.socket], None],
    why: str,
) -> None:
    monkeypatch.setattr(answers, "ANSWER_S", 1.0)
    reason = away(tmp_path, odd(behaviour).url, monkeypatch)
    assert re.search(why, reason), reason


def test_a_machine_that_is_not_there_costs_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert away(tmp_path, "http://127.0.0.1:9", monkeypatch) == "Connection refused"
    assert away(tmp_path, "http://me:secret@no-such-host.invalid:5000", monkeypatch)


def test_a_database_that_does_not_answer_costs_seconds(
    tmp_path: Path, odd: Callable[..., Odd], migrated_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = "postgresql+psycopg2://me:secret@127.0.0.1"
    assert "Connection refused" in away(tmp_path, f"{server}:9/avfusion", monkeypatch)
    assert away(tmp_path, "postgresql+nosuchdriver://127.0.0.1/avfusion", monkeypatch)
    monkeypatch.setattr(answers, "ANSWER_S", 2.0)
    assert away(tmp_path, f"{server}:{odd(silent).port}/avfusion", monkeypatch) == "no answer within 2 s"
    shutil.copyfile(migrated_store, tmp_path / "mlflow.db")
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert away(tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", monkeypatch) == "database is locked"


def test_long_work_does_not_begin_without_its_store(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training, comparing and the like open their run first, and register asks first."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    started = time.monotonic()
    for work in (lambda: tracked_run("train").__enter__(), lambda: ensure_registered("models/fusion")):
        with pytest.raises(AVFusionError, match=r"http://127\.0\.0\.1:9 cannot be asked: Connection refused"):
            work()
    assert time.monotonic() - started < answers.ANSWER_S + SLACK_S


class Relay(Odd):
    """Passes connections on to a server; `mode` makes it silent or lets it break off after some bytes."""

    def __init__(self, port: int) -> None:
        self.target, self.mode = port, "pass"
        self.open: list[socket.socket] = []
        super().__init__(self._relay)

    def begin(self, mode: str) -> None:
        """Change the mode and close what is open, as a client might use it again."""
        self.mode = mode
        for connection in self.open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.open.clear()

    def _relay(self, connection: socket.socket) -> None:
        self.open.append(connection)
        if self.mode == "silent":
            return silent(connection)
        if self.mode == "gone":
            return None
        with socket.create_connection(("127.0.0.1", self.target)) as other:
            for end in (connection, other):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each request takes 40 ms more
            threading.Thread(target=self._pump, args=(connection, other), daemon=True).start()
            self._pump(other, connection, break_off=True)

    def _pump(self, source: socket.socket, sink: socket.socket, *, break_off: bool = False) -> None:
        sent = 0
        with suppress(OSError):
            while (piece := source.recv(4096)) and self.mode != "gone":
                sink.sendall(piece)
                sent += len(piece)
                if break_off and sent > 8192:
                    if self.mode == "breaks off":
                        break
                    if self.mode == "stalls":
                        return silent(sink)
            sink.shutdown(socket.SHUT_WR)
        return None


@pytest.fixture
def server(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """An `mlflow server` behind a relay, with the project's model as champion; MLFLOW_TRACKING_URI names it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [BIN / "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{project / 'mlruns' / 'mlflow.db'}"]
    command += ["--artifacts-destination", tmp_path / "served"]
    variables = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    variables["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # five processes more
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True, env=variables)
    relay = Relay(port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", relay.url)
    monkeypatch.setenv("AVFUSION_CACHE", str(tmp_path / "cache"))
    try:
        until = time.monotonic() + 240
        while True:
            with suppress(StoreAwayError):
                monkeypatch.setattr(answers, "ANSWER_S", 60.0)
                check_answers(project)
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
                pytest.fail((tmp_path / "server.log").read_text())
            assert time.monotonic() < until, "the server does not start"
        ensure_registered("models/fusion", root=project)
        yield relay
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)
        relay.listener.close()


def test_a_server_that_goes_away(
    server: Relay, project: Path, short_video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training waits for it. What was used before works; an alias is as last answered, which is said with its age."""
    monkeypatch.setattr(answers, "ANSWER_S", 60.0)  # whatever else the machine does, while the server is there
    monkeypatch.setattr(answers, "SILENCE_S", 60)
    with tracked_run("train", root=project) as run:
        run.log_metrics({"loss": 1.0}, step=1)
        server.mode = "gone"
        back = threading.Timer(2.0, setattr, (server, "mode", "pass"))
        back.start()
        run.log_metrics({"loss": 0.5}, step=2)
        assert back.finished.is_set(), "it waited"
        assert run.last_step("loss") == 2
    for mode in ("breaks off", "stalls"):
        server.mode = mode
        monkeypatch.setenv(answers.TIMEOUT, "2")
        with pytest.raises(BadInputError, match=r"no model at models:/avfusion@champion .*: .+"):
            Predictor.load("models:/avfusion@champion")
        assert not (tmp_path / "cache" / "models").exists(), "nothing half is kept"
    server.begin("pass")
    monkeypatch.delenv(answers.TIMEOUT)
    digest = Predictor.load("models:/avfusion@champion").digest
    server.begin("silent")
    monkeypatch.setattr(answers, "ANSWER_S", 1.0)
    known = Predictor.load("models:/avfusion/1")
    assert (known.digest, known.source) == (digest, "models:/avfusion/1 (from the cache)")
    version = r"models:/avfusion@champion \(version 1, registered .* UTC"
    champion = rf"{version}, as the store answered .* ago, from the cache: .*{server.url}"
    source = Predictor.load("models:/avfusion@champion").source
    assert re.search(f"{champion}.*no answer within 1 s", source), source
    command = (sys.executable, "-m", "avfusion.cli", "predict", short_video, "-o", tmp_path / "out")
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert re.search(f"{champion}.*no answer within 5 s", done.stderr), done.stderr
    shutil.rmtree(tmp_path / "cache")
    fallback = Predictor.load()
    assert fallback.digest == digest
    assert f"models/fusion (the MLflow store {server.url} cannot be asked: no answer within 1 s)" in fallback.source
    with pytest.raises(BadInputError, match="no answer within 1 s"):
        Predictor.load("models:/avfusion@champion")
