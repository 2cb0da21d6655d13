"""What weights ask of a project: that they are imported, fit how batch norm is trained, and room for visual maps."""

from pathlib import Path

from avfusion.config import Params
from avfusion.doctor.costs import feature_bytes
from avfusion.doctor.report import Item
from avfusion.doctor.workload import Workload
from avfusion.model_names import IMPORT_FOLDER, IMPORTED

LARGE_MAPS_GB = 10.0
CHEAPER_STRIDE = 8


def look_at_imports(root: Path, params: Params) -> list[Item]:
    """Items on weights that params.yaml names and nobody has imported."""
    items = []
    for stream, backbone in (("visual", params.backbones.visual), ("audio", params.backbones.audio)):
        file = f"{IMPORT_FOLDER}/{backbone.weights}/{stream}.safetensors"
        if backbone.weights in IMPORTED and not (root / file).is_file():
            fault = f"{file} does not exist: run `avfusion import-weights {backbone.weights} FILE`"
            items.append(Item("params", f"backbones.{stream}.weights", "missing", fault))
    weights = params.train.weights
    if weights is not None and not (root / weights / "config.json").is_file():
        fault = (
            f"{weights} holds no model: run `avfusion import-weights jointcam FILE`, or name a trained model's folder"
        )
        items.append(Item("params", "train.weights", "missing", fault))
    return items


def look_at_batch_norm(params: Params) -> list[Item]:
    """A warning where random weights are trained with the statistics of batch norm kept: there are none to keep."""
    streams = {"visual": params.backbones.visual, "audio": params.backbones.audio}
    trained = [stream for stream, backbone in streams.items() if backbone.weights == "random" and backbone.epochs]
    if params.backbones.batch_norm != "frozen" or not trained:
        return []
    text = f"frozen, while {' and '.join(trained)} weights start at random, without statistics worth keeping: set train"
    return [Item("params", "backbones.batch_norm", "warn", text)]


def look_at_maps(params: Params, work: Workload) -> list[Item]:
    """What visual maps take, where they are asked for; a warning where that is much."""
    if params.backbones.output != "map":
        return []
    stride = params.features.stride
    size = feature_bytes(work.clips(stride), params) / 1e9
    text = f"visual maps make the features {size:,.1f} GB at stride {stride} (pooled {_pooled(work, params):,.1f} GB)"
    if size < LARGE_MAPS_GB:
        return [Item("cost", "maps", "ok", text)]
    if stride < CHEAPER_STRIDE:
        cheaper = feature_bytes(work.clips(CHEAPER_STRIDE), params) / 1e9
        text += f"; features.stride {CHEAPER_STRIDE} takes {cheaper:,.1f} GB"
    return [Item("cost", "maps", "warn", f"{text}; only released_coattention needs maps")]


def _pooled(work: Workload, params: Params) -> float:
    backbones = params.backbones.model_copy(update={"output": "pooled"})
    pooled = params.model_copy(update={"backbones": backbones})
    return feature_bytes(work.clips(params.features.stride), pooled) / 1e9
