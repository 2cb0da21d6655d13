"""The application in this process: what it takes in, what it refuses, and that nothing is left of what it refused."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avfusion.serving.api import create_app
from avfusion.serving.jobs import Jobs, State
from avfusion.serving.limits import Limits
from avfusion.serving.model_process import ServedModel
from avfusion.serving.upload import _Form, shown_name
from tests.fuzz.media_seeds import TEXTS
from tests.fuzz.opened_files import OpenedFiles
from tests.media.test_bad_media import POSERS, linux
from tests.serving.conftest import BOUNDARY, FORM, Answer, ask, form

SMALL = Limits(upload_bytes=200_000, video_s=2, waiting=2, stall_s=0.3, slowest=1e6)


@asynccontextmanager
async def application(scratch: Path, limits: Limits = SMALL) -> AsyncIterator[tuple[Callable[..., object], Jobs]]:
    """The application with nobody who would work on a video."""
    scratch.mkdir(exist_ok=True)
    async with Jobs(scratch, limits, [], scratch / "no-model", "cpu") as jobs:
        yield create_app(jobs, ServedModel("models/fusion", "jca", "d" * 64)), jobs


def upload(scratch: Path, body: bytes, *, limits: Limits = SMALL, piece: int = 65536, **how: object) -> Answer:
    """The answer to an upload; afterwards the server holds no file of it, unless it took it."""

    async def run() -> Answer:
        async with application(scratch, limits) as (app, jobs):
            pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
            how.setdefault("headers", FORM)
            answer = await ask(app, "POST", "/api/jobs", pieces=pieces, **how)  # type: ignore[arg-type]
            assert jobs.count(State.waiting) == (answer.status == 202)
            assert len(list(scratch.iterdir())) == (answer.status == 202)
            return answer

    return asyncio.run(run())


def test_a_video_is_taken_in_byte_for_byte(tmp_path: Path, short_video: Path) -> None:
    answer = upload(tmp_path, form(short_video.read_bytes(), "a b.mp4"), piece=1000)
    assert answer.status == 202
    (kept,) = tmp_path.glob("*/video")
    assert kept.read_bytes() == short_video.read_bytes()


@linux
@pytest.mark.parametrize("name", POSERS)
def test_what_would_open_other_files_is_refused_and_opens_none(tmp_path: Path, short_video: Path, name: str) -> None:
    folder = tmp_path / "others"
    folder.mkdir()
    text = TEXTS[name]
    for other in ("other.mp4", "segment0.ts", "key.bin"):
        (folder / other).write_bytes(short_video.read_bytes())
        text = text.replace(other, str(folder / other))
    with OpenedFiles(folder) as opened:
        answer = upload(tmp_path / "scratch", form(text.encode(), f"{name}.mp4"))
        assert opened.names() == set()
    assert answer.status == 400
    assert POSERS[name] in answer.error
    assert answer.error.startswith(f"{name}.mp4 cannot be read as media")
    assert str(tmp_path) not in answer.error


def test_files_that_are_no_video_are_named(tmp_path: Path, short_video: Path, face_video: Path) -> None:
    whole = short_video.read_bytes()
    hole = bytearray(whole)
    hole[200 : len(whole) - 200] = bytes(len(whole) - 400)
    for name, content, words in (
        ("empty.mp4", b"", "empty.mp4 is empty (0 bytes)"),
        ("letter.mp4", b"a letter, no video " * 100, "it is a text file"),
        ("photo.mp4", b"\xff\xd8\xff\xe0" + bytes(500), "it is a JPEG image"),
        ("archive.mp4", b"PK\x03\x04" + bytes(500), "it is a ZIP archive"),
        ("cut.mp4", whole[: len(whole) // 2], "truncated or damaged"),
        ("damaged.mp4", bytes(hole), "damaged"),
        ("noise.mp4", bytes(range(256)) * 40, "unknown, damaged or not allowed"),
        ("long.mp4", face_video.read_bytes(), "must be at most"),
    ):
        answer = upload(tmp_path, form(content, name))
        assert (answer.status, words in answer.error) == (400, True), answer
        assert answer.error.startswith(name)
        assert str(tmp_path) not in answer.error


def test_a_video_that_is_cut_short_is_taken(tmp_path: Path, short_video: Path) -> None:
    """What can be read of it is predicted, with a note."""
    assert upload(tmp_path, form(short_video.read_bytes()[:-10], "end.mp4")).status == 202


def test_a_request_that_is_no_form_with_one_video(tmp_path: Path) -> None:
    video = form(b"x" * 100)
    for body, headers, status, words in (
        (b"x", {"Content-Type": "video/mp4"}, 415, "multipart/form-data"),
        (b"x", {}, 415, "multipart/form-data"),
        (video, {"Content-Type": "multipart/form-data"}, 415, "multipart/form-data"),
        (form(b"x", field="other"), FORM, 400, "no file in the field 'video'"),
        (b"", FORM, 400, "cut off"),
        (video[:-20], FORM, 400, "cut off"),
        (b"nonsense" * 50, FORM, 400, "damaged"),
        (video, {"Content-Type": "multipart/form-data; boundary=" + "B" * 300}, 400, "boundary has more than 70 bytes"),
        (video.removesuffix(f"--{BOUNDARY}--\r\n".encode()) + video, FORM, 400, "several videos"),
        (video.replace(b'; filename="a.mp4"', b""), FORM, 400, "no file in the field 'video'"),
        (video.replace(b"\r\n\r\n", b"\r\n" + b"X: y\r\n" * 50 + b"\r\n", 1), FORM, 400, "damaged"),
    ):
        answer = upload(tmp_path, body, headers=headers)
        assert (answer.status, words in answer.error) == (status, True), (body[:80], answer)
        assert answer.headers["connection"] == "close"


def test_too_large_is_refused_before_and_while_it_comes(tmp_path: Path) -> None:
    words = "more than 200 kB"
    told = upload(tmp_path, form(b"x"), headers=FORM | {"Content-Length": "900000000"})
    found = upload(tmp_path, form(bytes(300_000)), piece=10_000)
    around = upload(tmp_path, form(bytes(400_000), field="other"), piece=10_000)
    one_too_many = upload(tmp_path, form(bytes(SMALL.upload_bytes + 1)))
    for answer in (told, found, around, one_too_many):
        assert (answer.status, words in answer.error) == (413, True)
    assert upload(tmp_path, form(bytes(SMALL.upload_bytes))).status == 400, "large enough, but no video"


def test_an_endless_upload_is_answered_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends for ever is read on for a while, so that an honest one comes to read why; then no more."""
    monkeypatch.setattr("avfusion.serving.upload.LINGER_BYTES", 500_000)
    sent = form(bytes(2_000_000)).removesuffix(f"\r\n--{BOUNDARY}--\r\n".encode())
    answer = upload(tmp_path, sent, piece=10_000, stalls=True)
    assert answer.status == 413


def test_a_standing_or_slow_upload_is_given_up(tmp_path: Path) -> None:
    body = form(bytes(20_000))
    for answer in (
        upload(tmp_path, body[:-40], stalls=True),
        upload(tmp_path, body[:10], piece=1, stalls=True),
        upload(tmp_path, body, piece=500, pause_s=0.1),  # never long still, but it would take 4 s
    ):
        assert answer.status == 408
        assert "slower than 1.0 MB a second" in answer.error


def test_a_client_that_goes_away_leaves_nothing(tmp_path: Path, short_video: Path) -> None:
    body = form(short_video.read_bytes())
    assert upload(tmp_path, body[:5000], leaves=True).status == 400
    assert upload(tmp_path, body, leaves=True).status == 400


def test_too_many_at_a_time_are_told_to_come_again(tmp_path: Path, short_video: Path) -> None:
    async def run() -> None:
        async with application(tmp_path) as (app, _):
            body = [form(short_video.read_bytes())]
            first = await ask(app, "POST", "/api/jobs", headers=FORM, pieces=body)
            async with asyncio.TaskGroup() as group:
                coming = group.create_task(ask(app, "POST", "/api/jobs", headers=FORM, pieces=body[:0], stalls=True))
                await asyncio.sleep(0)
                third = await ask(app, "POST", "/api/jobs", headers=FORM, pieces=body)
            assert coming.result().status == 408
            assert (first.status, third.status, third.headers["retry-after"]) == (202, 429, "10")
            assert "2 videos wait already" in third.error
            assert third.unread == 0, "a client may send all before it reads the answer"
            assert (await ask(app, "POST", "/api/jobs", headers=FORM, pieces=body)).status == 202
            assert (await ask(app, "POST", "/api/jobs", headers=FORM, pieces=body)).status == 429

    asyncio.run(run())


def test_a_full_disk_is_said_and_nothing_stays(tmp_path: Path, disk: Callable[[Path, int], object]) -> None:
    disk(tmp_path / "disk", 64)
    answer = upload(tmp_path / "disk", form(bytes(150_000)), piece=10_000)
    assert (answer.status, answer.error) == (507, "the server's disk is full: try again later")
    assert answer.unread == 0, "a client may send all before it reads the answer"


def test_names_of_clients_are_for_people_only(tmp_path: Path, short_video: Path) -> None:
    for name, shown in {
        "../../../etc/cron.d/x": "x",
        "..": "..",
        "C:\\videos\\a.mp4": "a.mp4",
        "<script>alert(1)<%2Fscript>.mp4": "<script>alert(1)<%2Fscript>.mp4",
        "Straße 日本 😀.mp4": "Straße 日本 😀.mp4",
        "a\tb\x7f\u202ec.mp4": "a b  c.mp4",
        "/": "video",
        "n" * 500: "n" * 120,
    }.items():
        assert shown_name(name) == shown
    answer = upload(tmp_path, form(b"text " * 50, "../../<b>日本.mp4"))
    assert answer.error == "<b>日本.mp4 cannot be read as media: it is a text file, not a video"
    plain = b'filename="a.mp4"'
    both = form(b"text " * 50).replace(plain, plain + b"; filename*=UTF-8''caf%C3%A9.mp4")
    for body in (both, both.replace(b'filename="a.mp4"; ', b"")):  # RFC 5987
        assert upload(tmp_path, body).error.startswith("café.mp4 cannot be read")


@given(st.binary(max_size=200), st.lists(st.integers(1, 60), max_size=30))
def test_a_form_may_come_in_any_pieces(content: bytes, sizes: list[int]) -> None:
    body, parser, found = form(content, "a.mp4"), _Form(BOUNDARY.encode()), b""
    for size in [*sizes, len(body)]:
        found += b"".join(parser.feed(body[:size]))
        body = body[size:]
    assert (found, parser.name(), parser.size) == (content, "a.mp4", len(content))


def test_other_addresses_and_methods(tmp_path: Path) -> None:
    async def run() -> None:
        async with application(tmp_path) as (app, _):
            for method, path, status in (
                ("GET", "/api/jobs/nobody", 404),
                ("DELETE", "/api/jobs/nobody", 404),
                ("GET", "/api/jobs/nobody/result", 404),
                ("GET", "/api/jobs/..%2F..%2Fetc/result", 404),
                ("GET", "/api/jobs/nobody/result?format=xml", 400),
                ("GET", "/nothing", 404),
                ("GET", "/docs", 404),
                ("PUT", "/api/jobs", 405),
            ):
                answer = await ask(app, method, path)
                assert (answer.status, bool(answer.error)) == (status, True), path
            assert "was restarted" in (await ask(app, "GET", "/api/jobs/nobody")).error

    asyncio.run(run())
