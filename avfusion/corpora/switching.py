"""Another corpus in the same project: which files of the last corpus the next run removes.

The stages keep only files of the current corpus's tracks (`avfusion.data.store`), so switching a project to another
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
    """Whether the pipeline of the project in `root` last ran on a corpus other than that in `params`."""
    last = _last_corpus(root)
    return last is not None and last != (params.name, params.root)


def removed_files(root: Path, params: CorpusSettings, tracks: Sequence[RawTrack]) -> str:
    """A message about what the next `dvc repro` removes of another corpus; "" if there is nothing to remove."""
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
        f"{counted(total, 'file')} of it below data/ ({parts}) and remakes models/ and reports/; "
        "to keep them, use another clone of the project for this corpus"
    )


def _last_corpus(root: Path) -> tuple[str, str] | None:
    """Name and root of the corpus of DVC's last run of the stage `corpus`; None if unknown."""
    try:
        lock = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))
        corpus = lock["stages"]["corpus"]["params"]["params.yaml"]["corpus"]
        return str(corpus["name"]), str(corpus["root"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _strangers(folder: Path, names: set[str]) -> int:
    """Number of finished files in a folder with none of the names."""
    return sum(path.is_file() and path.stem not in names and path.name[0] != "." for path in folder.glob("*"))
