"""The table of tracks, data/corpus/tracks.parquet, from which all later stages know the corpus."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avfusion.corpora.layout import Side
from avfusion.runtime.atomic import atomic_path
from avfusion.runtime.errors import BadInputError

SCHEMA = pa.schema(
    [
        ("track", pa.string()),
        ("video", pa.string()),
        ("split", pa.string()),
        ("video_path", pa.string()),
        ("crops_paths", pa.list_(pa.string())),
        ("labels_path", pa.string()),
        ("video_hash", pa.string()),
        ("crops_hash", pa.string()),
        ("labels_hash", pa.string()),
        ("frames", pa.int64()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("has_audio", pa.bool_()),
        ("label_rows", pa.int64()),
        ("crops", pa.int64()),
        ("warnings", pa.list_(pa.string())),
        ("label_format", pa.string()),
        ("label_delay_s", pa.float64()),
        ("side", pa.string()),
        ("group", pa.string()),
        ("attributes", pa.map_(pa.string(), pa.string())),
    ]
)


@dataclass(frozen=True)
class Track:
    """One annotated face in one video.

    Attributes:
        track: Unique name, also of the files of later stages.
        video: Base video; its tracks share sound and time line.
        split: train, val, test, or "" for none.
        video_path: The video, relative to the corpus root, like the next two; "" for no file.
        video_hash: Hash of the video's content.
        crops_hash: Hash of the crops' names and contents, of several folders joined with `+`.
        labels_hash: Hash of the annotation file's content.
        frames: Video frames; 0 where the video is missing or unreadable.
        duration_s: Seconds from the first frame to the end of the last.
        label_format: "aff-wild2" for annotation files of Aff-Wild2, "csv" for own labels, "ravdess" or "cremad" for a
            label that the file's name says (`avfusion.corpora.acted_names`).
        label_delay_s: Seconds by which the labels lag behind the video.
        side: "left" or "right" person of two in the video; "" for the main person.
        group: Name that it shares with all tracks that are not independent of it (`avfusion.corpora.groups`); by
            default its video.
        attributes: Names and categories of its person's attributes ("" for none); no model sees them.
    """

    track: str
    video: str
    split: str
    video_path: str
    crops_paths: tuple[str, ...]
    labels_path: str
    video_hash: str
    crops_hash: str
    labels_hash: str
    frames: int
    fps: float
    duration_s: float
    has_audio: bool
    label_rows: int
    crops: int
    warnings: tuple[str, ...]
    label_format: str = "aff-wild2"
    label_delay_s: float = 0.0
    side: Side = ""
    group: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        """Give a track without group that of its video alone."""
        object.__setattr__(self, "group", self.group or self.video)


def write_tracks(path: str | Path, tracks: list[Track], shared_digest: str = "") -> None:
    """Write the table, sorted by track; the same arguments give the same bytes.

    Args:
        shared_digest: Hash of the sources that belong to no single track. It is kept in the table's metadata, so that a
            change of those sources changes the table, on which later stages depend.
    """
    rows = [asdict(track) for track in sorted(tracks, key=lambda track: track.track)]
    schema = SCHEMA.with_metadata({b"avfusion": json.dumps({"shared_digest": shared_digest}).encode()})
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary, compression="zstd")


def read_tracks(path: str | Path, *, unusable: bool = False) -> list[Track]:
    """Read the table, sorted by track; tracks without a readable video only if `unusable` is set.

    Raises:
        BadInputError: the file is missing or not a table of tracks.
    """
    path = Path(path)
    try:
        table = pq.read_table(path, partitioning=None)
        present = set(table.column_names)
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: run the stage `corpus`") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _damaged(path, error) from None
    names = [field.name for field in fields(Track)]
    if missing := [name for name in names if name not in present]:
        raise BadInputError(f"{path} has no column {', '.join(missing)}: run the stage `corpus` again")
    tracks = []
    try:
        for row in table.select(names).cast(SCHEMA).to_pylist():
            row |= {name: tuple(row[name]) for name in ("crops_paths", "warnings", "attributes")}
            tracks.append(Track(**row))
    except (pa.ArrowException, UnicodeDecodeError, TypeError) as error:  # wrong types, invalid text, missing lists
        raise _damaged(path, error) from None
    return [track for track in tracks if unusable or track.frames]


def _damaged(path: Path, error: Exception) -> BadInputError:
    reason = " ".join(str(error).split())
    return BadInputError(f"{path} is not a table of tracks ({reason}): run the stage `corpus` again")


def read_shared_digest(path: str | Path) -> str:
    """The `shared_digest` of `write_tracks`; empty if there is none."""
    metadata = pq.read_schema(path).metadata or {}
    return str(json.loads(metadata.get(b"avfusion", b"{}")).get("shared_digest", ""))
