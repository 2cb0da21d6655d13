"""The upload page in a browser."""

from pathlib import Path

import pytest

from tests.serving.browser import CHROMIUM, browser
from tests.serving.conftest import Server

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]


def test_a_video_with_an_evil_name_and_a_bad_one_and_an_old_job(
    server: Server, face_video: Path, tmp_path: Path
) -> None:
    name = "<img src=x onerror=document.title='owned'> ü.mp4"
    evil, text = tmp_path / name, tmp_path / "<b>letter.mp4"
    evil.write_bytes(face_video.read_bytes())
    text.write_text("no video " * 100)
    with browser((390, 844)) as page:
        page.open(server.url)
        page.wait("document.getElementById('model').textContent.startsWith('Model jca')")
        page.choose_file("#file", evil)
        page.wait("!document.getElementById('result').hidden")
        assert page.evaluate("document.getElementById('name').textContent") == name
        assert page.evaluate("document.querySelectorAll('#chart path').length") == 2
        assert page.evaluate("document.querySelector('#chart path.valence').getTotalLength() > 200")
        assert page.evaluate("document.getElementById('facts').textContent").startswith("length0:02.6frames65")
        assert page.evaluate("document.documentElement.scrollWidth") == 390, "nothing sticks out on a phone"
        kept = page.evaluate("location.href")
        page.open("about:blank")
        page.open(kept)
        page.wait("!document.getElementById('result').hidden")
        assert page.evaluate("document.getElementById('name').textContent") == name, "reloading keeps the result"
        page.evaluate("document.getElementById('delete').click()")
        page.choose_file("#file", text)  # at once: what deletes the old result must not end the new upload
        page.wait("!document.getElementById('error').hidden")
        words = "<b>letter.mp4 cannot be read as media: it is a text file, not a video"
        assert page.evaluate("document.getElementById('error-text').textContent") == words
        page.open("about:blank")
        page.open(kept)
        page.wait("!document.getElementById('error').hidden")
        assert page.evaluate("document.getElementById('error-text').textContent").startswith("unknown job")
        assert page.evaluate("document.title") == "avfusion: valence and arousal of a video"
        assert {url.split("/")[2] for url in page.requested() if url.startswith("http")} == {server.url.split("/")[2]}
        faults = [text for text in page.complaints() if "Failed to load resource" not in text]
        assert faults == [], "nothing broke the policy"
