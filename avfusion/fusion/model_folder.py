"""A trained model on disk: fusion weights and config, and the backbones of its features.

Three layouts hold the same files: `models/fusion` with `models/backbones` beside it, a folder with both inside, and
the download of a logged MLflow model. Only safetensors and JSON are read, never code.
"""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from avfusion.corpora.notes import corpus_notes
from avfusion.data.settings import GeometrySettings
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import file_digest, fingerprint
from avfusion.runtime.quantities import byte_size
from avfusion.runtime.settings import Count, fault_text

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
STREAMS = ("audio", "visual")
MOST_CONFIG_BYTES = 1_000_000
_INSIDE = ("", "fusion", "artifacts/fusion")
_BACKBONES = ("backbones", "../backbones", "../../backbones")


@dataclass(frozen=True)
class ModelFolder:
    """The parts of a model.

    Attributes:
        fusion: folder of model.safetensors and config.json.
        backbones: the safetensors file of each stream, with its description in the .json beside it.
    """

    fusion: Path
    backbones: dict[str, Path]
    config: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path) -> "ModelFolder":
        """Find the parts of the model at `folder`; the feature spec identifies the backbones by digest.

        Raises:
            BadInputError: there is no model, its config cannot be read, or a backbone is missing or not the right one.
        """
        folder = Path(folder)
        fusion = next((f for name in _INSIDE if ((f := folder / name) / CONFIG).is_file()), None)
        if fusion is None or not (fusion / WEIGHTS).is_file():
            raise BadInputError(f"{folder} holds no model: {WEIGHTS} and {CONFIG} must be there, or in fusion/")
        config = read_config(fusion / CONFIG)
        if not config.get("feature_spec"):
            raise BadInputError(f"{fusion / CONFIG} has no feature_spec: the model is of no use without its features")
        return cls(fusion, {s: _find_backbone(fusion, s, config) for s in STREAMS}, config)

    @property
    def notes(self) -> tuple[str, ...]:
        """What readers of its values must know, from its config; if that says nothing, by the name of its corpus."""
        notes = self.config.get("notes")
        if notes is None:
            return corpus_notes(str((self.config.get("corpus") or {}).get("name", "")))
        return tuple(map(str, notes if isinstance(notes, list) else [notes]))

    def files(self) -> dict[str, Path]:
        """Every file of the model by its path inside a self-contained folder, sorted."""
        parts = {f"fusion/{name}": self.fusion / name for name in (CONFIG, WEIGHTS)}
        for stream, weights in self.backbones.items():
            parts[f"backbones/{stream}.safetensors"] = weights
            parts[f"backbones/{stream}.json"] = weights.with_suffix(".json")
        return dict(sorted(parts.items()))

    def digest(self) -> str:
        """Digest of the model: SHA-256 over names and contents of its files, 64 hexadecimal digits.

        It excludes the backbones' stamps, which record the code that made them.
        """
        listing = "".join(f"{name}\0{_content_digest(path)}\n" for name, path in self.files().items())
        return hashlib.sha256(listing.encode()).hexdigest()

    def copy_to(self, folder: str | Path) -> None:
        """Write a self-contained copy with `fusion/` and `backbones/` inside."""
        for name, path in self.files().items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _content_digest(path: Path) -> str:
    if path.suffix == ".json":
        record = json.loads(path.read_text(encoding="utf-8"))
        return fingerprint(record={key: value for key, value in record.items() if key != "stamp"})
    return file_digest(path)


class _Network(BaseModel, extra="allow"):
    name: str
    audio_dim: Count = 512
    visual_dim: Count = 512
    length: Count = 16


class _Config(BaseModel):
    """Types of what is read of config.json."""

    fusion: _Network
    feature_spec: dict[str, Any] | None = None
    corpus: dict[str, Any] | None = None
    geometry: GeometrySettings | None = None
    frames: dict[str, Any] | None = None
    inference: Literal["overlap", "tile", "causal"] = "overlap"
    notes: list[str] | str | None = None


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of a fusion model, whose sections have the right types.

    Raises:
        FileNotFoundError: there is none.
        BadInputError: it is not a fusion model's config; the message names what is wrong.
    """
    try:
        if path.stat().st_size > MOST_CONFIG_BYTES:
            raise BadInputError(f"{path} is no fusion model's config: it has more than {byte_size(MOST_CONFIG_BYTES)}")
        config = json.loads(path.read_text(encoding="utf-8"))
        _Config.model_validate(config)
    except FileNotFoundError:
        raise
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))}: {fault_text(f['msg'])}" for f in error.errors()[:5])
        raise BadInputError(f"{path} is no fusion model's config: {faults}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(f"{path} is not readable JSON: {error}") from None
    return dict(config)


def _find_backbone(fusion: Path, stream: str, config: dict[str, Any]) -> Path:
    try:
        wanted = config["feature_spec"]["backbones"][stream]["sha256"]
    except (KeyError, TypeError):
        raise BadInputError(f"{fusion / CONFIG}: feature_spec.backbones.{stream}.sha256 is missing") from None
    if not isinstance(wanted, str):
        raise BadInputError(f"{fusion / CONFIG}: feature_spec.backbones.{stream}.sha256 is {wanted!r}: must be a text")
    folders = [(fusion / name).resolve() for name in _BACKBONES]
    candidates = [path for folder in folders if (path := folder / f"{stream}.safetensors").is_file()]
    for path in candidates:
        if file_digest(path) == wanted:
            if not path.with_suffix(".json").is_file():
                raise AVFusionError(f"{path.with_suffix('.json')} is missing: it says what {path.name} is")
            return path
    if candidates:
        raise BadInputError(
            f"{candidates[0]} is not the {stream} backbone that {fusion} was trained with (SHA-256 {wanted[:12]}…): "
            "run `dvc repro`, or put that backbone there"
        )
    raise BadInputError(f"{fusion} needs the {stream} backbone at {folders[1] / f'{stream}.safetensors'}: not there")
