"""A worker's task: write the sound of a video as a file of the audio store."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avfusion.corpora.source_hashes import refuse_changed
from avfusion.data.audio import write_audio
from avfusion.media.audio import aligned_audio
from avfusion.media.audio_track import timeline_with_sound
from avfusion.runtime.stamps import Stamp


@dataclass(frozen=True)
class SoundTask:
    """A worker's input for one video's sound."""

    video: Path
    video_hash: str


def make_audio(task: SoundTask, path: Path, wanted: Stamp) -> None:
    """Write one video's WAV to `path`, and say so if some channels are not heard.

    A stream that cannot be decoded gives an empty file: the audio is absent, and it is not tried again.
    """
    refuse_changed(task.video, task.video_hash)
    write_audio(
        path, aligned_audio(task.video, timeline_with_sound(task.video), on_warning=partial(_say, task.video)), wanted
    )


def _say(video: Path, note: str) -> None:
    print(f"audio: {video.name}: {note}", flush=True)
