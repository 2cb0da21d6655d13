"""Backbone weights: safetensors with a JSON beside it that says where they came from; nothing is ever executed."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors.torch import save_file
from torch import Tensor

from avfusion.atomic import atomic_path, write_json
from avfusion.backbones.registry import Backbone, build_backbone
from avfusion.data.feature_spec import BackboneIdentity
from avfusion.errors import AVFusionError, BadInputError
from avfusion.fingerprints import file_digest
from avfusion.model_names import PRETRAINED
from avfusion.named_tensors import load_named, read_safetensors, refuse_unusable


@dataclass(frozen=True)
class BackboneRecord:
    """What is known of a saved backbone: the JSON beside its weights.

    Attributes:
        identity: name, shape and the SHA-256 of the weights file.
        stream: `audio` or `visual`.
        provenance: where the weights came from (start, fingerprint of the training, its parameters).
        metrics: scores of its head, named with their pooling and split.
    """

    identity: BackboneIdentity
    stream: str
    provenance: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


def save_backbone(
    folder: str | Path,
    backbone: Backbone,
    *,
    provenance: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> BackboneRecord:
    """Write `<stream>.safetensors` (parameters and head, float32) and `<stream>.json` into `folder`."""
    folder = Path(folder)
    path = folder / f"{backbone.stream}.safetensors"
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}
    refuse_unusable(tensors, path.name)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
    identity = BackboneIdentity(
        name=backbone.name,
        width=backbone.width,
        input_size=backbone.input_size,
        feature_dim=backbone.feature_dim,
        sha256=file_digest(path),
    )
    record = BackboneRecord(identity, backbone.stream, provenance or {}, metrics or {})
    content = identity.model_dump() | {
        "stream": record.stream,
        "provenance": record.provenance,
        "metrics": record.metrics,
    }
    write_json(path.with_suffix(".json"), content)
    return record


def read_backbone_record(folder: str | Path, stream: str) -> BackboneRecord:
    """Read `<folder>/<stream>.json`.

    Raises:
        AVFusionError: it is missing or not such a file.
    """
    path = Path(folder) / f"{stream}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        identity = BackboneIdentity(**{name: content[name] for name in BackboneIdentity.model_fields})
        return BackboneRecord(identity, content["stream"], content["provenance"], content["metrics"])
    except (OSError, ValueError, KeyError) as error:
        raise AVFusionError(f"{path} does not describe a backbone ({type(error).__name__}: {error})") from None


def load_backbone(folder: str | Path, stream: str, *, output: str = "pooled") -> tuple[Backbone, BackboneRecord]:
    """Load what `save_backbone` wrote, in evaluation mode.

    Raises:
        AVFusionError: a file is missing, truncated or changed since it was described.
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


def load_pretrained(backbone: Backbone, weights: str) -> None:
    """Fill a backbone with `kinetics400` / `imagenet` (torchvision's) or the contents of a safetensors file.

    A file holds either what `save_backbone` writes or a bare network under torchvision's names; a bare network's
    classifier (`fc.*`) is left out.

    Raises:
        BadInputError: the weights do not exist, do not fit, or hold NaN.
        AVFusionError: they cannot be downloaded.
    """
    key = f"backbones.{backbone.stream}.weights"
    ready = PRETRAINED.get(backbone.name)
    if weights in PRETRAINED.values():
        if weights != ready:
            fitting = " and ".join(name for name, pretrained in PRETRAINED.items() if pretrained == weights)
            raise BadInputError(f"{key} is {weights!r}: these weights are of {fitting}, not of {backbone.name}")
        load_named(backbone.network, _torchvision_weights(weights, key, grey=backbone.stream == "audio"), weights)
        return
    path = Path(weights)
    if path.suffix != ".safetensors":
        allowed = f"random, {f'{ready}, ' if ready else ''}or a .safetensors file (pickled checkpoints can run code)"
        raise BadInputError(f"{key} is {weights!r}: allowed are {allowed}")
    if not path.is_file():
        raise BadInputError(f"{key}: {weights} does not exist")
    tensors = read_safetensors(path)
    if any(name.startswith(("network.", "head.")) for name in tensors):
        load_named(backbone, tensors, weights)
    else:
        bare = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
        load_named(backbone.network, bare, weights)


def _torchvision_weights(weights: str, key: str, *, grey: bool) -> dict[str, Tensor]:
    from torchvision.models import ResNet18_Weights
    from torchvision.models.video import R2Plus1D_18_Weights

    enum = R2Plus1D_18_Weights.KINETICS400_V1 if weights == "kinetics400" else ResNet18_Weights.IMAGENET1K_V1
    try:
        tensors = dict(enum.get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise AVFusionError(
            f"{key} is {weights}: {enum.url} cannot be downloaded ({error}); "
            f"put that file into {folder}, or set {key} to random or to a safetensors file"
        ) from None
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    if grey:
        # A grey picture excites the sum of the three colour filters.
        tensors["conv1.weight"] = tensors["conv1.weight"].sum(dim=1, keepdim=True)
    return tensors
