"""The upload page in a browser."""

import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chromium import Page, chromium, open_browser
from tests.media.shots import alone, render_shots, unlike
from tests.serving.conftest import Server, start_server

pytestmark = [pytest.mark.browser, pytest.mark.skipif(chromium() is None, reason="there is no Chromium")]
ERROR = "document.getElementById('error-text').textContent"
RESULT, FAULT = (f"!document.getElementById('{name}').hidden" for name in ("result", "error"))


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A phone."""
    command = chromium()
    assert command is not None
    with open_browser(command, tmp_path / "profile") as opened:
        opened.size(390, 844, phone=True)
        yield opened


def test_a_video_with_an_evil_name_and_a_bad_one_and_an_old_job(
    page: Page, server: Server, face_video: Path, tmp_path: Path
) -> None:
    name = "<img src=x onerror=document.title='owned'> ü.mp4"
    evil, text = tmp_path / name, tmp_path / "<b>letter.mp4"
    evil.write_bytes(face_video.read_bytes())
    text.write_text("no video " * 100)
    page.open(server.url)
    page.until("document.getElementById('model').textContent.startsWith('Model jca')")
    page.choose("#file", evil)
    page.until(RESULT)
    assert page.run("document.getElementById('name').textContent") == name
    assert page.run("document.querySelectorAll('#chart path').length") == 2
    assert page.run("document.querySelector('#chart path.valence').getTotalLength() > 200")
    assert page.run("document.getElementById('facts').textContent").startswith("length0:02.6frames65")
    assert page.run("document.documentElement.scrollWidth") == 390, "nothing sticks out on a phone"
    kept = page.run("location.href")
    page.open(kept)
    page.until(RESULT)
    assert page.run("document.getElementById('name').textContent") == name, "reloading keeps the result"
    page.run("document.getElementById('delete').click()")
    page.choose("#file", text)  # at once: what deletes the old result must not end the new upload
    page.until(FAULT)
    assert page.run(ERROR) == "<b>letter.mp4 cannot be read as media: it is a text file, not a video"
    page.open(kept)
    page.until(FAULT)
    assert page.run(ERROR).startswith("unknown job")
    assert page.run("document.title") == "avfusion: valence and arousal of a video"
    addresses = [line.split('"url": "')[1].split('"')[0] for line in page.log if '"documentURL"' in line]
    assert {urlsplit(url).netloc for url in addresses if url.startswith("http")} == {urlsplit(server.url).netloc}
    faults = [line for line in page.log if '"documentURL"' not in line and "Failed to load resource" not in line]
    assert faults == [], "nothing broke the policy"


def test_a_server_that_is_killed_in_mid_job_and_comes_back(
    page: Page, trained_models: Path, face_video: Path, tmp_path: Path
) -> None:
    first = start_server(trained_models / "fusion", tmp_path / "temporary")
    page.open(first.url)
    page.choose("#file", face_video)
    page.until("location.hash.startsWith('#job=')")
    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    page.until("document.getElementById('phase').textContent === 'The server does not answer; trying again'")
    second = start_server(trained_models / "fusion", tmp_path / "temporary", "--port", urlsplit(first.url).port)
    page.until(FAULT)
    assert page.run(ERROR).startswith("unknown job: ")
    assert "the server was restarted since" in page.run(ERROR)
    page.choose("#file", face_video)
    page.until(RESULT)
    assert second.stop() == 0
    page.choose("#file", face_video)
    page.until(FAULT)
    assert page.run(ERROR) == "The connection was lost while uploading: is the server still running?"


def test_everybody_is_chosen_by_face(page: Page, server: Server, tmp_path: Path) -> None:
    render_shots(tmp_path / "two.mp4", [alone(0, 40), alone(1, 35)], unlike(2))
    page.open(server.url)
    page.run("document.getElementById('all').click()")
    page.choose("#file", tmp_path / "two.mp4")
    page.until(RESULT)
    names = "[...document.querySelectorAll('#people button')].map(b => b.textContent + b.getAttribute('aria-pressed'))"
    assert page.run(names) == ["Person 1true", "Person 2false"]
    assert page.run("document.querySelectorAll('#people img').length") == 2
    parts = "document.querySelector('#chart path.valence').getAttribute('d')"
    ends = (
        "[...document.querySelectorAll('#chart rect.visual')].map(r => +r.getAttribute('x') + +r.getAttribute('width'))"
    )
    share = f"Math.max(...{ends}) / +document.querySelector('#chart rect.plot').getAttribute('width')"
    assert 0.4 < page.run(share) < 0.65, "the face is seen to frame 40 of 75, in clips for longer"
    first, facts = page.run(parts), page.run("document.getElementById('facts').textContent")
    assert "with values" in facts
    assert "NaN" not in first + facts
    page.run("document.querySelectorAll('#people button')[1].click()")
    assert page.run(names) == ["Person 1false", "Person 2true"]
    second = page.run(parts)
    starts = [float(path.split(",")[0][1:]) for path in (first, second)]
    assert starts[0] < 30 < 150 < starts[1], "each where the person is seen"
    assert page.run("document.getElementById('csv').href").endswith("format=csv&person=2")
    assert page.run("document.getElementById('v').textContent") == "\u2013", "nothing is known of the second at 0 s"
    assert page.run("document.documentElement.scrollWidth") == 390
