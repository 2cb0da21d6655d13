"""A fusion model on disk: model.safetensors and config.json; equal models give equal bytes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from avfusion.fusion.base import FusionModel
from avfusion.fusion.catalogue import find_fusion, fusion_names
from avfusion.fusion.registry import build_fusion
from avfusion.runtime.atomic import atomic_path, write_json
from avfusion.runtime.errors import AVFusionError, BadInputError

WEIGHTS, CONFIG = "model.safetensors", "config.json"


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
        BadInputError: there is no model, or its config cannot be read.
        AVFusionError: the weights are damaged, not finite, or of another architecture; the message names the keys.
    """
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        described = dict(config["fusion"])
        published = described.pop("class", None)
        if published and described["name"] not in fusion_names():
            described["name"] = published
        model = build_fusion(**described)
    except FileNotFoundError:
        raise BadInputError(f"{folder} holds no model ({CONFIG} is missing): run the stage `train`") from None
    except BadInputError as error:
        raise BadInputError(f"{folder}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{folder / CONFIG} is not a fusion model's config ({error!r})") from None
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise AVFusionError(f"{folder / WEIGHTS} does not fit {CONFIG}: {' '.join(str(error).split())}") from None
    if broken := sorted(key for key, value in model.state_dict().items() if not value.isfinite().all()):
        raise AVFusionError(f"{folder / WEIGHTS} holds NaN or infinity in {', '.join(broken)}: train again")
    return model.eval(), config
