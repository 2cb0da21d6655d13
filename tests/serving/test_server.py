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

import numpy as np
import pandas as pd
import pytest
import requests

from avfusion import Predictor
from avfusion.corpora.notes import DRAWN
from tests.media.shots import alone, render_shots, unlike
from tests.serving.conftest import BOUNDARY, Server, form, start_server


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
    assert health["model"] == {"name": "jca", "digest": predictor.digest, "notes": [DRAWN]}
    assert health["limits"]["upload_bytes"] == 3_000_000
    name, before = "<script>alert(1)</script> 日本.mp4".replace("/", ""), server.files()
    created = server.post(name, face_video.read_bytes())
    assert created.status_code == 202
    job = created.json()
    assert created.headers["location"] == f"/api/jobs/{job['id']}"
    assert (job["video"], job["frames"], job["duration_s"]) == (name, 65, pytest.approx(2.6))
    address = f"{server.url}/api/jobs/{job['id']}"
    state = server.finished(job["id"])
    assert (state["state"], state["phase"], state["error"]) == ("done", "features", None)
    (folder,) = server.files() - before
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
    server.wait_for_removal(before)


def test_too_large_over_http(server: Server) -> None:
    before = server.files()
    answer = server.post("large.mp4", bytes(4_000_000))
    assert (answer.status_code, "more than 3.0 MB" in answer.json()["error"]) == (413, True), answer.text
    server.wait_for_removal(before)


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
    before = server.files()
    with connect(server, chunked=False) as connection:
        connection.sendall(form(bytes(100_000)))
        while server.files() == before:
            pass
    server.wait_for_removal(before)


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


def test_a_full_disk_is_said_and_frees_itself(
    trained_models: Path, face_video: Path, tmp_path: Path, disk: Callable[[Path, int], object]
) -> None:
    """Too little room for an upload; then for what comes of it, which only the prediction finds out."""
    size = sum(path.stat().st_size for path in trained_models.rglob("*.*"))
    content = face_video.read_bytes()
    room = size // 1024 + len(content) // 1024 + 60
    disk(tmp_path / "temporary", room)
    server = start_server(trained_models / "fusion", tmp_path / "temporary")
    for video, status in ((content + bytes(1 << 20), 507), (content, 202)):
        answer = server.post("a.mp4", video)
        assert answer.status_code == status, answer.text
    state = server.finished(answer.json()["id"])
    assert (state["state"], state["error"]) == ("failed", "the server's disk is full: try again later")
    result = requests.get(f"{server.url}/api/jobs/{answer.json()['id']}/result", timeout=10)
    assert result.status_code == 507
    server.wait_for_removal()
    assert server.stop() == 0
    assert "Traceback" not in server.log.read_text()


def run_serve(*options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "avfusion.cli", "serve", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_what_cannot_be_served_is_one_line(project: Path, trained_models: Path) -> None:
    model = project / "models" / "fusion"
    gone = run_serve("--model", project / "gone", "--port", 0)
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert "there is no model folder" in gone.stderr
    config = json.loads((model / "config.json").read_text())
    config["feature_spec"]["version"] = 1
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


def test_everybody_on_request(server: Server, predictor: Predictor, tmp_path: Path) -> None:
    render_shots(tmp_path / "two.mp4", [alone(0, 40), alone(1, 35)], unlike(2))
    upload = {"files": {"video": ("two.mp4", (tmp_path / "two.mp4").read_bytes())}, "timeout": 60}
    refused = requests.post(f"{server.url}/api/jobs?people=some", **upload)
    assert (refused.status_code, refused.json()["error"]) == (400, "people is 'some': must be one of main, all")
    job = requests.post(f"{server.url}/api/jobs?people=all", **upload).json()["id"]
    assert server.finished(job)["state"] == "done"
    address = f"{server.url}/api/jobs/{job}/result"
    result = requests.get(address, timeout=10).json()
    expected = predictor.analyse(tmp_path / "two.mp4", people="all").persons
    assert [person["number"] for person in result["persons"]] == [1, 2]
    assert result["columns"] == result["persons"][0]["columns"]
    for person, told in zip(expected, result["persons"], strict=True):
        valence = person.predictions["valence"]
        assert [value is None for value in told["columns"]["valence"]] == valence.isna().tolist()
        assert_equal(
            {k: [np.nan if x is None else x for x in v] for k, v in told["columns"].items()}, person.predictions
        )
        assert told["thumbnail"].startswith("data:image/jpeg;base64,/9j/")
        csv = requests.get(f"{address}?format=csv&person={person.number}", timeout=10)
        assert pd.read_csv(io.BytesIO(csv.content))["valence"].isna().tolist() == valence.isna().tolist()
        assert ("person-2" in csv.headers["content-disposition"]) == (person.number == 2)
    for query, words in (("format=csv&person=abc", "person is 'abc'"), ("person=2", "the JSON holds everybody")):
        refused = requests.get(f"{address}?{query}", timeout=10)
        assert refused.status_code == 400
        assert words in refused.json()["error"]
    nobody = requests.get(f"{address}?format=csv&person=3", timeout=10)
    assert (nobody.status_code, nobody.json()["error"]) == (404, "person is 3: two.mp4 has no such person")
    alone_again = server.result("two.mp4", (tmp_path / "two.mp4").read_bytes())
    assert "persons" not in alone_again
    assert None not in alone_again["columns"]["valence"]
    advice = "choose “Everybody in the video” (people=all)"
    assert f"probably several people after the cut at 1.6 s: {advice}" in alone_again["notes"]
    assert "Everybody in the video" in requests.get(server.url, timeout=10).text


def test_the_smallest_face_is_the_servers_choice(trained_models: Path, face_video: Path, tmp_path: Path) -> None:
    server = start_server(trained_models / "fusion", tmp_path / "temporary", "--min-face", 300)
    result = server.result("face.mp4", face_video.read_bytes())
    assert server.stop() == 0
    assert any(note.startswith("no face of 300 pixels or more (") for note in result["notes"])
    assert set(result["columns"]["face_confidence"]) == {0}


def test_a_face_that_is_not_found_is_told_without_advice_that_only_the_command_can_follow(
    server: Server, faceless_video: Path
) -> None:
    notes = server.result("hills.mp4", faceless_video.read_bytes())["notes"]
    what = "no face of 40 pixels or more (the command avfusion predict --min-face looks for smaller ones)"
    assert f"{what}: predicted from the sound alone" in notes
