"""What published weights have seen: scores on the corpus that they were trained on are marked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from avfusion.backbones.origins import ORIGINS, OWN_FILE, Origin
from avfusion.data.feature_spec import FeatureSpec

_TRAINED_ON = {ORIGINS["tsav"].source: "affwild2", ORIGINS["jointcam"].source: "affwild2"}
MAY_HAVE, UNKNOWN = "may have", "unknown"


@dataclass(frozen=True)
class SeenData:
    """What weights that scores rest on have seen of a corpus before the training here.

    Attributes:
        may_have: notes on weights that may have seen its validation videos.
        unknown: notes on weights of which nobody here can tell.
    """

    may_have: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    def on(self, split: str) -> "SeenData":
        """What concerns scores on one split: labels of test videos were in nobody's hands."""
        return SeenData(() if split == "test" else self.may_have, self.unknown)

    @property
    def mark(self) -> str:
        """`may have`, else `unknown`, else ""."""
        return MAY_HAVE if self.may_have else UNKNOWN if self.unknown else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes."""
        return (*self.may_have, *self.unknown)


def model_origins(spec: FeatureSpec, start: Mapping[str, Any] | None) -> dict[str, Origin]:
    """Origin of the weights behind features and, from the facts of its start, behind a fusion model, by part."""
    parts = {f"{stream} backbone": Origin(b.source, b.licence) for stream, b in sorted(spec.backbones.items())}
    if start:
        parts["fusion model"] = Origin(start.get("source", OWN_FILE.source), start.get("licence", OWN_FILE.licence))
    return parts


def seen_data(parts: Mapping[str, Origin], corpus: str) -> SeenData:
    """What the weights of a model's parts have seen of a corpus; training them further does not undo it.

    Args:
        parts: origin of the weights that a part started from, by its name for people.
        corpus: the scored corpus, as in `corpus.name`.
    """
    may = _by_source((part, origin) for part, origin in parts.items() if _TRAINED_ON.get(origin.source) == corpus)
    unknown = _by_source((part, origin) for part, origin in parts.items() if origin.licence == OWN_FILE.licence)
    return SeenData(
        tuple(
            f"the weights behind the {part} may have seen validation videos, so that scores on them may be too high: "
            f"{source} was trained on this corpus, on splits that need not be today's"
            for source, part in may.items()
        ),
        tuple(
            f"what the weights behind the {part} have seen is not known here ({source}): scores hold if none of the "
            "scored videos is among it"
            for source, part in unknown.items()
        ),
    )


def _by_source(parts: Iterable[tuple[str, Origin]]) -> dict[str, str]:
    """Names of parts, joined, by the source of their weights."""
    found: dict[str, list[str]] = {}
    for part, origin in parts:
        found.setdefault(origin.source, []).append(part)
    return {source: " and the ".join(names) for source, names in found.items()}
