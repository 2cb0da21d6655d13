"""Where predictions of a video go, whose they are, and whether they are up to date.

A table has no room for where it comes from. The trace picture beside it carries that in its PNG metadata: the video's
identity, the model, the options, and the digest of the table. A table whose picture names another video, or is missing,
belongs to another video.
"""

import errno
import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from avfusion.corpora.source_hashes import file_source
from avfusion.inference.analysis import MAIN, person_names
from avfusion.media.opener import check_media_file
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.printable import printable

METADATA_KEY = "avfusion"
TABLE_DIGEST = "table_sha256"
PERSONS = "persons"


@dataclass(frozen=True)
class Target:
    """A video and the table that the predictions of one person in it go to."""

    video: Path
    table: Path

    @property
    def trace(self) -> Path:
        """The picture beside the table."""
        return self.table.with_suffix(".trace.png")

    @property
    def files(self) -> tuple[Path, Path]:
        """The table and the picture."""
        return self.table, self.trace

    def of(self, person: str) -> "Target":
        """The target of another person: `<stem>.<person>.csv` beside the main person's `<stem>.csv`."""
        if person == MAIN:
            return self
        return Target(self.video, self.table.with_name(f"{self.table.stem}.{person}{self.table.suffix}"))


def plan_targets(videos: Sequence[Path], folder: Path | None, suffix: str = ".csv") -> list[Target]:
    """Give every video its own table: `<stem>.csv` in `folder`, or beside the video.

    Where several videos would share a name, each gets its suffix into it (`clip.mp4.csv`), and where that is not
    enough its folder's name too (`a-clip.mp4.csv`). A video given twice is done once. Names are compared without case,
    since not every file system tells them apart.
    """
    unique = list({_real(video): video for video in videos}.values())

    def place(video: Path, name: str) -> Path:
        return (folder if folder is not None else video.parent) / name

    def clashes(names: Sequence[Path]) -> set[int]:
        keys = [str(path.absolute()).lower() for path in names]
        count = Counter(keys)
        return {index for index, key in enumerate(keys) if count[key] > 1}

    paths = [place(video, f"{video.stem}{suffix}") for video in unique]
    for name in (
        lambda video: f"{video.name}{suffix}",
        lambda video: f"{_real(video).parent.name}-{video.name}{suffix}",
        lambda video: "-".join(_real(video).parts[1:]) + suffix,
    ):
        for index in clashes(paths):
            paths[index] = place(unique[index], name(unique[index]))
    return [Target(video, path) for video, path in zip(unique, paths, strict=True)]


def _real(video: Path) -> Path:
    """The path without links; of a link that leads to itself, the link."""
    return Path(os.path.realpath(video))


def video_identity(video: str | Path) -> str:
    """What tells videos apart: a digest of the whole content, read once while the file stays as it is."""
    status = os.stat(video)
    return _content(str(video), status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)


@lru_cache(maxsize=64)
def _content(video: str, *state: int) -> str:
    return file_source(Path(video)).digest


def check_overwrite(target: Target, force: bool) -> None:
    """Refuse to replace another video's table.

    Raises:
        BadInputError: the table is there and is not this video's, or nothing says whose it is; or the video is no file
            that can be read (as `check_media_file`).
    """
    check_media_file(target.video)
    if force or not target.table.exists():
        return
    owner = read_provenance(target.trace)
    if owner.get("video_identity") == video_identity(target.video):
        return
    whose = (
        f"holds the predictions of another video named {owner['video']}, or of this one before it was edited"
        if "video" in owner
        else f"is there without {target.trace.name}, which would tell whose it is"
    )
    raise BadInputError(
        f"{target.video}: {target.table} {whose}: choose another folder with -o, or overwrite with --force"
    )


def nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(part for part in (folder, *folder.absolute().parents) if part.exists())


def check_names(target: Target, files: Sequence[Path]) -> None:
    """Refuse a video whose name is so long that names of the files made from it would be too long.

    Raises:
        BadInputError: the file system has no room for such a name; or the video is no file that can be read.
    """
    check_media_file(target.video)
    folder = nearest_existing(target.table.parent)
    for file in files:
        try:
            (folder / file.name).lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                ending = file.name.removeprefix(target.table.stem)
                raise BadInputError(f"{target.video}: its name leaves no room for {ending}: rename the video") from None


def check_writable(target: Target) -> None:
    """Refuse before the work what cannot be written after it.

    Raises:
        BadInputError: nothing may be written where the table belongs.
    """
    folder = nearest_existing(target.table.parent)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError(f"{target.video}: {folder} may not be written to: name another folder with -o")


def is_done(
    target: Target,
    facts: Mapping[str, str],
    besides: Callable[[Target, Mapping[str, str]], bool] = lambda target, facts: True,
) -> bool:
    """Whether the tables of all persons are there, whole, of this very video, and made by these facts.

    Args:
        target: of the main person.
        facts: what decides the tables.
        besides: says it of what is to lie beside the main person's table.
    """
    number = read_provenance(target.trace).get(PERSONS, "")
    if not number.isdecimal() or not target.table.is_file():
        return False
    wanted = dict(facts) | {"video_identity": video_identity(target.video)}
    targets = [target.of(name) for name in person_names(int(number))]
    return all(_is_made_by(each, wanted) for each in targets) and besides(target, facts)


def _is_made_by(target: Target, wanted: Mapping[str, str]) -> bool:
    origin = read_provenance(target.trace)
    known = target.table.is_file() and wanted.items() <= origin.items()
    return known and file_digest(target.table) == origin.get(TABLE_DIGEST)


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
    """Where the predictions of a target come from: its video and the given facts, as texts."""
    known = {"video": target.video.name, "video_identity": video_identity(target.video)} | dict(facts)
    return {key: printable(str(value)) for key, value in known.items()}


def picture_metadata(origin: Mapping[str, str]) -> dict[str, str]:
    """PNG metadata for a trace picture."""
    return {METADATA_KEY: json.dumps(dict(origin), sort_keys=True)}
