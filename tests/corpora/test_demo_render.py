"""A small demo corpus on disk: its shape, its media files, and that a render is repeatable, resumable and tidy."""

import json
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from avfusion.corpora.demo import film, plan, video_files
from avfusion.corpora.demo.plan import VideoPlan, plan_videos, planned_times
from avfusion.corpora.demo.render import render_demo
from avfusion.corpora.settings import RenderSettings
from avfusion.runtime.fingerprints import folder_digest
from avfusion.runtime.settings import ExecutionSettings

PARAMS = RenderSettings(seed=3, train=11, val=1, test=1, min_seconds=4, max_seconds=4.5, size=128)
TINY = RenderSettings(seed=4, train=3, val=1, test=1, min_seconds=2, max_seconds=2.5, size=96)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    render_demo(root, PARAMS, ExecutionSettings(executor="processes", workers=2))
    return root


@pytest.fixture(scope="module")
def videos() -> list[VideoPlan]:
    return plan_videos(PARAMS)


def _stamps(path: Path, kind: str) -> np.ndarray:
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[0]
        return np.array([float(frame.pts * frame.time_base) for frame in container.decode(stream)])


def _labels(root: Path, split: str, track: str) -> list[str]:
    return (root / "annotations" / "VA_Set" / split / f"{track}.txt").read_text().splitlines()


def test_video_frames_have_the_planned_times(corpus: Path, videos: list[VideoPlan]) -> None:
    for video in videos:
        stamps = _stamps(corpus / "videos" / f"{video.video}.mp4", "video")
        np.testing.assert_allclose(stamps, planned_times(video, PARAMS.seed), atol=1e-4)


def test_codecs_rates_and_sizes(corpus: Path, videos: list[VideoPlan]) -> None:
    for video in videos:
        with av.open(str(corpus / "videos" / f"{video.video}.mp4")) as container:
            picture = container.streams.video[0]
            assert picture.codec_context.name == "h264"
            assert (picture.width, picture.height) == ((224, 128) if len(video.tracks) == 2 else (128, 128))
            if not video.variable_rate:
                assert float(picture.average_rate) == pytest.approx(float(video.fps), rel=1e-3)
            assert len(container.streams.audio) == (0 if video.audio is None else 1)
            if video.audio:
                sound = container.streams.audio[0]
                assert (sound.codec_context.name, sound.rate, sound.channels) == (
                    "aac",
                    video.audio.rate,
                    video.audio.channels,
                )


def test_late_and_silent_audio(corpus: Path, videos: list[VideoPlan]) -> None:
    for video in videos:
        if video.audio is None:
            continue
        path = corpus / "videos" / f"{video.video}.mp4"
        assert _stamps(path, "audio")[0] == pytest.approx(video.audio.start_s, abs=0.03)
        with av.open(str(path)) as container:
            samples = np.concatenate([frame.to_ndarray().ravel() for frame in container.decode(audio=0)])
        level = float(np.sqrt(np.mean(samples**2)))
        assert (level < 1e-4) if video.audio.silent else (level > 3e-3)


def test_labels_are_the_latents_but_for_what_nobody_annotated(corpus: Path, videos: list[VideoPlan]) -> None:
    unlabelled = extra = 0
    for video in videos:
        if video.split == "test":
            continue
        for track in video.tracks:
            lines = _labels(corpus, "Train_Set" if video.split == "train" else "Validation_Set", track)
            truth = pq.read_table(corpus / "truth" / f"{track}.parquet").to_pandas()
            assert lines[0] == "valence,arousal"
            assert len(lines) == 1 + len(truth) + video.extra_label_line
            values = np.array([[float(v) for v in line.split(",")] for line in lines[1 : len(truth) + 1]])
            known = values != -5.0
            assert np.array_equal(known.all(axis=1), truth["valid"].to_numpy())
            latents = truth[["valence", "arousal"]].to_numpy()
            assert np.abs(values - latents)[known].max() < 1e-4
            assert np.abs(latents).max() <= 1.0
            unlabelled += int((~known).any())
            extra += video.extra_label_line
    assert unlabelled >= 2
    assert extra >= 2


def test_test_labels_lie_only_outside_the_annotations(corpus: Path, videos: list[VideoPlan]) -> None:
    tests = [track for video in videos if video.split == "test" for track in video.tracks]
    names = (corpus / "annotations" / "VA_Set" / "Valence_Arousal_test_set_release.txt").read_text().split()
    assert names == tests
    annotated = {path.stem for path in (corpus / "annotations").rglob("*.txt")}
    assert not annotated & set(tests)
    assert all((corpus / "truth" / f"{track}.parquet").is_file() for track in tests)


def test_another_challenge_lies_beside_with_the_same_file_name(corpus: Path, videos: list[VideoPlan]) -> None:
    files = list((corpus / "annotations" / "EXPR_Set").rglob("*.txt"))
    assert [path.stem for path in files] == [videos[0].tracks[0]]
    assert files[0].read_text().startswith("Neutral,Anger")


def test_crops_are_missing_only_behind_an_occluder(corpus: Path, videos: list[VideoPlan]) -> None:
    missing_total = kept = 0
    for video in videos:
        for track in video.tracks:
            truth = pq.read_table(corpus / "truth" / f"{track}.parquet").to_pandas()
            there = {int(path.stem) for path in (corpus / "cropped_aligned" / track).iterdir()}
            missing = ~truth["frame"].isin(there)
            assert not (missing & ~truth["occluded"]).any()
            missing_total += int(missing.sum())
            kept += int((~missing & truth["occluded"]).sum())
    assert missing_total > 100
    assert kept > 0
    crop = cv2.imread(str(sorted((corpus / "cropped_aligned" / videos[3].video).iterdir())[0]))
    assert crop.shape == (112, 112, 3)


def test_truth_says_when_each_stream_is_lost(corpus: Path, videos: list[VideoPlan]) -> None:
    for video in videos:
        truth = pq.read_table(corpus / "truth" / f"{video.tracks[0]}.parquet").to_pandas()
        assert (truth["frame"].to_numpy() == np.arange(1, len(truth) + 1)).all()
        if video.audio is None or video.audio.silent:
            assert truth["pause"].all()
        elif len(video.tracks) == 1 and not video.audio.start_s:
            assert not (truth["occluded"] & (truth["pause"] | truth["burst"])).any()
        for column in ("oracle_both_valence", "oracle_audio_arousal", "oracle_visual_valence"):
            assert truth[column].between(-1.0, 1.0).all()


def test_same_bytes_whoever_renders(tmp_path: Path) -> None:
    render_demo(tmp_path / "a", TINY, ExecutionSettings(executor="serial"))
    render_demo(tmp_path / "b", TINY, ExecutionSettings(executor="processes", workers=2))
    assert folder_digest(tmp_path / "a") == folder_digest(tmp_path / "b")
    render_demo(tmp_path / "c", TINY.model_copy(update={"seed": 5}), ExecutionSettings(executor="serial"))
    assert folder_digest(tmp_path / "a") != folder_digest(tmp_path / "c")


def test_an_interrupted_render_goes_on_and_ends_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serial = ExecutionSettings(executor="serial")
    render_demo(tmp_path, TINY, serial)
    whole = folder_digest(tmp_path)
    done = tmp_path / "videos" / "demo-002.mp4"
    before = done.stat().st_mtime_ns
    (tmp_path / "truth" / "demo-001.json").unlink()
    (tmp_path / "videos" / "demo-001.mp4").write_bytes(b"half a vid")
    (tmp_path / "annotations" / "VA_Set" / "Validation_Set" / "demo-003.txt").unlink()
    (tmp_path / "truth" / "demo-003.json").write_text("{", encoding="utf-8")
    leftover = tmp_path / ".partial" / "demo-001" / "video.mp4"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"x")
    (tmp_path / "videos" / "old-video.mp4").write_bytes(b"of another plan")
    (tmp_path / "cropped_aligned" / "old-video").mkdir()
    capsys.readouterr()
    render_demo(tmp_path, TINY, serial)
    assert "render: no stamp can be read in 1 of the markers: these videos are made anew" in capsys.readouterr().out
    assert folder_digest(tmp_path) == whole
    assert done.stat().st_mtime_ns == before


def test_a_lost_crop_is_made_again(tmp_path: Path) -> None:
    serial = ExecutionSettings(executor="serial")
    render_demo(tmp_path, TINY, serial)
    whole = folder_digest(tmp_path)
    other = (tmp_path / "videos" / "demo-003.mp4").stat().st_mtime_ns
    next((tmp_path / "cropped_aligned" / "demo-002").glob("*.jpg")).unlink()
    render_demo(tmp_path, TINY, serial)
    assert folder_digest(tmp_path) == whole
    assert (tmp_path / "videos" / "demo-003.mp4").stat().st_mtime_ns == other


@pytest.mark.parametrize("outside", [1, 2])
def test_the_numbers_of_blas_threads_are_fixed(outside: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They move last bits only of corpora larger than a test's, so what is watched are the numbers themselves."""
    seen: dict[str, set[int]] = {}

    def watch(module: Any, name: str) -> None:
        function = getattr(module, name)

        def watched(*arguments: Any) -> Any:
            seen[name] = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
            return function(*arguments)

        monkeypatch.setattr(module, name, watched)

    for module, name in (
        (plan, "draw_corpus"),
        (video_files, "fit_scale"),
        (film, "film"),
        (video_files, "truth_table"),
    ):
        watch(module, name)
    with threadpool_limits(outside, "blas"):
        render_demo(tmp_path, TINY.model_copy(update={"train": 1}), ExecutionSettings(executor="serial"))
    assert seen == {"draw_corpus": {2}, "fit_scale": {2}, "film": {1}, "truth_table": {1}}


def test_other_parameters_remake_every_video(tmp_path: Path) -> None:
    serial = ExecutionSettings(executor="serial")
    render_demo(tmp_path, TINY.model_copy(update={"train": 1}), serial)
    first = json.loads((tmp_path / "truth" / "demo-001.json").read_text())["stamp"]["made"]
    render_demo(tmp_path, TINY.model_copy(update={"train": 1, "seed": 9}), serial)
    assert json.loads((tmp_path / "truth" / "demo-001.json").read_text())["stamp"]["made"] != first
