"""Keep data/audio true: one aligned WAV per video that has sound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from avfusion.corpora.sources import refuse_changed
from avfusion.corpora.table import Track
from avfusion.data.audio import read_fingerprint, write_audio
from avfusion.data.settings import AudioSettings
from avfusion.data.store import StoreReport, update_store
from avfusion.media.audio import aligned_audio
from avfusion.media.time_limits import decoding_limit_s
from avfusion.media.timeline import read_timeline
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings

VERSION = 3  # raise it when equal inputs give other samples


def update_audio(
    folder: Path,
    corpus_root: Path,
    tracks: Sequence[Track],
    settings: AudioSettings,
    execution: ExecutionSettings,
    on_error: Literal["fail", "skip"] = "fail",
) -> StoreReport:
    """Bring the WAV files up to date; a video without an audio stream has none.

    Raises:
        AVFusionError: some videos failed and `on_error` is not "skip"; the others are done.
    """
    videos = {track.video: track for track in tracks if track.has_audio}
    return update_store(
        folder,
        ".wav",
        {
            video: fingerprint(version=VERSION, video=track.video_hash, sample_rate=settings.sample_rate)
            for video, track in videos.items()
        },
        {video: (corpus_root / track.video_path, track.video_hash) for video, track in videos.items()},
        _make_audio,
        read_fingerprint,
        execution=execution,
        label="audio",
        on_error=on_error,
        limits_s={video: decoding_limit_s(track.duration_s) for video, track in videos.items()},
        weights={video: track.duration_s for video, track in videos.items()},
    )


def _make_audio(task: tuple[Path, str], path: Path, digest: str) -> None:
    video, video_hash = task
    refuse_changed(video, video_hash)
    # A stream of which nothing can be decoded leaves an empty file: absent audio, and no reason to try again.
    write_audio(path, aligned_audio(video, read_timeline(video)), digest)
