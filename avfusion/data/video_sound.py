"""From a video to its sound, as a file of the audio store: what a worker does."""

from dataclasses import dataclass
from pathlib import Path

from avfusion.corpora.sources import refuse_changed
from avfusion.data.audio import write_audio
from avfusion.media.audio import aligned_audio
from avfusion.media.timeline import read_timeline
from avfusion.runtime.stamps import Stamp


@dataclass(frozen=True)
class SoundTask:
    """What a worker needs to make one video's sound."""

    video: Path
    video_hash: str


def make_audio(task: SoundTask, path: Path, wanted: Stamp) -> None:
    """Write one video's WAV to `path`.

    A stream of which nothing can be decoded leaves an empty file: absent audio, and no reason to try again.
    """
    refuse_changed(task.video, task.video_hash)
    write_audio(path, aligned_audio(task.video, read_timeline(task.video)), wanted)
