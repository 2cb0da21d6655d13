"""Open corpora of acted emotion, as they are published: RAVDESS and CREMA-D.

A track is a clip with sound and picture; its name says actor, category and strength (`avfusion.corpora.acted_names`).
Splits are disjoint by actor: of the actors found, in order, the last sixth (at least one) is the test split, the sixth
before it the validation split. With all of them: RAVDESS 16, 4 and 4 actors, CREMA-D 61, 15 and 15.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avfusion.corpora.acted_names import CLIP_NAMES, ActedClip
from avfusion.corpora.layout import VIDEO_SUFFIXES, CorpusLayout, RawTrack, contents, walk_files
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import counted

FEWEST_ACTORS = 3
NAMES_SHOWN = 5
LONGEST_POINTER = 1024  # bytes


@dataclass(frozen=True)
class _Publication:
    """How a corpus is published: its name, an example of a clip, and where its clips come from."""

    title: str
    example: str
    download: str


PUBLISHED = {
    "ravdess": _Publication(
        "RAVDESS",
        "Actor_01/01-01-06-01-02-01-01.mp4",
        "unpack Video_Speech_Actor_01.zip to Video_Speech_Actor_24.zip (Audio_*.zip hold sound alone)",
    ),
    "cremad": _Publication(
        "CREMA-D",
        "VideoFlash/1001_DFA_ANG_XX.flv",
        "fetch the folder VideoFlash with git-lfs (AudioWAV and AudioMP3 hold sound alone)",
    ),
}


def open_acted(corpus: str, params: CorpusSettings, root: Path) -> CorpusLayout:
    """Find the clips of the corpus below `root`, in whatever folders the archives were unpacked to.

    Raises:
        BadInputError: the folder is missing or has no such clips, one clip twice, clips not fetched by git-lfs, or
            clips of fewer than three actors.
    """
    published = PUBLISHED[corpus]
    root = Path(os.path.abspath(root))
    if not root.is_dir():
        raise BadInputError(f"corpus.root {root} is missing: {_hint(published)}")
    files = [path for path in walk_files(root) if path.suffix.lower() in VIDEO_SUFFIXES]
    clips: dict[str, tuple[Path, ActedClip]] = {}
    strange, single = [], 0
    for path in files:
        clip = CLIP_NAMES[corpus](path.name)
        if clip is None:
            strange.append(path)
        elif not clip.both:
            single += 1
        elif path.stem in clips:
            first = clips[path.stem][0].relative_to(root)
            raise BadInputError(f"{first} and {path.relative_to(root)} are one clip twice: remove one of them")
        else:
            clips[path.stem] = path, clip
    if not clips:
        alone = f" ({counted(single, 'clip')} without sound)" if single else ""
        found = f"{root} has {contents(root)}{alone}"
        raise BadInputError(f"corpus.root has no clip of {published.title}: {found}: {_hint(published)}")
    if pointers := [path for path, _ in clips.values() if _is_pointer(path)]:
        some = f"{counted(len(pointers), 'clip')} of {published.title} ({pointers[0].relative_to(root)})"
        raise BadInputError(f"{some} not fetched by git-lfs yet: run `git lfs pull` in the clone")
    splits = actor_splits({clip.actor for _, clip in clips.values()}, published.title)
    tracks = [_track(corpus, path.relative_to(root).as_posix(), clip, splits) for path, clip in clips.values()]
    notes = [f"{counted(single, 'clip')} without sound, twins of clips with it"] if single else []
    if strange:
        names = ", ".join(path.relative_to(root).as_posix() for path in strange[:NAMES_SHOWN])
        notes.append(f"{counted(len(strange), 'video')} without a name of {published.title}: {names}")
    return CorpusLayout(tuple(sorted(tracks, key=lambda track: track.track)), (), tuple(notes))


ACTED: dict[str, Callable[[CorpusSettings, Path], CorpusLayout]] = {
    corpus: partial(open_acted, corpus) for corpus in PUBLISHED
}


def actor_splits(actors: Iterable[str], title: str) -> dict[str, str]:
    """The split of each actor.

    Raises:
        BadInputError: there are fewer than three actors, so that a split would be empty.
    """
    names: Sequence[str] = sorted(actors)
    if len(names) < FEWEST_ACTORS:
        raise BadInputError(
            f"{counted(len(names), 'actor')} of {title} found ({', '.join(names)}): train, val and test need one each, "
            "since no person may be in two splits: download clips of more actors"
        )
    share = max(1, len(names) // 6)
    splits = ["train"] * (len(names) - 2 * share) + ["val"] * share + ["test"] * share
    return dict(zip(names, splits, strict=True))


def _track(corpus: str, path: str, clip: ActedClip, splits: dict[str, str]) -> RawTrack:
    """The track of a clip; the label stands in the video's name, so the video is the file of labels, too."""
    name = Path(path).stem
    return RawTrack(
        track=name,
        video=name,
        split=splits[clip.actor],
        video_path=path,
        labels_path=path,
        label_format=corpus,
        group=clip.actor,
    )


def _is_pointer(path: Path) -> bool:
    """Whether git-lfs has yet to fetch the file."""
    if not path.is_file() or path.stat().st_size > LONGEST_POINTER:
        return False
    return path.read_bytes().startswith(b"version https://git-lfs")


def _hint(published: _Publication) -> str:
    return f"{published.download}; a clip is called, say, {published.example}"
