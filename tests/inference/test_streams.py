"""Videos are read in a process of their own: its death or hang is an error of that video, and the next one is read."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from avfusion.data.frames import CropFile
from avfusion.data.settings import FramesSettings
from avfusion.inference.predictor import Predictor
from avfusion.inference.streams import PersonFaces, StreamReader, VideoStreams, read_streams
from avfusion.runtime.errors import AVFusionError, BadInputError


@pytest.fixture(scope="module")
def reader() -> StreamReader:
    return StreamReader()


def worker_of(reader: StreamReader) -> int:
    (worker,) = reader._idle
    return worker.call(os.getpid)


def same_faces(one: PersonFaces, other: PersonFaces) -> bool:
    arrays = ("present", "confidence", "boxes")
    return one.crops.read_bytes() == other.crops.read_bytes() and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=True) for name in arrays
    )


def same(one: VideoStreams, other: VideoStreams) -> bool:
    assert one.sound is None or other.sound is None or one.sound.read_bytes() == other.sound.read_bytes()
    return (
        np.array_equal(one.time_s, other.time_s)
        and len(one.persons) == len(other.persons)
        and all(map(same_faces, one.persons, other.persons))
        and (one.sound is None) == (other.sound is None)
        and (one.samples, one.silence, one.size, one.fps, one.warnings)
        == (other.samples, other.silence, other.size, other.fps, other.warnings)
    )


Read = Callable[..., VideoStreams]


@pytest.fixture
def read(reader: StreamReader, tmp_path: Path) -> Read:
    def call(path: Path, progress: Callable[[str, int, int], None] | None = None) -> VideoStreams:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        return reader.read(path, folder, stream="both", settings=FramesSettings(), progress=progress)

    return call


def test_what_is_read_elsewhere_is_what_is_read_here(
    reader: StreamReader, read: Read, face_video: Path, tmp_path: Path
) -> None:
    seen: list[tuple[str, int, int]] = []
    streams = read(face_video, lambda *step: seen.append(step))
    here: list[tuple[str, int, int]] = []
    assert same(streams, read_streams(face_video, tmp_path, progress=lambda *step: here.append(step)))
    assert seen == here
    assert [done for phase, done, _ in here if phase == "cutting crops"] == list(range(5, 66, 5))
    first = worker_of(reader)
    with pytest.raises(BadInputError, match=r"^none\.mp4 does not exist$"):
        read(Path("none.mp4"))
    assert worker_of(reader) == first, "one worker for all of it"


def damaged(video: Path, path: Path) -> Path:
    """The video with the bytes of some pictures overwritten."""
    content = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pos and packet.size]
        for packet in packets[20:24]:
            content[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("stride", [1, 8, 32])
@pytest.mark.parametrize("whole", [True, False])
def test_only_crops_that_clips_show_are_cut_and_features_are_the_same(
    face_video: Path, tmp_path: Path, trained_models: Path, stride: int, whole: bool
) -> None:
    predictor = Predictor.load(trained_models / "fusion")
    video = face_video if whole else damaged(face_video, tmp_path / "damaged.mp4")
    spec = predictor.spec_at(stride)
    found, cut = [], []
    for name, wanted in (("all", None), ("shown", spec)):
        folder = tmp_path / name
        folder.mkdir()
        streams = read_streams(video, folder, spec=wanted)
        (faces,) = streams.persons
        with CropFile(faces.crops) as crops:
            jpegs = [crops[row] for row in range(len(crops))]
            features = predictor._extractor.extract_track(streams.time_s, crops, None, stride=stride)
        assert [jpeg is not None for jpeg in jpegs] == faces.present.tolist()
        cut.append({row for row, jpeg in enumerate(jpegs) if jpeg})
        found.append((features.visual, features.visual_present, faces.present, faces.confidence, faces.boxes))
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    everything, shown = cut
    assert everything == set(np.flatnonzero(found[0][2]))
    assert shown == everything if stride == 1 or not whole else shown < everything


def test_a_crash_costs_one_video(reader: StreamReader, read: Read, silent_video: Path) -> None:
    read(silent_video)
    pid = worker_of(reader)

    def crash(phase: str, done: int, total: int) -> None:
        if phase == "cutting crops" and done == 10:
            os.kill(pid, signal.SIGSEGV)

    with pytest.raises(AVFusionError) as raised:
        read(silent_video, crash)
    assert str(raised.value).startswith(f"{silent_video}: its worker process died (signal SIGSEGV): ")
    assert raised.value.exit_code == 1
    assert len(read(silent_video).time_s) == 65
    assert worker_of(reader) != pid


def test_a_hang_costs_one_video(
    reader: StreamReader, read: Read, silent_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(silent_video)
    pid = worker_of(reader)
    durations: list[float] = []

    def limit(duration_s: float) -> float:
        durations.append(duration_s)
        return 2.0

    monkeypatch.setattr("avfusion.inference.streams.decoding_limit_s", limit)
    with pytest.raises(AVFusionError) as raised:
        read(silent_video, lambda *step: os.kill(pid, signal.SIGSTOP))
    assert str(raised.value) == f"{silent_video}: took more than 2 s, given up"
    assert durations == [pytest.approx(2.6)]
    monkeypatch.undo()
    assert len(read(silent_video).time_s) == 65


def test_a_copy_has_workers_of_its_own(reader: StreamReader, read: Read, silent_video: Path) -> None:
    read(silent_video)
    assert pickle.loads(pickle.dumps(reader))._idle == []


def test_threads_read_side_by_side(reader: StreamReader, read: Read, silent_video: Path) -> None:
    together = threading.Barrier(2, timeout=60)
    found: list[VideoStreams] = []

    def meet(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("cutting crops", 5):
            together.wait()

    threads = [threading.Thread(target=lambda: found.append(read(silent_video, meet))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert same(*found)


def test_predict_from_an_unguarded_script_on_standard_input(trained_models: Path, face_video: Path) -> None:
    script = (
        "import os, avfusion\n"
        "print('once')\n"
        f"predictor = avfusion.Predictor.load({str(trained_models / 'fusion')!r})\n"
        f"print(len(predictor.predict({str(face_video)!r})))\n"
        "print(predictor._reader._idle[0].call(os.getpid))\n"
    )
    done = subprocess.run([sys.executable, "-"], input=script, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    once, rows, pid = done.stdout.splitlines()
    assert (once, rows) == ("once", "65")
    with pytest.raises(ProcessLookupError):  # it ends with the interpreter
        os.kill(int(pid), 0)
