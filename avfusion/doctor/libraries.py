"""Results that were made with other versions of libraries than those in use."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from avfusion.backbones.weights import read_backbone_record
from avfusion.corpora.demo import render
from avfusion.data import audio, features, frames, labels
from avfusion.doctor.report import Item
from avfusion.runtime.stamps import Stamp, library_versions

# Stage: where its results lie below the project, and what reads their stamps.
STAMPED: Mapping[str, tuple[str, Callable[[Path], Stamp | None]]] = {
    "render": ("data/raw/demo/truth/*.json", render.read_stamp),
    "labels": ("data/labels/*.parquet", labels.read_stamp),
    "frames": ("data/frames/*.parquet", frames.read_stamp),
    "audio": ("data/audio/*.wav", audio.read_stamp),
    "backbones": ("models/backbones/**/*.json", lambda path: read_backbone_record(path.parent, path.stem).stamp),
    "features": ("data/features/*.safetensors", features.read_stamp),
}


def look_at_libraries(root: Path) -> list[Item]:
    """A line per stage with results of other versions; none where all are of those in use."""
    items = []
    for stage, (pattern, read_stamp) in STAMPED.items():
        total, others = 0, Counter[str]()
        for stamp in _stamps(root, pattern, read_stamp):
            total += 1
            others.update(f"{name} {made}" for name, made in stamp.libraries.items() if _differs(name, made))
        if others:
            names = sorted({text.partition(" ")[0] for text in others})
            made = ", ".join(f"{text} ({count} of {total})" for text, count in sorted(others.items()))
            now = ", ".join(f"{name} {library_versions()[name]}" for name in names)
            text = f"results of stage {stage} were made with {made}; in use: {now}; they are kept as they are"
            items.append(Item("environment", f"libraries of {stage}", "warn", text))
    return items


def _differs(name: str, made: str) -> bool:
    """Whether another version of a library is in use; one that numbers no longer depend on does not count."""
    return library_versions().get(name, made) != made


def _stamps(root: Path, pattern: str, read_stamp: Callable[[Path], Stamp | None]) -> Iterator[Stamp]:
    for path in sorted(root.glob(pattern)):
        try:
            stamp = read_stamp(path)
        except Exception:  # the stage makes it anew, and says so
            continue
        if stamp is not None:
            yield stamp
