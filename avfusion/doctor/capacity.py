"""Check disk, memory and time against the needs of a run."""

import shutil
from pathlib import Path
from typing import Any

from avfusion.doctor.costs import SOUND_BYTES_PER_S, Costs, feature_bytes, pooled_bytes, timespan
from avfusion.doctor.report import Item
from avfusion.doctor.workload import CROP_BYTES, Workload
from avfusion.params.params import Params
from avfusion.runtime.quantities import byte_size

STORES = ("labels", "frames", "audio", "features")  # below data/
LONG_HOURS = 24
SPARE_MEMORY = 0.8  # share of all memory; the system and the networks need the rest
TORCH_BYTES = 1.5e9
SMALL_OUT = 1e6  # bytes of a stage's outs that are not worth a word


def look_at_capacity(root: Path, params: Params, work: Workload, costs: Costs, facts: dict[str, Any]) -> list[Item]:
    """Items on disk, memory and time."""
    items = [_disk(root, params, work, costs), _time(params, costs, facts)]
    return [*items, *_memory(params, work, facts)]


def _disk(root: Path, params: Params, work: Workload, costs: Costs) -> Item:
    """Free disk space against the outs still to be written, counted twice: DVC's cache keeps a copy of each."""
    free = shutil.disk_usage(root).free
    sizes = {stage.stage: stage.gigabytes * 1e9 for stage in costs.stages}
    present: dict[str, float] = {store: _size(root / "data" / store) for store in STORES}
    if not work.unrendered:
        present["render"] = sizes.get("render", 0.0)
    due = {name: max(0.0, size - present.get(name, 0.0)) for name, size in sizes.items()}
    need = 2 * sum(due.values())
    parts = ", ".join(f"{name} {byte_size(size)}" for name, size in due.items() if size >= SMALL_OUT)
    parts = parts or f"less than {byte_size(SMALL_OUT)}"
    text = f"{byte_size(free)} free; still to be written: {parts}, and as much again in DVC's cache"
    if need <= free:
        return Item("cost", "disk", "ok", text)
    largest = max(due, key=lambda name: due[name])
    hint = _smaller_features(params, work) if largest == "features" else ""
    return Item("cost", "disk", "warn", f"{text}: {byte_size(need - free)} too little, most of it for {largest}{hint}")


def _smaller_features(params: Params, work: Workload) -> str:
    hints = []
    if params.backbones.output == "map":
        hints.append(f"backbones.output pooled takes {byte_size(pooled_bytes(work, params))}")
    if params.features.stride < 8:
        hints.append(f"features.stride 8 takes {byte_size(feature_bytes(work.clips(8), params))}")
    return f" ({', '.join(hints)})" if hints else ""


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*") if path.is_file())


def _time(params: Params, costs: Costs, facts: dict[str, Any]) -> Item:
    longest = max(costs.stages, key=lambda stage: stage.wall_s)
    text = f"about {timespan(sum(stage.wall_s for stage in costs.stages))} from nothing on this machine"
    if costs.wall_hours < LONG_HOURS:
        return Item("cost", "time", "ok", text)
    text += f", {timespan(longest.wall_s)} of it for {longest.stage}"
    hints = []
    if facts["gpus"]:
        hints.append("the estimate is for the CPU, and the GPU is used")
    else:
        hints.append("a GPU takes a small part of that")
        if params.features.dtype == "float16":
            hints.append("features.dtype bfloat16 is faster than float16, which a CPU computes in float32")
    if longest.stage == "features" and params.features.stride < 8:
        hints.append("features.stride 8 makes far fewer clips")
    if longest.stage == "backbones":
        hints.append("backbones.visual.steps_per_epoch and epochs bound it")
    hints.append("`avfusion doctor --tune` measures the backbones here")
    return Item("cost", "time", "warn", f"{text}: {'; '.join(hints)}")


def _memory(params: Params, work: Workload, facts: dict[str, Any]) -> list[Item]:
    """Memory of training: backbones hold all crops or all sound, fusion holds all features (twice while loading)."""
    if not facts["memory_gb"]:
        return []
    train_val = sum(work.frames.get(split, 0) for split in ("train", "val"))
    share = train_val / work.all_frames if work.all_frames else 0.0
    crop_bytes = (work.crop_bytes + work.detected * CROP_BYTES) * share
    sound_bytes = work.sound_s * share * SOUND_BYTES_PER_S
    side_by_side = params.execution.executor != "serial" and params.execution.workers > 1
    backbones = crop_bytes + sound_bytes if side_by_side else max(crop_bytes, sound_bytes)
    features = 2 * feature_bytes(work.clips(params.features.stride, "train", "val"), params)
    needs = {"backbones": (backbones + TORCH_BYTES) / 1e9, "train": (features + TORCH_BYTES) / 1e9}
    text = ", ".join(f"{stage} {size:.1f}" for stage, size in needs.items())
    text = f"the stages that hold the most: {text} of {facts['memory_gb']:.0f} GB"
    short = max(needs.values()) > SPARE_MEMORY * facts["memory_gb"]
    return [Item("cost", "memory", "warn" if short else "ok", text)]
