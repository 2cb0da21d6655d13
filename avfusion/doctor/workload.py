"""The amount of work (frames, seconds, clips), from what is known of the corpus without opening a video."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from avfusion.corpora.settings import RenderSettings
from avfusion.corpora.table import Track
from avfusion.data.category_labels import CATEGORY_READERS
from avfusion.data.own_labels import OwnLabels
from avfusion.data.settings import GeometrySettings

ASSUMED_FPS = 30.0  # frame rate of a video that has not been read
ASSUMED_BYTES_PER_S = 200_000  # of a video without labels and crops
CROP_BYTES = 6000  # of a 112x112 JPEG, if the corpus has no crops
DEMO_FPS, DEMO_FACE_SHARE = 25.0, 0.95  # of the demo before it is rendered


@dataclass(frozen=True)
class Length:
    """Frames and seconds of a video, whether it has sound, and whether all of this is known or assumed."""

    frames: int
    seconds: float
    has_sound: bool
    known: bool


@dataclass(frozen=True)
class Workload:
    """Sums over the usable tracks, or over their videos for what the tracks of a video share.

    Attributes:
        sound_s: Length of the videos with an audio stream.
        ticks: Ticks of the clock of `geometry.fps`, by split.
        crops: Crops that come with the corpus.
        detected: Frames of tracks without crops.
        scored: The split for robustness: test if its labels are known, else val.
    """

    tracks: int
    videos: int
    assumed_videos: int
    seconds: float
    sound_s: float
    frames: dict[str, int]
    ticks: dict[str, int]
    label_rows: int
    crops: int
    crop_bytes: int
    detected: int
    unrendered: bool = False
    scored: str = "val"
    scored_tracks: int = 0

    @property
    def all_frames(self) -> int:
        """Video frames of all tracks."""
        return sum(self.frames.values())

    def clips(self, stride: int, *splits: str) -> int:
        """Number of clips of the splits (default: all), with ends `stride` ticks apart."""
        return sum(ticks // stride for split, ticks in self.ticks.items() if not splits or split in splits)


def workload(
    tracks: Iterable[Track],
    known: Collection[str],
    sizes: Mapping[str, int],
    geometry: GeometrySettings,
    own: Mapping[str, OwnLabels] | None = None,
    *,
    truth: bool = False,
) -> Workload:
    """Add up a corpus.

    Args:
        tracks: Rows of the tracks; `frames` is 0 for a video that has not been read.
        known: Names of the tracks whose video has been read; `frames` is 0 if it is unreadable.
        sizes: Bytes by source; crop folders end with `/`.
        geometry: Settings whose `fps` is the clock of the clips.
        truth: The labels of test tracks are known without annotation files (demo corpus).
    """
    usable = [track for track in tracks if track.video_path and (track.frames or track.track not in known)]
    lengths = _lengths(usable, sizes, own or {})
    frames: dict[str, int] = {}
    ticks: dict[str, int] = {}
    for track in usable:
        length = lengths[track.video]
        frames[track.split] = frames.get(track.split, 0) + length.frames
        count = length.frames if geometry.fps is None else round(length.seconds * geometry.fps)
        ticks[track.split] = ticks.get(track.split, 0) + count
    tested = truth or any(track.split == "test" and track.label_rows for track in usable)
    scored = "test" if tested and ticks.get("test") else "val"
    return Workload(
        tracks=len(usable),
        videos=len(lengths),
        assumed_videos=sum(not length.known for length in lengths.values()),
        seconds=sum(length.seconds for length in lengths.values()),
        sound_s=sum(length.seconds for length in lengths.values() if length.has_sound),
        frames=frames,
        ticks=ticks,
        label_rows=sum(track.label_rows for track in usable),
        crops=sum(track.crops for track in usable),
        crop_bytes=sum(sizes.get(f"{path}/", 0) for track in usable for path in track.crops_paths),
        detected=sum(lengths[track.video].frames for track in usable if not track.crops_paths),
        scored=scored,
        scored_tracks=sum(track.split == scored for track in usable),
    )


def rendered_workload(render: RenderSettings, geometry: GeometrySettings) -> Workload:
    """The workload of the demo corpus before it is rendered."""
    counts = {"train": render.train, "val": render.val, "test": render.test}
    seconds = (render.min_seconds + render.max_seconds) / 2
    frames = {split: round(count * seconds * DEMO_FPS) for split, count in counts.items()}
    fps = geometry.fps or DEMO_FPS
    tracks = sum(counts.values())
    crops = round(sum(frames.values()) * DEMO_FACE_SHARE)
    return Workload(
        tracks=tracks,
        videos=tracks,
        assumed_videos=tracks,
        seconds=tracks * seconds,
        sound_s=tracks * seconds,
        frames=frames,
        ticks={split: round(count * seconds * fps) for split, count in counts.items()},
        label_rows=frames["train"] + frames["val"],
        crops=crops,
        crop_bytes=crops * CROP_BYTES // 3,  # drawings are smooth
        detected=0,
        unrendered=True,
        scored="test",
        scored_tracks=counts["test"],
    )


def has_row_per_frame(track: Track) -> bool:
    """Whether every video frame has a label by number; own labels may have times of their own."""
    return bool(track.labels_path) and track.label_format in ("aff-wild2", *CATEGORY_READERS)


def _labelled_frames(track: Track, own: Mapping[str, OwnLabels]) -> int:
    """Last frame that the labels of a track reach; labels by time at the assumed rate."""
    labels = own.get(track.track)
    if labels is None:
        return track.label_rows * has_row_per_frame(track)
    last = float(labels.stamps[-1])
    return max(0, round((last - track.label_delay_s) * ASSUMED_FPS if labels.by == "time" else last))


def _lengths(tracks: Iterable[Track], sizes: Mapping[str, int], own: Mapping[str, OwnLabels]) -> dict[str, Length]:
    """Lengths by video; an unknown length is that of the longest annotation or crop folder, else by bytes."""
    groups: dict[str, list[Track]] = {}
    for track in tracks:
        groups.setdefault(track.video, []).append(track)
    lengths = {}
    for video, group in groups.items():
        if seen := next((track for track in group if track.frames), None):
            lengths[video] = Length(seen.frames, seen.duration_s, seen.has_audio, True)
            continue
        frames = max(max(_labelled_frames(track, own), track.crops) for track in group)
        if not frames:
            frames = round(sizes.get(group[0].video_path, 0) / ASSUMED_BYTES_PER_S * ASSUMED_FPS)
        lengths[video] = Length(frames, frames / ASSUMED_FPS, True, False)
    return lengths
