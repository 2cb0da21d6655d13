"""`avfusion import-weights`: convert published checkpoints to folders of safetensors for params.yaml and `predict`.

models/imported/tsav holds both backbones, in the form of the stage `backbones`, and TSAV's whole head;
models/imported/jointcam is a model folder with the imported backbones inside. provenance.json records their source.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from avfusion.backbones.origins import ORIGINS
from avfusion.backbones.registry import build_backbone
from avfusion.backbones.tsav import TSAVHead, load_tsav
from avfusion.backbones.weights import load_backbone, save_backbone
from avfusion.data.feature_spec import AudioTransform, BackboneIdentity, ClipGeometry, FeatureSpec, VisualTransform
from avfusion.data.settings import FramesSettings, GeometrySettings
from avfusion.fusion.files import save_fusion
from avfusion.fusion.published import load_jointcam
from avfusion.runtime.atomic import atomic_path, write_json
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.own_folder import new_folder, refuse_existing

PROVENANCE = "provenance.json"
MADE = "imported"
KINDS = ("tsav", "jointcam")
STREAMS = ("audio", "visual")
NAMES = {"audio": "resnet18", "visual": "r2plus1d_18"}
VALENCE_AROUSAL = slice(7, 9)  # of TSAV's 17 outputs
STRIDE = 8  # default of `predict`; the published stride of 1 takes eight times as long (`predict --stride 1`)
BATCH = 8  # clips


def import_tsav(file: Path, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write TSAV's backbones and head (arXiv 2002.03399) from its published checkpoint into `out`.

    Writes `<stream>.safetensors` and `<stream>.json` as `save_backbone` does, and head.safetensors: `weight` (17, 1024)
    and `bias` (17,) over [audio, visual]. A backbone's own head gets its stream's weights for valence and arousal and
    half of their bias, so that the two heads add up to TSAV's.

    Returns:
        The contents of provenance.json.

    Raises:
        BadInputError: as `load_tsav`; or `out` exists and `force` is not set, or is not an imported folder.
    """
    refuse_existing(out, force, _is_import, MADE)
    audio, visual, head = load_tsav(file)
    provenance = _provenance("tsav", file)
    with new_folder(out, force, _is_import, MADE) as folder:
        for stream, network in (("audio", audio), ("visual", visual)):
            backbone = build_backbone(NAMES[stream], stream=stream)
            backbone.network.load_state_dict(network.state_dict())
            weight, bias = _share(head, stream)
            backbone.head.linear.load_state_dict({"weight": weight, "bias": bias})
            save_backbone(folder, backbone, provenance={"start": provenance})
        with atomic_path(folder / "head.safetensors") as temporary:
            save_file(dict(head.linear.state_dict()), temporary)
        write_json(folder / PROVENANCE, provenance)
    return provenance


def import_jointcam(file: Path, out: Path, *, tsav: Path, force: bool = False) -> dict[str, Any]:
    """Write the published fusion network (arXiv 2209.09068) as a model folder for `predict` and `train.weights`.

    Its inference is `tile` and its geometry the paper's, as published, with a clip at every 8th frame.

    Args:
        tsav: folder of the imported backbones, which are copied into `out`.

    Raises:
        BadInputError: as `load_jointcam`; or the backbones are not imported; or `out` exists and `force` is not set, or
            is not an imported folder.
        AVFusionError: the imported backbones were changed.
    """
    refuse_existing(out, force, _is_import, MADE)
    model = load_jointcam(file)
    provenance = _provenance("jointcam", file)
    spec = FeatureSpec(
        geometry=ClipGeometry(),
        stride=STRIDE,
        audio=AudioTransform(),
        visual=VisualTransform(),
        backbones={"audio": _imported_backbone(tsav, "audio"), "visual": _imported_backbone(tsav, "visual")},
        output="map",
        batch_size=BATCH,
    )
    facts = {
        "feature_spec": spec.to_dict(),
        "geometry": GeometrySettings().model_dump(mode="json"),
        "frames": FramesSettings().model_dump(mode="json", exclude={"contact_sheets"}),
        "inference": "tile",
        "start": provenance,
    }
    with new_folder(out, force, _is_import, MADE) as folder:
        save_fusion(folder, model, facts)
        (folder / "backbones").mkdir()
        for stream in STREAMS:
            for suffix in (".safetensors", ".json"):
                shutil.copyfile(tsav / f"{stream}{suffix}", folder / "backbones" / f"{stream}{suffix}")
        write_json(folder / PROVENANCE, provenance)
    return provenance


def _share(head: TSAVHead, stream: str) -> tuple[torch.Tensor, torch.Tensor]:
    weight = head.linear.weight[VALENCE_AROUSAL]
    half = weight.shape[1] // 2
    return (weight[:, :half] if stream == "audio" else weight[:, half:]), head.linear.bias[VALENCE_AROUSAL] / 2


def _provenance(name: str, file: Path) -> dict[str, Any]:
    return {"name": name, "file": file.name, "sha256": file_digest(file), **ORIGINS[name].to_dict()}


def _imported_backbone(tsav: Path, stream: str) -> BackboneIdentity:
    if not (tsav / f"{stream}.safetensors").is_file():
        raise BadInputError(
            f"{tsav} holds no {stream}.safetensors: the published fusion network needs TSAV's backbones: run "
            "`avfusion import-weights tsav FILE` first, or name their folder with --tsav"
        )
    return load_backbone(tsav, stream)[1].identity


def _is_import(folder: Path) -> bool:
    try:
        return json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["name"] in KINDS
    except (OSError, ValueError, KeyError, TypeError):
        return False
