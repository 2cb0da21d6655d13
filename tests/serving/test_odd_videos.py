"""Every file of the table of odd videos through every door: the command, the JSON API, the page."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import requests

from avfusion.corpora.notes import DRAWN
from tests.bad_input.videos import FRAMES, ODD
from tests.chromium import Page, chromium, open_browser
from tests.serving.conftest import Server

every = pytest.mark.parametrize("name", ODD)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them."""
    folder = tmp_path_factory.mktemp("odd")
    for name, odd in ODD.items():
        odd.write(folder / name)
    return folder


@pytest.fixture(scope="module")
def predicted(folder: Path, trained_models: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """What `avfusion predict` makes of the folder: tables, and the lines of the error stream."""
    out = tmp_path_factory.mktemp("out")
    command = [sys.executable, "-m", "avfusion.cli", "predict", folder, "--model", trained_models / "fusion", "-o", out]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    return out, done.stderr.splitlines()


@pytest.fixture(scope="module")
def page(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    command = chromium()
    if command is None:
        pytest.skip("there is no Chromium")
    with open_browser(command, tmp_path_factory.mktemp("profile")) as opened:
        opened.size(1200, 900)
        opened.open(server.url)
        opened.until("document.getElementById('model').textContent !== ''")
        yield opened


def test_the_command_says_nothing_else(folder: Path, predicted: tuple[Path, list[str]]) -> None:
    out, lines = predicted
    bad = [name for name, odd in ODD.items() if odd.refused]
    assert f"{len(ODD)} files: {len(ODD) - len(bad)} predicted, {len(bad)} failed" in lines
    told = ("model: ", "note: ", "error: ", f"{len(ODD)} files: ", f"  {folder}")
    assert [line for line in lines if not line.startswith(told) and " of " not in line] == []
    kinds = (".csv", ".trace.png")
    assert {path.name for path in out.iterdir()} == {
        Path(name).stem + kind for name in ODD if name not in bad for kind in kinds
    }


@every
def test_through_the_command(folder: Path, predicted: tuple[Path, list[str]], name: str) -> None:
    odd, (out, lines) = ODD[name], predicted
    about = [line for line in lines if str(folder / name) in line]
    if odd.refused:
        error, row = about
        assert error.startswith(f"error: {folder / name}")
        assert odd.refused in error
        assert row.split(str(folder / name))[1].strip() in error, "the table at the end says the same"
        return
    table = pd.read_csv(out / f"{Path(name).stem}.csv")
    assert table["frame"].tolist() == list(range(1, FRAMES + 1))
    assert (table["visual_present"].all(), table["audio_present"].all()) == (bool(odd.face), odd.sound)
    assert all(line.startswith(f"note: {folder / name}: ") for line in about)
    assert [odd.noted in line for line in about] == [True] * bool(odd.noted), about


@every
def test_through_the_api(server: Server, folder: Path, predicted: tuple[Path, list[str]], name: str) -> None:
    odd = ODD[name]
    answer = server.post(name, (folder / name).read_bytes())
    if odd.refused:
        error = answer.json()["error"]
        if answer.status_code == 202:  # its packets look well: only the prediction finds out
            job = answer.json()["id"]
            error = str(server.finished(job)["error"])
            answer = requests.get(f"{server.url}/api/jobs/{job}/result", timeout=60)
        assert (answer.status_code, answer.json()) == (400, {"error": error})
        assert error.startswith(name)
        assert odd.refused in error
        return
    assert answer.status_code == 202, answer.text
    job = f"{server.url}/api/jobs/{answer.json()['id']}"
    assert server.finished(answer.json()["id"])["state"] == "done"
    result = requests.get(f"{job}/result", timeout=60).json()
    assert result["video"] == name
    assert result["notes"][0] == DRAWN
    assert [odd.noted in note for note in result["notes"][1:]] == [True] * bool(odd.noted), result["notes"]
    expected = pd.read_csv(predicted[0] / f"{Path(name).stem}.csv")
    pd.testing.assert_frame_equal(pd.DataFrame(result["columns"]), expected, check_dtype=False, rtol=0, atol=1e-6)
    csv = requests.get(f"{job}/result?format=csv", timeout=60).content
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(csv)), expected)
    assert requests.delete(job, timeout=60).status_code == 204


@pytest.mark.browser
@pytest.mark.slow
@every
def test_through_the_page(server: Server, page: Page, folder: Path, name: str) -> None:
    odd, before = ODD[name], server.files()
    page.choose("#file", folder / name)
    page.until("document.getElementById('work').hidden && !(error.hidden && result.hidden)")
    refused = page.run("error.hidden ? '' : document.getElementById('error-text').textContent")
    if odd.refused:
        assert refused.startswith(name)
        assert odd.refused in refused
        return
    assert refused == ""
    assert page.run("document.getElementById('name').textContent") == name
    assert page.run("document.querySelectorAll('#chart path').length") == 2
    notes = page.run("[...document.querySelectorAll('#notes li')].map(item => item.textContent)")
    assert notes[0] == DRAWN
    assert [odd.noted in note for note in notes[1:]] == [True] * bool(odd.noted), notes
    seen = page.run("[...document.querySelectorAll('#facts dd')].map(fact => fact.textContent).slice(-2)")
    assert seen == [f"{round(100 * odd.face)} %", f"{100 * odd.sound} %"]
    assert page.run("document.title") == "avfusion: valence and arousal of a video"
    page.run("document.getElementById('delete').click()")
    server.wait_for_removal(before)
