"""Initial weights of a backbone: torchvision's, imported, or from a file; nothing in them is ever executed."""

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor

from avfusion.backbones.catalogue import IMPORT_FOLDER, imported_sources, pretrained, pretrained_sources
from avfusion.backbones.origins import ORIGINS, OWN_FILE, Origin
from avfusion.backbones.registry import Backbone, build_backbone
from avfusion.backbones.weights import BackboneRecord, load_backbone, read_backbone_record
from avfusion.runtime.companions import load_fault
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.named_tensors import load_named, read_checkpoint, read_safetensors, refuse_no_file


def start_backbone(name: str, *, weights: str | None, **options: Any) -> Backbone:
    """Build a backbone with its initial weights: see `build_backbone` and `load_pretrained`."""
    backbone = build_backbone(name, **options)
    if weights not in (None, "random"):
        load_pretrained(backbone, str(weights))
    return backbone


def load_pretrained(backbone: Backbone, weights: str) -> None:
    """Fill a backbone with weights.

    Args:
        weights: `kinetics400` / `imagenet` (torchvision's), `tsav` (from `avfusion import-weights`), or a safetensors
            file. A file holds either the output of `save_backbone` or a bare network under torchvision's names, whose
            classifier (`fc.*`) is ignored.

    Raises:
        BadInputError: the weights do not exist, do not fit, or hold NaN.
        AVFusionError: the weights cannot be downloaded, or changed since their import.
    """
    stream = backbone.stream
    key = f"backbones.{stream}.weights"
    ready = pretrained(backbone.name)
    if weights in pretrained_sources():
        if weights != ready:
            fitting = " and ".join(pretrained_sources()[weights])
            raise BadInputError(f"{key} is {weights!r}: these weights belong to {fitting}, not to {backbone.name}")
        load_named(backbone.network, _torchvision_weights(weights, key, grey=stream == "audio"), weights)
        return
    if weights in imported_sources():
        _load_imported(backbone, weights, key)
        return
    path = Path(weights)
    if path.suffix != ".safetensors":
        names = ", ".join(name for name in ("random", ready, *imported_sources()) if name)
        allowed = f"{names}, or a .safetensors file (pickled checkpoints can run code)"
        raise BadInputError(f"{key} is {weights!r}: must be one of {allowed}")
    refuse_no_file(path, key)
    tensors = read_safetensors(path)
    if any(name.startswith(("network.", "head.")) for name in tensors):
        load_named(backbone, tensors, weights)
    else:
        bare = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
        load_named(backbone.network, bare, weights)


def weights_digest(weights: str, stream: str) -> dict[str, str]:
    """Identity of the initial weights: their name or path, and `sha256` of the file unless the name implies it.

    torchvision's names imply fixed files, unless another file lies in their place.
    """
    path = weights_path(weights, stream)
    if path is None or not path.is_file():
        return {"weights": weights}
    digest = file_digest(path)
    genuine = weights in pretrained_sources() and digest.startswith(_hash_prefix(path))
    return {"weights": weights} | ({} if genuine else {"sha256": digest})


def weights_start(weights: str, stream: str) -> dict[str, Any]:
    """For the record: `weights_digest`, `source` and `licence`, and the original file of imported weights."""
    digest = weights_digest(weights, stream)
    origin = ORIGINS.get(weights, OWN_FILE)
    if weights in pretrained_sources() and "sha256" in digest:
        origin = Origin(f"a file in the place of {origin.source}, whose SHA-256 it does not have", OWN_FILE.licence)
    path = weights_path(weights, stream)
    record = None if weights in pretrained_sources() or path is None else _record_beside(path)
    if record is None or record.identity.sha256 != digest.get("sha256"):
        return digest | origin.to_dict()
    start = record.provenance.get("start", {})
    return digest | {"from": start} | {key: start.get(key, "") for key in ("source", "licence")}


def weights_path(weights: str, stream: str) -> Path | None:
    """The file behind `backbones.<stream>.weights`, whether it exists or not; None for `random`."""
    if weights in pretrained_sources():
        return _torchvision_file(weights)
    if weights in imported_sources():
        return Path(IMPORT_FOLDER) / weights / f"{stream}.safetensors"  # relative to the project, where stages run
    return None if weights == "random" else Path(weights)


def _record_beside(path: Path) -> BackboneRecord | None:
    """The record of a weights file saved by this package; None if its JSON is missing, or the user's own."""
    try:
        return read_backbone_record(path.parent, path.stem)
    except AVFusionError:
        return None


def _load_imported(backbone: Backbone, weights: str, key: str) -> None:
    folder = Path(IMPORT_FOLDER) / weights
    if not (folder / f"{backbone.stream}.safetensors").is_file():
        raise BadInputError(
            f"{key} is {weights!r}, but {folder / f'{backbone.stream}.safetensors'} does not exist: "
            f"`avfusion import-weights {weights} FILE` makes it from the published checkpoint"
        )
    imported, record = load_backbone(folder, backbone.stream)
    if record.identity.name != backbone.name:
        raise BadInputError(
            f"{key} is {weights!r}: these weights belong to {record.identity.name}, not to {backbone.name}"
        )
    backbone.load_state_dict(imported.state_dict())


def _torchvision_enum(weights: str) -> Any:
    if fault := load_fault("torchvision"):
        raise AVFusionError(fault)
    from torchvision.models import ResNet18_Weights
    from torchvision.models.video import R2Plus1D_18_Weights

    return R2Plus1D_18_Weights.KINETICS400_V1 if weights == "kinetics400" else ResNet18_Weights.IMAGENET1K_V1


def _torchvision_file(weights: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(_torchvision_enum(weights).url).name


def _torchvision_weights(weights: str, key: str, *, grey: bool) -> dict[str, Tensor]:
    enum = _torchvision_enum(weights)
    path = _torchvision_file(weights)
    if not path.is_file():
        try:
            enum.get_state_dict(progress=False, check_hash=True, weights_only=True)
        except (URLError, OSError, RuntimeError) as error:
            raise AVFusionError(
                f"{key} is {weights}: {enum.url} cannot be downloaded ({error}); "
                f"put that file into {path.parent}, or set {key} to random or to a safetensors file"
            ) from None
    # Not read by torchvision, which checks only its own downloads and would run code in an existing file.
    tensors = {name: tensor for name, tensor in read_checkpoint(path).items() if not name.startswith("fc.")}
    if grey and "conv1.weight" in tensors:
        # For a grey picture, the three colour filters add up.
        tensors["conv1.weight"] = tensors["conv1.weight"].sum(dim=1, keepdim=True)
    return tensors


def _hash_prefix(path: Path) -> str:
    """The digits of the SHA-256 in the name of torchvision's file."""
    found = re.search(r"-([0-9a-f]+)\.", path.name)
    return found[1] if found else "none"
