"""Files and manifests of own data, for tests of the manifest adapter."""

from pathlib import Path

from avfusion.corpora.adapters import open_corpus
from avfusion.corpora.layout import RawTrack
from avfusion.corpora.settings import CorpusSettings

FILES = ("videos/a.mp4", "videos/b.mov", "s1/cam.mp4", "s2/cam.mp4")


def put(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def opened(root: Path, *lines: str, **params: str) -> dict[str, RawTrack]:
    put(root / "manifest.csv", *lines)
    return {track.track: track for track in open_corpus(CorpusSettings(name="manifest", **params), root).tracks}
