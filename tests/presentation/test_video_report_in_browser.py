"""The page in Chromium: playback moves the cursor, trace and address move playback, nothing outside is asked for."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from avfusion.media.audio_track import timeline_with_sound
from avfusion.presentation.video_report import write_video_report
from tests.chromium import Page, chromium, open_browser
from tests.presentation.test_overlay import one, write_source
from tests.presentation.test_video_report import CARD, HOSTILE, predictions, several

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="there is no Chromium"),
]
AT = "Number(time.style.getPropertyValue('--at')) * data.length"
BRIGHTNESS = """(() => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 8;
  const context = canvas.getContext("2d");
  context.drawImage(video, 0, 0, 8, 8);
  return context.getImageData(4, 4, 1, 1).data[0];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    command = chromium()
    assert command is not None
    with open_browser(command, tmp_path_factory.mktemp("profile")) as page:
        page.size(1280, 900)
        yield page


@pytest.fixture(scope="module", params=["together", "sound first", "picture alone and late"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight seconds at 25 fps, white only from 4 to 4.2 s after the first frame, which may come after the sound."""
    folder = tmp_path_factory.mktemp("report")
    late_s = 0.0 if request.param == "together" else 0.6
    frames = [np.full((180, 320, 3), 240 if 100 <= index < 105 else 30, np.uint8) for index in range(200)]
    sound = None if "alone" in request.param else 0.2 * np.sin(np.arange(8 * 48000) / 20)[None]
    video = write_source(folder / "v.mp4", frames, [late_s + index / 25 for index in range(200)], sound=sound)
    if "first" in request.param:
        assert timeline_with_sound(video).audio_start_s == pytest.approx(-0.6, abs=0.03)
    write_video_report(video, folder / "p.html", one(predictions(200)), CARD, title=HOSTILE, warnings=[HOSTILE])
    return folder / "p.html"


def test_the_address_the_trace_and_the_keys_move_playback_to_the_very_frame(browser: Page, report: Path) -> None:
    browser.open(report.as_uri() + "#t=4.1")
    browser.until("video.readyState >= 2 && !video.seeking")
    assert browser.run(AT) == pytest.approx(4.1, abs=0.001)
    assert browser.run("document.getElementById('clock').textContent") == "0:04.1"
    browser.until(f"{BRIGHTNESS} > 200")
    for seconds, light in ((3.98, 30), (4.02, 240), (4.18, 240), (4.22, 30)):
        browser.run(f"location.hash = '#t={seconds}'")
        browser.until(f"Math.abs({AT} - {seconds}) < 0.002 && !video.seeking")
        assert browser.run(BRIGHTNESS) == pytest.approx(light, abs=25)
    left, top, width, height = browser.run(
        "(() => { const b = document.querySelector('.chart').getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })()"
    )
    browser.click(left + width * 0.25, top + height / 2)
    browser.until("!video.seeking")
    assert browser.run(AT) == pytest.approx(0.25 * 7.96, abs=0.02)
    browser.run("time.focus(); time.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))")
    assert browser.run(AT) == pytest.approx(0.25 * 7.96 + 1, abs=0.03)


def test_the_cursor_follows_playback(browser: Page, report: Path) -> None:
    browser.open(report.as_uri() + "#t=2")
    browser.until("video.readyState >= 2 && !video.seeking")
    lead = browser.run("data.lead")
    browser.run("video.muted = true; video.play()")
    seen = []
    for goal in (2.6, 3.2):
        browser.until(f"video.currentTime - data.lead > {goal}")
        seen.append(
            browser.run(f"[video.currentTime, {AT}, getComputedStyle(document.querySelector('.chart i')).left]")
        )
    browser.run("video.pause()")
    for playing, cursor, _ in seen:
        assert cursor == pytest.approx(playing - lead, abs=0.2)
    assert float(seen[1][2].removesuffix("px")) > float(seen[0][2].removesuffix("px")) + 20
    browser.until(f"Math.abs({AT} - (video.currentTime - data.lead)) < 0.001")
    x, y = browser.run("[point.getAttribute('cx'), point.getAttribute('cy')].map(Number)")
    row = predictions(200).iloc[int(browser.run(AT) * 25 + 1e-3)]
    assert (x, y) == pytest.approx((100 * row["valence"], -100 * row["arousal"]), abs=0.2)


def test_nothing_outside_is_asked_for_nothing_is_refused_and_it_fits_a_phone(browser: Page, report: Path) -> None:
    browser.log.clear()
    browser.size(390, 844, phone=True)
    browser.open(report.as_uri())
    browser.until("video.readyState >= 2")
    assert browser.run("document.documentElement.scrollWidth") == 390
    browser.size(1280, 900)
    asked = [line for line in browser.log if '"url": "' in line]
    assert asked
    for line in browser.log:
        address = line.split('"url": "')[1] if '"url": "' in line else line
        assert address.startswith((report.as_uri(), "data:", "blob:", "about:")), line
    assert browser.run("document.title").startswith("<script>alert(1)")


def test_without_the_video_the_stills_follow_the_cursor(browser: Page, tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), 30 if index < 50 else 220, np.uint8) for index in range(125)]
    video = write_source(tmp_path / "s.mkv", frames, [index / 25 for index in range(125)])
    write_video_report(video, tmp_path / "p.html", one(predictions(125)), CARD)
    browser.open((tmp_path / "p.html").as_uri())
    first = browser.run("still.src")
    assert browser.run("[...document.querySelectorAll('.film button')].map(b => b.className)") == ["on", ""]
    browser.run("document.querySelectorAll('.film button')[1].click()")
    assert browser.run(AT) == pytest.approx(2.52, abs=1e-3)
    assert browser.run("[...document.querySelectorAll('.film button')].map(b => b.className)") == ["", "on"]
    assert browser.run("still.src") != first


def test_boxes_and_points_of_several_people_are_where_they_are_at_the_cursor(browser: Page, tmp_path: Path) -> None:
    frames = [np.full((180, 320, 3), 90, np.uint8)] * 100
    write_source(tmp_path / "v.mp4", frames, [index / 25 for index in range(100)])
    persons = several(100)
    write_video_report(tmp_path / "v.mp4", tmp_path / "p.html", persons, CARD)
    browser.open((tmp_path / "p.html").as_uri())
    browser.until("video.readyState >= 2")
    visible = "[...document.querySelectorAll('SELECTOR')].map(g => g.getAttribute('display') !== 'none')"
    for seconds, seen in ((1.0, [True, False]), (2.1, [False, False]), (3.0, [False, True]), (3.9, [True, True])):
        browser.run(f"location.hash = '#t={seconds}'")
        browser.until(f"Math.abs({AT} - {seconds}) < 0.002 && !video.seeking")
        for selector in ("#boxes g", "g.point"):
            assert browser.run(visible.replace("SELECTOR", selector)) == seen, (seconds, selector)
        words = browser.run("[...document.querySelectorAll('.person b.v')].map(b => b.textContent !== '\u2013')")
        assert words == seen
    box, picture = browser.run(
        "[document.querySelectorAll('#boxes .box')[1], video].map(node => { const b = node.getBoundingClientRect();"
        " return [b.left, b.top, b.width, b.height]; })"
    )
    scale = min(picture[2] / 320, picture[3] / 180)  # the picture keeps its shape in the player
    left, top = (picture[0] + (picture[2] - 320 * scale) / 2, picture[1] + (picture[3] - 180 * scale) / 2)
    assert box == pytest.approx([left + 80 * scale, top + 40 * scale, 60 * scale, 60 * scale], abs=2)
    browser.size(390, 844, phone=True)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    browser.size(1280, 900)
