"""The stages that open media give each file a limit by its length, and with it a process of its own."""

import pytest

from avfusion.data import audio_store, frame_store, tracks
from avfusion.media.opener import DEFAULT_LIMITS
from avfusion.media.time_limits import PROBE_LIMIT_S, decoding_limit_s
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.execution import SKIP_HINT

GIVEN_UP = "took more than 0 s, given up"


@pytest.fixture
def project(make_project, tmp_path, face_video, silent_video):
    """Detected faces and ready crops; serial work."""
    project = make_project(tmp_path / "project")
    project.add(face_video, name="found")
    project.add(silent_video, name="given", crops=5)
    project.scan()
    return project


def test_limits_leave_room_for_slow_machines():
    assert DEFAULT_LIMITS.demux_deadline_s + DEFAULT_LIMITS.read_timeout_s < PROBE_LIMIT_S
    assert decoding_limit_s(0) == 1800
    assert decoding_limit_s(60) == 1800 + 3600


def test_probing(project, monkeypatch):
    (project.root / ".avfusion" / "corpus" / "probes.json").unlink()
    monkeypatch.setattr(tracks, "PROBE_LIMIT_S", 0.0)
    with pytest.raises(AVFusionError) as raised:
        project.scan()
    assert str(raised.value) == (
        f"corpus: videos: 2 of 2 failed: videos/found.mp4: {GIVEN_UP}; videos/given.mp4: {GIVEN_UP}: {SKIP_HINT}"
    )


@pytest.mark.parametrize(
    ("stage", "module", "files"), [("frames", frame_store, ["found", "given"]), ("audio", audio_store, ["found"])]
)
def test_decoding(project, monkeypatch, stage, module, files):
    lengths = []
    monkeypatch.setattr(module, "decoding_limit_s", lambda duration_s: lengths.append(duration_s) or 0.0)
    with pytest.raises(AVFusionError) as raised:
        project.update(stages=[stage])
    named = "; ".join(f"{file}: {GIVEN_UP}" for file in files)
    assert str(raised.value).endswith(f"{len(files)} failed: {named}: {SKIP_HINT}")
    assert lengths == pytest.approx([2.6] * len(lengths))
    assert len(lengths) >= len(files)
    assert list((project.root / "data" / stage).iterdir()) == []
