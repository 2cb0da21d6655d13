"""A fusion model on disk: model.safetensors and config.json; equal models give equal bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import find_fusion, fusion_names
from avfusion.fusion.model_folder import CONFIG, WEIGHTS, read_config
from avfusion.fusion.registry import build_fusion
from avfusion.runtime.atomic import atomic_path, write_json
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.named_tensors import check_fit, load_named, read_safetensors

USUAL_SIZE = 4096  # more than any option of a network has


def save_fusion(folder: Path, model: FusionModel, facts: Mapping[str, Any]) -> None:
    """Write the model into `folder`.

    Args:
        facts: facts for inference: feature_spec, geometry, frames, inference, corpus, notes, and the origin of the
            initial weights (`start`); the model's own configuration is added as `fusion`.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(tensors, temporary)
    write_json(folder / CONFIG, {"fusion": model.config() | _published(model.name), **facts})


def _published(name: str) -> dict[str, str]:
    """The class behind a name that an installed package publishes: elsewhere its source may be there without it."""
    found = find_fusion(name)
    own = ":" in name or found.module.startswith("avfusion.")
    return {} if own else {"class": f"{found.module}:{found.class_name}"}


def load_fusion(folder: Path) -> tuple[FusionModel, dict[str, Any]]:
    """Read the model in `folder`, in eval mode on the CPU, and its config.json.

    Raises:
        BadInputError: there is no model, its config cannot be read, or the weights are damaged, not finite, or of
            another architecture; the message names the keys.
    """
    try:
        config = read_config(folder / CONFIG)
        described = dict(config["fusion"])
        published = described.pop("class", None)
        if published and described["name"] not in fusion_names():
            described["name"] = published
    except FileNotFoundError:
        raise BadInputError(f"{folder} holds no model ({CONFIG} is missing): run the stage `train`") from None
    source = f"of {folder / WEIGHTS}"
    tensors = read_safetensors(folder / WEIGHTS)
    if any(isinstance(value, int) and value > USUAL_SIZE for value in described.values()):
        with torch.device("meta"):  # where sizes cost no memory
            check_fit(_built(folder, described).state_dict(), tensors, source)
    model = _built(folder, described)
    load_named(model, tensors, source)
    return model.eval(), config


def _built(folder: Path, described: dict[str, Any]) -> FusionModel:
    try:
        return build_fusion(**described)
    except BadInputError as error:
        raise BadInputError(f"{folder}: {error}") from None
    except (ValueError, TypeError) as error:
        raise BadInputError(f"{folder / CONFIG} is no fusion model's config ({error!r})") from None
