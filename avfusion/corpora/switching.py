"""Another corpus in the same project: what the next run removes of what the last one made.

The stages keep files of the present corpus's tracks alone (`avfusion.data.store`), so setting a project to another
corpus costs the files of the one before.
"""

from collections.abc import Sequence
from pathlib import Path

import yaml

from avfusion.corpora.layout import RawTrack
from avfusion.corpora.settings import CorpusSettings
from avfusion.runtime.quantities import counted

STORES = ("labels", "frames", "audio", "features")  # below data/, a file per track, or per video (audio)


def is_other_corpus(root: Path, params: CorpusSettings) -> bool:
    """Whether the pipeline of the project in `root` last ran on another corpus than `params` name."""
    last = _last_corpus(root)
    return last is not None and last != (params.name, params.root)


def removed_files(root: Path, params: CorpusSettings, tracks: Sequence[RawTrack]) -> str:
    """What the next `dvc repro` removes of another corpus, in words; "" where there is nothing of another.

    Args:
        root: The project.
        params: The corpus that is set now.
        tracks: Its tracks.
    """
    last = _last_corpus(root)
    if last is None or last == (params.name, params.root):
        return ""
    names, videos = {track.track for track in tracks}, {track.video for track in tracks}
    counts = {store: _strangers(root / "data" / store, videos if store == "audio" else names) for store in STORES}
    total = sum(counts.values())
    if not total:
        return ""
    parts = ", ".join(f"{store} {count}" for store, count in counts.items() if count)
    return (
        f"the pipeline last ran on the corpus {last[0]} in {last[1]}: the next `dvc repro` removes "
        f"{counted(total, 'file')} of it below data/ ({parts}) and makes models/ and reports/ anew; "
        "to keep them, use another clone of the project for this corpus"
    )


def _last_corpus(root: Path) -> tuple[str, str] | None:
    """Name and root of the corpus that DVC last ran the stage `corpus` with; None where that is not known."""
    try:
        lock = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))
        corpus = lock["stages"]["corpus"]["params"]["params.yaml"]["corpus"]
        return str(corpus["name"]), str(corpus["root"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _strangers(folder: Path, names: set[str]) -> int:
    """Finished files in a folder that are called by none of the names."""
    return sum(path.is_file() and path.stem not in names and path.name[0] != "." for path in folder.glob("*"))
