"""Where predictions of a video go, in what form, and whose they are.

The CSV has no room for where it comes from. The trace picture beside it carries that in its PNG metadata: the video's
identity, the model and the options. A CSV whose picture names another video, or is missing, belongs to another video.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from avfusion.atomic import atomic_path
from avfusion.corpora.sources import video_source
from avfusion.errors import BadInputError
from avfusion.media.opener import check_media_file

if TYPE_CHECKING:
    import pandas as pd

METADATA_KEY = "avfusion"
COLUMNS = ("frame", "time_s", "valence", "arousal", "face_confidence", "audio_present", "visual_present")


@dataclass(frozen=True)
class Target:
    """A video and the files that its predictions go to."""

    video: Path
    csv: Path

    @property
    def trace(self) -> Path:
        """The picture beside the CSV."""
        return self.csv.with_suffix(".trace.png")


def plan_targets(videos: Sequence[Path], folder: Path | None) -> list[Target]:
    """Give every video its own CSV: `<stem>.csv` in `folder`, or beside the video.

    Where several videos would share a name, each gets its suffix into it (`clip.mp4.csv`), and where that is not
    enough its folder's name too (`a-clip.mp4.csv`). A video given twice is done once. Names are compared without case,
    since not every file system tells them apart.
    """
    unique = list({video.resolve(): video for video in videos}.values())

    def place(video: Path, name: str) -> Path:
        return (folder if folder is not None else video.parent) / name

    def clashes(names: Sequence[Path]) -> set[int]:
        keys = [str(path.absolute()).lower() for path in names]
        count = Counter(keys)
        return {index for index, key in enumerate(keys) if count[key] > 1}

    paths = [place(video, f"{video.stem}.csv") for video in unique]
    for name in (
        lambda video: f"{video.name}.csv",
        lambda video: f"{video.resolve().parent.name}-{video.name}.csv",
        lambda video: "-".join(video.resolve().parts[1:]) + ".csv",
    ):
        for index in clashes(paths):
            paths[index] = place(unique[index], name(unique[index]))
    return [Target(video, path) for video, path in zip(unique, paths, strict=True)]


def video_identity(video: str | Path) -> str:
    """What tells videos apart: a digest over size, first and last MiB, as for the corpus's sources."""
    return video_source(Path(video)).digest


def check_overwrite(target: Target, force: bool) -> None:
    """Refuse to replace another video's CSV.

    Raises:
        BadInputError: the CSV is there and is not this video's, or nothing says whose it is; or the video is no file
            that can be read (as `check_media_file`).
    """
    check_media_file(target.video)
    if force or not target.csv.exists():
        return
    owner = read_provenance(target.trace)
    if owner.get("video_identity") == video_identity(target.video):
        return
    whose = (
        f"holds the predictions of another video named {owner['video']}"
        if "video" in owner
        else f"is there without {target.trace.name}, which would tell whose it is"
    )
    raise BadInputError(
        f"{target.video}: {target.csv} {whose}: choose another folder with -o, or overwrite with --force"
    )


def read_provenance(picture: str | Path) -> dict[str, str]:
    """What a trace picture says about its origin; empty where it says nothing."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(picture) as image:
            found = json.loads(image.info.get(METADATA_KEY, "{}"))
    except (OSError, UnidentifiedImageError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def provenance(target: Target, facts: Mapping[str, object]) -> dict[str, str]:
    """PNG metadata for a trace picture."""
    known = {"video": target.video.name, "video_identity": video_identity(target.video)} | dict(facts)
    return {METADATA_KEY: json.dumps({key: str(value) for key, value in known.items()}, sort_keys=True)}


def write_csv(path: str | Path, predictions: "pd.DataFrame") -> None:
    """Write predictions, one row per video frame, whole or not at all; numbers with 6 decimals, booleans true/false."""
    table = predictions.loc[:, list(COLUMNS)].copy()
    for column in ("audio_present", "visual_present"):
        table[column] = table[column].map({True: "true", False: "false"})
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f", lineterminator="\n")
