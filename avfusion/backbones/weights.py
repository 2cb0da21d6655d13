"""Backbone weights: safetensors, with a JSON record of their origin beside it; nothing is ever executed."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors.torch import save_file

from avfusion.backbones.registry import Backbone, build_backbone
from avfusion.data.feature_spec import BackboneIdentity
from avfusion.runtime.atomic import atomic_path, write_json
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.named_tensors import load_named, read_safetensors, refuse_unusable
from avfusion.runtime.stamps import Stamp


@dataclass(frozen=True)
class BackboneRecord:
    """The record of a saved backbone: the JSON beside its weights.

    Attributes:
        identity: name, shape and the SHA-256 of the weights file.
        provenance: origin of the weights (`start`: see `avfusion.backbones.pretrained.weights_start`; parameters of the
            training).
        metrics: scores of its head, named with their pooling and split.
        history: a mapping per epoch of the training.
        stamp: stamp of the training's inputs and code; None: not trained here.
    """

    identity: BackboneIdentity
    stream: str
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    stamp: Stamp | None = None


def save_backbone(
    folder: str | Path,
    backbone: Backbone,
    *,
    provenance: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    history: list[dict[str, float]] | None = None,
    wanted: Stamp | None = None,
) -> BackboneRecord:
    """Write `<stream>.safetensors` (parameters and head, float32) and `<stream>.json` into `folder`.

    The stamp gets the SHA-256 of the weights as its content.
    """
    folder = Path(folder)
    path = folder / f"{backbone.stream}.safetensors"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    refuse_unusable(tensors, path.name)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
    start = (provenance or {}).get("start", {})
    trained = ", then trained here" if start.get("source") and (provenance or {}).get("best_epoch") else ""
    identity = BackboneIdentity(
        name=backbone.name,
        width=backbone.width,
        input_size=backbone.input_size,
        feature_dim=backbone.feature_dim,
        sha256=file_digest(path),
        source=start.get("source", "") + trained,
        licence=start.get("licence", ""),
    )
    stamp = wanted.completed(identity.sha256) if wanted else None
    record = BackboneRecord(identity, backbone.stream, provenance or {}, metrics or {}, history or [], stamp)
    write_backbone_record(folder, record)
    return record


def write_backbone_record(folder: Path, record: BackboneRecord) -> None:
    """Write `<stream>.json` beside the weights that it describes."""
    content = record.identity.model_dump() | {
        "stream": record.stream,
        "provenance": record.provenance,
        "metrics": record.metrics,
    }
    if record.stamp:
        content |= {"history": record.history, "stamp": record.stamp.to_dict()}
    write_json(folder / f"{record.stream}.json", content)


def read_backbone_record(folder: str | Path, stream: str) -> BackboneRecord:
    """Read `<folder>/<stream>.json`.

    Raises:
        AVFusionError: the file is missing or not a backbone's record.
    """
    path = Path(folder) / f"{stream}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        shape = {name: content[name] for name in BackboneIdentity.model_fields if name in content}
        identity = BackboneIdentity(**shape)
        stamp = Stamp.from_dict(content["stamp"]) if "stamp" in content else None
        known = (content["stream"], content["provenance"], content["metrics"], content.get("history", []))
        return BackboneRecord(identity, *known, stamp)
    except ValidationError as error:  # its text has many lines
        faults = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        raise AVFusionError(f"{path} does not describe a backbone (missing or wrong: {faults})") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AVFusionError(f"{path} does not describe a backbone ({type(error).__name__}: {error})") from None


def load_backbone(folder: str | Path, stream: str, *, output: str = "pooled") -> tuple[Backbone, BackboneRecord]:
    """Load what `save_backbone` wrote, in evaluation mode.

    Raises:
        AVFusionError: a file is missing, truncated, or does not match its record.
    """
    path = Path(folder) / f"{stream}.safetensors"
    record = read_backbone_record(folder, stream)
    identity = record.identity
    if not path.is_file():
        raise AVFusionError(f"{path} is missing: run the backbones stage")
    if file_digest(path) != identity.sha256:
        raise AVFusionError(f"{path} is not the file that {stream}.json describes (its SHA-256 differs)")
    backbone = build_backbone(
        identity.name, stream=stream, width=identity.width, input_size=identity.input_size, output=output
    )
    load_named(backbone, read_safetensors(path), str(path))
    return backbone.eval(), record
