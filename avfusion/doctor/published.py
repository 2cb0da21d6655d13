"""Check weights: their files, the training of batch norm, and room for visual maps."""

from pathlib import Path

from avfusion.backbones.catalogue import IMPORT_FOLDER, imported_sources, pretrained_sources
from avfusion.doctor.costs import feature_bytes, pooled_bytes
from avfusion.doctor.report import Item
from avfusion.doctor.workload import Workload
from avfusion.params.params import Params

LARGE_MAPS_GB = 10.0
CHEAPER_STRIDE = 8


def look_at_weights(root: Path, params: Params) -> list[Item]:
    """Items on weights named in params.yaml that are missing: files, imports, torchvision's downloads."""
    items = []
    for stream, backbone in (("visual", params.backbones.visual), ("audio", params.backbones.audio)):
        name, weights = f"backbones.{stream}.weights", backbone.weights
        if weights in pretrained_sources():
            items += _look_at_download(name, weights, stream)
            continue
        file = f"{IMPORT_FOLDER}/{weights}/{stream}.safetensors" if weights in imported_sources() else weights
        if weights == "random" or (root / file).is_file():
            continue
        fault = f"{file} is a folder, must be a file" if (root / file).is_dir() else f"{file} does not exist"
        cure = f": run `avfusion import-weights {weights} FILE`" if weights in imported_sources() else ""
        items.append(Item("params", name, "missing", fault + cure))
    start = params.train.weights
    if start is not None and not (root / start / "config.json").is_file():
        fault = f"{start} holds no model: run `avfusion import-weights jointcam FILE`, or name a trained model's folder"
        items.append(Item("params", "train.weights", "missing", fault))
    return items


def _look_at_download(name: str, weights: str, stream: str) -> list[Item]:
    from avfusion.backbones.pretrained import weights_path  # imports torchvision, which no other item needs

    path = weights_path(weights, stream)
    if path is None or path.is_file():
        return []
    text = f"{path.name} is not in {path.parent}: the stage backbones downloads it; without a network, put it there"
    return [Item("params", name, "warn", f"{weights}: {text}")]


def look_at_batch_norm(params: Params) -> list[Item]:
    """A warning if random weights are trained with frozen statistics of batch norm, which they lack."""
    streams = {"visual": params.backbones.visual, "audio": params.backbones.audio}
    trained = [stream for stream, backbone in streams.items() if backbone.weights == "random" and backbone.epochs]
    if params.backbones.batch_norm != "frozen" or not trained:
        return []
    text = f"frozen, while {' and '.join(trained)} weights start at random, without statistics worth keeping: set train"
    return [Item("params", "backbones.batch_norm", "warn", text)]


def look_at_maps(params: Params, work: Workload) -> list[Item]:
    """The size of visual maps, if configured; a warning if they are large."""
    if params.backbones.output != "map":
        return []
    stride = params.features.stride
    size = feature_bytes(work.clips(stride), params) / 1e9
    pooled = pooled_bytes(work, params) / 1e9
    text = f"visual maps make the features {size:,.1f} GB at stride {stride} (pooled {pooled:,.1f} GB)"
    if size < LARGE_MAPS_GB:
        return [Item("cost", "maps", "ok", text)]
    if stride < CHEAPER_STRIDE:
        cheaper = feature_bytes(work.clips(CHEAPER_STRIDE), params) / 1e9
        text += f"; features.stride {CHEAPER_STRIDE} takes {cheaper:,.1f} GB"
    return [Item("cost", "maps", "warn", f"{text}; only released_coattention needs maps")]
