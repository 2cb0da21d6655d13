"""One demo video through every door: command, Python, MLflow's pyfunc and its server, `avfusion serve`, notebook."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mlflow
import nbformat
import numpy as np
import pandas as pd
import pytest
import requests
from nbclient import NotebookClient

from avfusion import Predictor
from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.settings import RenderSettings
from avfusion.runtime.settings import ExecutionSettings
from avfusion.tracking.registry import ensure_registered
from tests.serving.conftest import start_server

PARAMS = RenderSettings(seed=4, train=1, val=1, test=1, min_seconds=3, max_seconds=3.5, size=128)
BIN = Path(sys.executable).parent
CHAMPION = "models:/avfusion@champion"
NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "04-own-video.ipynb"


@pytest.fixture
def video(project: Path) -> Path:
    """A rendered video in the project's folder of media."""
    root = project / "data" / "raw" / "demo"
    render_demo(root, PARAMS, ExecutionSettings(executor="serial", workers=1))
    return sorted((root / "videos").glob("*.mp4"))[0]


@contextmanager
def mlflow_server(project: Path, media: Path) -> Iterator[str]:
    """`mlflow models serve` of the champion."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlruns' / 'mlflow.db'}",
        "AVFUSION_MEDIA_ROOT": str(media),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
    }
    command = [BIN / "mlflow", "models", "serve", "-m", CHAMPION, "--env-manager", "local", "--port", str(port)]
    with (project / "served.log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=project,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, (project / "served.log").read_text()
            try:
                requests.get(f"{url}/ping", timeout=5).raise_for_status()
                break
            except requests.RequestException:
                continue
        yield url
    finally:
        os.killpg(process.pid, 15)  # it starts uvicorn as a child
        process.wait(60)


def notebook_table(project: Path, video: Path) -> pd.DataFrame:
    """What notebook 04 makes of a video, as somebody who sets `VIDEO` in its first cell finds it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells[1].source = notebook.cells[1].source.replace("VIDEO = None", f"VIDEO = {str(video)!r}")
    notebook.cells.append(nbformat.v4.new_code_cell('table.to_parquet("from-notebook.parquet")'))
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(project)}}).execute()
    return pd.read_parquet(project / "from-notebook.parquet")


def live_values(project: Path, video: Path) -> pd.DataFrame:
    """What `avfusion live` prints: a row per clip."""
    command = [sys.executable, "-m", "avfusion.cli", "live", "--source", str(video), "--no-realtime", "--json"]
    done = subprocess.run(command, check=True, cwd=project, capture_output=True, text=True)
    *values, summary = map(json.loads, done.stdout.splitlines())
    assert summary["summary"]["clips"] == len(values)
    return pd.DataFrame(values)


def invoke(url: str, video: str) -> requests.Response:
    body = {"dataframe_split": {"columns": ["video"], "data": [[video]]}}
    return requests.post(f"{url}/invocations", json=body, timeout=120)


@pytest.mark.slow
def test_the_numbers_are_the_same_everywhere(
    project: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_registered("models/fusion")
    expected = Predictor.load(CHAMPION).predict(video)
    assert len(expected) > 60
    found: dict[str, pd.DataFrame] = {}

    command = [sys.executable, "-m", "avfusion.cli", "predict", video, "-o", "out"]
    subprocess.run([str(part) for part in command], check=True, cwd=project)
    found["command"] = pd.read_csv(project / "out" / f"{video.stem}.csv")

    monkeypatch.setenv("AVFUSION_MEDIA_ROOT", str(video.parent))
    before = list(sys.path)
    model = mlflow.pyfunc.load_model(CHAMPION)
    sys.path[:] = before
    found["pyfunc"] = model.predict(pd.DataFrame({"video": [video.name]})).drop(columns="video")

    with mlflow_server(project, video.parent) as url:
        answer = invoke(url, video.name)
        assert answer.status_code == 200, answer.text
        found["mlflow models serve"] = pd.DataFrame(answer.json()["predictions"]).drop(columns="video")
        for outside in ("../annotations/secret.txt", "/etc/passwd"):
            refused = invoke(url, outside)
            assert refused.status_code == 400
            assert f"{outside} is outside the media root {video.parent}" in refused.json()["message"]
            assert "stack_trace" not in refused.json()

    server = start_server(project / "models" / "fusion", tmp_path / "temporary")
    found["avfusion serve"] = pd.DataFrame(server.result(video.name, video.read_bytes())["columns"])
    assert server.stop() == 0

    found["notebook"] = notebook_table(project, video)

    assert len(found) == 5
    for door, table in found.items():
        assert list(table.columns) == list(expected.columns), door
        pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=0, atol=1e-5, obj=door)

    # Live knows the past alone, and so does predict in that mode: at the clips' ends both say the same.
    causal = Predictor.load(CHAMPION).predict(video, mode="causal")
    live = live_values(project, video)
    rows = live["frame"].to_numpy() - 1
    assert len(rows) > 8
    at_ends = causal.iloc[rows].reset_index(drop=True)
    for column in ("frame", "audio_present", "visual_present"):
        assert live[column].tolist() == at_ends[column].tolist()
    for column in ("time_s", "valence", "arousal"):
        np.testing.assert_allclose(live[column], at_ends[column], rtol=0, atol=1e-5)
    assert not np.allclose(causal["valence"], expected["valence"], atol=1e-4), "another mode, other numbers"
