"""The plan of the demo corpus: splits, identities, awkward cases, and what face and voice can express when."""

from fractions import Fraction

import numpy as np
import pytest

from avfusion.corpora.demo.identity import draw_identity
from avfusion.corpora.demo.latents import inside
from avfusion.corpora.demo.plan import Purpose, VideoPlan, draw_corpus, frame_ticks, plan_videos
from avfusion.corpora.demo.voice import draw_speaker
from avfusion.corpora.settings import RenderSettings


@pytest.fixture(scope="module")
def videos() -> list[VideoPlan]:
    return plan_videos(RenderSettings())


def test_splits_have_as_many_tracks_as_asked_for(videos: list[VideoPlan]) -> None:
    counts = {split: sum(len(v.tracks) for v in videos if v.split == split) for split in ("train", "val", "test")}
    assert counts == {"train": RenderSettings().train, "val": RenderSettings().val, "test": RenderSettings().test}
    tracks = [track for video in videos for track in video.tracks]
    assert len(set(tracks)) == len(tracks)


def test_every_awkward_case_is_in_the_default_corpus(videos: list[VideoPlan]) -> None:
    pairs = [video for video in videos if len(video.tracks) == 2]
    assert [video.tracks for video in pairs] == [(f"{pairs[0].video}_left", f"{pairs[0].video}_right")]
    assert {video.fps for video in videos} == {Fraction(24), Fraction(25), Fraction(30000, 1001)}
    assert sum(video.variable_rate for video in videos) == 1
    audio = [video.audio for video in videos if video.audio]
    assert len(audio) == len(videos) - 1
    assert {(one.rate, one.channels) for one in audio} == {(44100, 1), (48000, 2), (22050, 1)}
    assert sum(one.silent for one in audio) == 1
    assert sorted(one.start_s for one in audio if one.start_s) == [0.5, 0.8]
    assert sum(video.extra_label_line for video in videos) >= 1
    assert sum(video.unlabelled_span for video in videos) >= 3
    assert all(25 <= video.duration_s <= 40 for video in videos)


def test_no_face_and_no_voice_comes_twice(videos: list[VideoPlan]) -> None:
    people = [(video, person) for video in videos for person in range(len(video.tracks))]
    faces = {draw_identity(video.rng(1, Purpose.LOOKS, person)) for video, person in people}
    voices = {draw_speaker(video.rng(1, Purpose.SPEAKER, person)) for video, person in people}
    assert len(faces) == len(voices) == len(people)


def test_frame_times_follow_the_rate_of_the_video(videos: list[VideoPlan]) -> None:
    for video in videos[:12]:
        steps = np.diff(frame_ticks(video, seed=1))
        if video.variable_rate:
            assert set(steps) == {3000, 3600, 4500}
        else:
            assert set(steps) == {round(90000 / float(video.fps))}
        assert frame_ticks(video, seed=1)[-1] / 90000 == pytest.approx(video.duration_s, abs=0.08)


def test_people_of_one_video_speak_in_turn_and_share_the_noise(videos: list[VideoPlan]) -> None:
    params = RenderSettings(train=4, val=1, test=1)
    plan = plan_videos(params)
    left, right = draw_corpus(params, plan)[plan[0].video]
    times = np.arange(0.0, plan[0].duration_s, 0.01)
    silent_left, silent_right = inside(left.spans.pauses, times), inside(right.spans.pauses, times)
    assert np.array_equal(silent_left, ~silent_right)
    assert left.spans.bursts == right.spans.bursts


def test_a_silent_or_late_voice_expresses_nothing_then() -> None:
    params = RenderSettings(train=12, val=1, test=1)
    plan = plan_videos(params)
    drawn = draw_corpus(params, plan)
    for video in plan:
        times = np.arange(0.0, video.duration_s, 0.01)
        paused = inside(drawn[video.video][0].spans.pauses, times)
        if video.audio is None or video.audio.silent:
            assert paused.all()
        elif video.audio.start_s:
            assert paused[times < video.audio.start_s].all()
            assert paused.mean() < 0.6
