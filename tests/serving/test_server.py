"""A server over real HTTP: the numbers are the predictor's, odd videos get through, and it ends cleanly."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import av
import numpy as np
import pandas as pd
import pytest
import requests
from skimage.data import astronaut

from avfusion import Predictor
from tests.media.conftest import tone, write_media
from tests.serving.conftest import BOUNDARY, Server, form, start_server

FRAMES = 24


def pictures(turn: int = 0) -> list[np.ndarray]:
    """A face that moves a little, turned by so many quarters."""
    picture = astronaut()[:224, 96:320]
    return [np.ascontiguousarray(np.rot90(np.roll(picture, index % 5, axis=1), turn)) for index in range(FRAMES)]


def ten_bits(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 224, 224, "yuv420p10le"
        for rgb in pictures():
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p10le")))
        container.mux(video.encode())
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p10le"
    return path


STEADY = np.arange(FRAMES) / 25
ODD: dict[str, Callable[[Path], Path]] = {
    "rotated.mp4": lambda path: write_media(path, pictures(1), STEADY, rotation=-90),
    "8 kHz mono.mkv": lambda path: write_media(
        path, pictures(), STEADY, sound=tone(1, 8000), rate=8000, sound_codec="pcm_s16le"
    ),
    "96 kHz 5.1.mkv": lambda path: write_media(
        path, pictures(), STEADY, sound=tone(1, 96000, 6), rate=96000, sound_codec="pcm_s16le"
    ),
    "10 bit.mp4": ten_bits,
    "variable rate.mkv": lambda path: write_media(
        path, pictures(), np.cumsum(np.tile([0.02, 0.05, 0.08], FRAMES // 3)), ticks=1000, sound=tone(1)
    ),
}


@pytest.fixture(scope="module")
def predictor(trained_models: Path) -> Predictor:
    return Predictor.load(trained_models / "fusion")


def assert_equal(columns: dict[str, list[float]], expected: pd.DataFrame) -> None:
    found = pd.DataFrame(columns)
    assert list(found.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=0, atol=1e-6)


def test_a_video_from_upload_to_result(
    server: Server, predictor: Predictor, face_video: Path, trained_models: Path
) -> None:
    health = requests.get(f"{server.url}/health", timeout=10).json()
    assert health["status"] == "ok"
    assert health["model"] == {"name": "jca", "digest": predictor.digest}
    assert health["limits"]["upload_bytes"] == 3_000_000
    name = "<script>alert(1)</script> 日本.mp4".replace("/", "")
    created = server.post(name, face_video.read_bytes())
    assert created.status_code == 202
    job = created.json()
    assert created.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["video"], job["frames"], job["duration_s"]) == (name, 65, pytest.approx(2.6))
    address = f"{server.url}/api/jobs/{job['id']}"
    state = server.finished(job["id"])
    assert (state["state"], state["phase"], state["error"]) == ("done", "features", None)
    (folder,) = server.files()
    (kept,) = server.temporary.glob(f"*/{folder}")
    assert {path.name for path in kept.iterdir()} == {"result.csv", "result.json"}, "the video is gone already"
    expected = predictor.predict(face_video)
    result = requests.get(f"{address}/result", timeout=10).json()
    assert (result["video"], result["model"]["digest"]) == (name, predictor.digest)
    assert_equal(result["columns"], expected)
    table = requests.get(f"{address}/result?format=csv", timeout=10)
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert table.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%3Cscript%3E")
    assert "access-control-allow-origin" not in table.headers
    csv = pd.read_csv(io.BytesIO(table.content))
    assert_equal(csv.to_dict("list"), expected)
    assert requests.delete(address, timeout=10).status_code == 204
    assert requests.get(address, timeout=10).status_code == 404
    while server.files():
        pass


@pytest.mark.parametrize("name", ODD)
def test_odd_videos_get_the_predictors_numbers(server: Server, predictor: Predictor, tmp_path: Path, name: str) -> None:
    path = ODD[name](tmp_path / name)
    result = server.result(name, path.read_bytes())
    assert_equal(result["columns"], predictor.predict(path))  # type: ignore[arg-type]
    assert any(result["columns"]["visual_present"])  # type: ignore[index]


def test_what_is_missing_is_said(server: Server, silent_video: Path, faceless_video: Path, empty_video: Path) -> None:
    silent = server.result("silent.mp4", silent_video.read_bytes())
    assert silent["notes"] == ["no audio stream: predicted from the face alone"]
    faceless = server.result("faceless.mp4", faceless_video.read_bytes())
    assert "no face found: predicted from the sound alone" in faceless["notes"]  # type: ignore[operator]
    job = server.post("empty.mp4", empty_video.read_bytes()).json()["id"]
    state = server.finished(job)
    assert state["state"] == "failed"
    assert state["error"].startswith("empty.mp4: no face and no audio in it")  # type: ignore[attr-defined]
    answer = requests.get(f"{server.url}/api/jobs/{job}/result", timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (400, state["error"])


def test_frames_that_cannot_be_decoded_are_said(server: Server, silent_video: Path) -> None:
    """Its packets look well, so that only the prediction finds out."""
    content = bytearray(silent_video.read_bytes())
    with av.open(str(silent_video)) as container:
        for packet in container.demux(container.streams.video[0]):
            if packet.size:
                content[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    state = server.finished(server.post("bad.mp4", bytes(content)).json()["id"])
    assert state["state"] == "failed"
    assert str(state["error"]).startswith("bad.mp4 is damaged: only 0 of its 65 frames can be decoded")


def test_bad_requests_over_http(server: Server) -> None:
    for name, content, status, words in (
        ("large.mp4", bytes(4_000_000), 413, "more than 3.0 MB"),
        ("text.mp4", b"not a video " * 50, 400, "text.mp4 cannot be read as media: it is a text file"),
        ("list.mp4", b"#EXTM3U\nhttp://127.0.0.1:1/a.ts\n", 400, "playlist"),
        ("script.mp4", b"ffconcat version 1.0\nfile /etc/passwd\n", 400, "concat script"),
        ("url.mp4", b"http://127.0.0.1:1/a.mp4\n", 400, "text file"),
    ):
        answer = server.post(name, content)
        assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text
    while server.files():
        pass


def connect(server: Server, *, chunked: bool) -> socket.socket:
    """A connection on which an upload has begun."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000000"
    head = f"POST /api/jobs HTTP/1.1\r\nHost: {address.netloc}\r\n{length}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
    connection.sendall(head.encode())
    return connection


def test_an_upload_without_end_is_answered_and_cut(server: Server) -> None:
    start = form(b"").removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())
    with connect(server, chunked=True) as connection:
        sent = 0
        try:
            for piece in (start, *[bytes(1_000_000)] * 1000):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent += len(piece)
        except OSError:
            pass
        assert sent < 300_000_000
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_connection_that_breaks_leaves_nothing(server: Server) -> None:
    with connect(server, chunked=False) as connection:
        connection.sendall(form(bytes(100_000)))
        while not server.files():
            pass
    while server.files():
        pass


def test_it_is_killed_in_mid_job_and_comes_back(trained_models: Path, face_video: Path, tmp_path: Path) -> None:
    """The next one sweeps what it left and knows no old id; SIGTERM in mid-job and mid-upload is clean."""
    first = start_server(trained_models / "fusion", tmp_path / "temporary")
    job = first.post("a.mp4", face_video.read_bytes()).json()["id"]
    while requests.get(f"{first.url}/api/jobs/{job}", timeout=10).json()["phase"] == "":
        pass
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    assert len(list(first.temporary.iterdir())) == 1
    second = start_server(trained_models / "fusion", tmp_path / "temporary")
    assert len(second.files()) == 0
    answer = requests.get(f"{second.url}/api/jobs/{job}", timeout=10)
    assert (answer.status_code, "unknown job" in answer.json()["error"]) == (404, True)
    running = second.post("a.mp4", face_video.read_bytes()).json()["id"]
    while requests.get(f"{second.url}/api/jobs/{running}", timeout=10).json()["phase"] == "":
        pass
    with connect(second, chunked=False) as connection:
        connection.sendall(form(bytes(1000)))
        assert second.stop() == 0
    assert list(second.temporary.iterdir()) == []
    assert "Traceback" not in second.log.read_text()


def run_serve(*options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "avfusion.cli", "serve", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_what_cannot_be_served_is_one_line(project: Path, trained_models: Path) -> None:
    model = project / "models" / "fusion"
    gone = run_serve("--model", project / "gone", "--port", 0)
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert "there is no model folder" in gone.stderr
    config = json.loads((model / "config.json").read_text())
    config["feature_spec"]["version"] += 1
    (model / "config.json").write_text(json.dumps(config))
    other = run_serve("--model", model, "--port", 0)
    assert other.returncode == 2
    assert other.stderr.splitlines()[-1].startswith("error: feature spec of version ")
    assert "Traceback" not in other.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_serve("--model", trained_models / "fusion", "--port", port)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"cannot listen on 127.0.0.1, port {port}" in done.stderr
    assert run_serve("--host", "no.such.host.invalid").returncode == 2
    outside = run_serve("--host", "0.0.0.0", "--port", 0, "--model", project / "gone")
    assert "no authentication" in outside.stderr
    assert os.listdir(project / "models") == os.listdir(trained_models)
