"""Keep data/audio current: one aligned WAV per video with sound."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from avfusion.corpora.table import Track
from avfusion.data.audio import read_stamp
from avfusion.data.settings import AudioSettings
from avfusion.data.store import Store, StoreReport, update_store
from avfusion.data.video_sound import SoundTask, make_audio
from avfusion.media.time_limits import decoding_limit_s
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import ExecutionSettings
from avfusion.runtime.stamps import Stamp
from avfusion.runtime.units import unit_digest


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
    return update_store(
        audio_store(folder, corpus_root, tracks, settings),
        execution=execution,
        label="audio",
        on_error=on_error,
        limits_s={track.video: decoding_limit_s(track.duration_s) for track in tracks},
        weights={track.video: track.duration_s for track in tracks},
    )


def audio_store(folder: Path, corpus_root: Path, tracks: Sequence[Track], settings: AudioSettings) -> Store[SoundTask]:
    """The WAV files that should be in `folder`: one for each video with an audio stream."""
    videos = {track.video: track for track in tracks if track.has_audio}
    code = unit_digest("audio")
    return Store(
        folder,
        ".wav",
        {
            video: Stamp(fingerprint(video=track.video_hash, sample_rate=settings.sample_rate), code)
            for video, track in videos.items()
        },
        {video: SoundTask(corpus_root / track.video_path, track.video_hash) for video, track in videos.items()},
        make_audio,
        read_stamp,
    )
