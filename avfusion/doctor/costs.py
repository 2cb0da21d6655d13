"""The cost of each stage of a run: estimated from the amount of work and `rates`, or measured by its last run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from avfusion.backbones.catalogue import encodes_frames, feature_shape
from avfusion.backbones.settings import BackboneSettings
from avfusion.doctor import rates
from avfusion.doctor.last_runs import StageTime
from avfusion.doctor.workload import CROP_BYTES, Workload
from avfusion.fusion.catalogue import reads_frames
from avfusion.params.params import Params
from avfusion.runtime.quantities import counted
from avfusion.scoring.conditions import CONDITIONS, MASKED

SOUND_BYTES_PER_S = 2 * 44_100
LABEL_BYTES = 6  # per row, compressed
DEMO_BYTES_PER_FRAME = 3_800  # video and crop
VALIDATION_STRIDE = 8  # of validation clips while backbones train
WEIGHTS_BYTES = {"visual": 125e6, "audio": 45e6}  # at width 64


@dataclass(frozen=True)
class StageCost:
    """Cost of one stage.

    Attributes:
        wall_s: Seconds with the workers of params.yaml and the cores of this machine.
        basis: `estimate`, or `last run` if the last run made everything with the current parameters.
        last_run_s: Seconds of its last run here, complete or partial; None: it has not run.
        last_run_before: That run was on another corpus, or before the stage `corpus` last ran.
    """

    stage: str
    work: str
    cpu_s: float
    wall_s: float
    gigabytes: float
    basis: str
    last_run_s: float | None
    last_run_before: bool = False


@dataclass(frozen=True)
class Costs:
    """Costs of a complete run.

    Attributes:
        tracks, videos, frames, clips, hours: Size of the corpus; hours: total length of its videos.
    """

    tracks: int
    videos: int
    frames: int
    clips: int
    hours: float
    assumed_videos: int
    stages: tuple[StageCost, ...]
    cpu_hours: float
    wall_hours: float
    gigabytes: float
    measured_on: str = rates.MEASURED_ON
    unrendered: bool = False


@dataclass(frozen=True)
class _Work:
    """Work of a stage: words, CPU-seconds, number of usable cores, bytes of its outs."""

    text: str
    cpu_s: float
    cores: float
    size: float


def estimate(
    work: Workload, params: Params, *, cores: int, last: Mapping[str, StageTime], whole: Mapping[str, StageTime]
) -> Costs:
    """Estimate the costs of a complete run.

    Args:
        whole: Times of those last runs that made everything with the current parameters.
    """
    stages = []
    for name, one in _stages(work, params, cores).items():
        wall = one.cpu_s / max(1.0, one.cores)
        time = whole.get(name)
        stages.append(
            StageCost(
                stage=name,
                work=one.text,
                cpu_s=round(time.cpu_s if time else one.cpu_s, 1),
                wall_s=round(time.wall_s if time else wall, 1),
                gigabytes=round(one.size / 1e9, 6),
                basis="last run" if time else "estimate",
                last_run_s=round(last[name].wall_s, 1) if name in last else None,
                last_run_before=name in last and last[name].before,
            )
        )
    return Costs(
        tracks=work.tracks,
        videos=work.videos,
        frames=work.all_frames,
        clips=work.clips(params.features.stride),
        hours=round(work.seconds / 3600, 2),
        assumed_videos=work.assumed_videos,
        stages=tuple(stages),
        cpu_hours=round(sum(stage.cpu_s for stage in stages) / 3600, 2),
        wall_hours=round(sum(stage.wall_s for stage in stages) / 3600, 2),
        gigabytes=round(sum(stage.gigabytes for stage in stages), 6),
        unrendered=work.unrendered,
    )


def timespan(seconds: float) -> str:
    """Seconds in words, to about two digits: 40 s, 12 min, 5.5 h, 210 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 36000 else f"{seconds / 3600:,.0f} h"


def feature_bytes(clips: int, params: Params) -> float:
    """Bytes of the feature files: float16 vectors of both streams, or the visual map instead of its vector."""
    visual, audio = params.backbones.visual, params.backbones.audio
    shape = feature_shape("visual", visual.name, visual.width, visual.input_size, params.backbones.output)
    (sound,) = feature_shape("audio", audio.name, audio.width, audio.input_size)
    return clips * (math.prod(shape) + sound) * 2.0


def pooled_bytes(work: Workload, params: Params) -> float:
    """Bytes of the feature files without visual maps."""
    pooled = params.replaced(backbones=params.backbones.model_copy(update={"output": "pooled"}))
    return feature_bytes(work.clips(params.features.stride), pooled)


def _stages(work: Workload, params: Params, cores: int) -> dict[str, _Work]:
    workers = params.execution.workers if params.execution.executor != "serial" else 1
    spread = workers if params.execution.executor == "ray" else min(workers, cores)  # a cluster has cores of its own
    stages = {}
    if params.corpus.name == "demo":
        cost = rates.RENDER_FRAME * (params.render.size / 256) ** 2
        text = f"{work.all_frames:,} frames drawn"
        stages["render"] = _Work(text, work.all_frames * cost, spread, work.all_frames * DEMO_BYTES_PER_FRAME)
    stages["corpus"] = _Work(
        f"{work.videos:,} videos read, {work.crops:,} crops listed",
        work.all_frames * rates.PROBE_FRAME + work.crops * rates.CROP_NAME,
        spread,
        work.tracks * 500,
    )
    stages["labels"] = _Work(
        f"{work.label_rows:,} rows", work.label_rows * rates.LABEL_ROW, 1, work.label_rows * LABEL_BYTES
    )
    stages["frames"] = _frames(work, params, spread)
    stages["audio"] = _Work(
        f"{timespan(work.sound_s)} of sound",
        work.sound_s * rates.SOUND_SECOND,
        spread,
        work.sound_s * SOUND_BYTES_PER_S,
    )
    stages["backbones"] = _backbones(work, params, cores)
    stages["features"] = _features(work, params, spread, cores)
    stages["train"] = _train(work, params)
    stages["evaluate"] = _evaluate(work, params)
    stages["robustness"] = _robustness(work, params, spread)
    return stages


def _frames(work: Workload, params: Params, spread: int) -> _Work:
    detect_every = params.frames.detect_every
    text = f"{work.crops:,} ready crops"
    if work.detected:
        text += f", {work.detected:,} frames to detect faces in (one of {detect_every})"
    per_frame = rates.DETECTION / detect_every + rates.FRAME_OF_DETECTION
    size = (work.crop_bytes or work.crops * CROP_BYTES) + work.detected * CROP_BYTES
    return _Work(text, work.crops * rates.READY_CROP + work.detected * per_frame, spread, size)


def _backbones(work: Workload, params: Params, cores: int) -> _Work:
    """With two workers, streams (of all folds) train side by side, each with `common.threads` threads."""
    backbones = params.backbones
    trainings = 1 + backbones.folds
    spent, clips = [], 0
    for backbone in (backbones.visual, backbones.audio):
        seen = _clips_of_an_epoch(backbone, work.clips(1, "train"))
        checked = work.clips(VALIDATION_STRIDE, "val")
        rate = rates.backbone_rate(backbone.name)
        cost = backbone.epochs * (seen * rate.training + checked * rate.float32)
        spent.append(cost * rate.scale(backbone.width, backbone.input_size))
        clips += trainings * backbone.epochs * seen
    size = trainings * sum(
        WEIGHTS_BYTES[stream] * (width / 64) ** 2
        for stream, width in (("visual", backbones.visual.width), ("audio", backbones.audio.width))
    )
    together = trainings * sum(spent)
    threads = min(params.common.threads, cores)
    alone = params.execution.executor == "serial" or params.execution.workers == 1
    wall = together / threads if alone else max(max(spent) / threads, together / cores)
    epochs = max(backbones.visual.epochs, backbones.audio.epochs)
    text = f"{clips:,} training clips in at most {counted(epochs, 'epoch')}"
    return _Work(text, together, together / wall if wall else 1, size)


def _clips_of_an_epoch(backbone: BackboneSettings, clips: int) -> int:
    if backbone.steps_per_epoch is None:
        return clips
    return min(clips, backbone.steps_per_epoch * backbone.batch_size)


def _features(work: Workload, params: Params, spread: int, cores: int) -> _Work:
    backbones, features = params.backbones, params.features
    clips = work.clips(features.stride)
    per_clip = 0.0
    for backbone in (backbones.visual, backbones.audio):
        rate = rates.backbone_rate(backbone.name)
        cost = rate.features(features.dtype) * rate.scale(backbone.width, backbone.input_size)
        alone = backbone is backbones.visual and features.layout == "frames" and encodes_frames(backbone.name)
        per_clip += cost / params.geometry.kept_frames if alone else cost
    rows = "frames" if features.layout == "frames" else "clips"
    text = f"{clips:,} {rows} (stride {features.stride}), {backbones.visual.name} and {backbones.audio.name}"
    text += f", {features.dtype}" + (", maps" if backbones.output == "map" else "")
    reached = min(spread * features.threads, max(cores, spread))
    return _Work(text, clips * per_clip, reached, feature_bytes(clips, params))


def _fusion_models(params: Params) -> list[str]:
    return list(dict.fromkeys((params.train.model, *params.train.baselines)))


def _train(work: Workload, params: Params) -> _Work:
    stride, length = params.features.stride, params.geometry.sequence_clips
    sequences = math.ceil(work.clips(stride, "train") / length)
    validated = 2 if params.train.weight_averaging else 1  # the averaged weights, and the weights themselves
    checked = validated * work.clips(stride, "val")
    names = _fusion_models(params)
    factor = rates.MAP_FACTOR if params.backbones.output == "map" else 1.0
    cost = 0.0
    for name in names:
        rate, passes = rates.FUSION.get(name, rates.OTHER_FUSION), _window_passes(name, params)
        trained, predicted = sequences * rate.sequence * (passes or 1.0), checked * _clip_cost(name, params)
        cost += params.train.epochs * (trained + predicted) * factor
    epochs = counted(params.train.epochs, "epoch")
    text = f"{counted(len(names), 'model')}, at most {epochs} of {counted(sequences, 'sequence')}"
    return _Work(text, cost, 1, len(names) * 2e6)


def _window_passes(name: str, params: Params) -> float | None:
    """How many windows of frames hold a frame; None: the model reads clips."""
    options = params.train.options if name == params.train.model else {}
    if params.features.layout != "frames" or not reads_frames(name, options):
        return None
    return params.geometry.window_frames / params.geometry.window_hop


def _clip_cost(name: str, params: Params) -> float:
    """CPU-seconds of a clip's prediction by `overlap`: at 16 positions, or in the windows that hold it."""
    cost, passes = rates.FUSION.get(name, rates.OTHER_FUSION).clip, _window_passes(name, params)
    return cost if passes is None else cost * passes / rates.POSITIONS


def _evaluate(work: Workload, params: Params) -> _Work:
    frames = work.frames.get("val", 0) + work.frames.get("test", 0)
    clips = work.clips(params.features.stride, "val", "test")
    names = _fusion_models(params)
    factor = rates.MAP_FACTOR if params.backbones.output == "map" else 1.0
    predicted = clips * factor * sum(_clip_cost(name, params) for name in names)
    text = f"{frames:,} frames of val and test"
    return _Work(text, frames * rates.EVALUATED_FRAME + predicted, 1, frames * 8.0 * len(names))


def _robustness(work: Workload, params: Params, spread: int) -> _Work:
    """Features of disturbed streams on some tracks, predictions of all models from them, and one more training."""
    backbones, stride = params.backbones, params.robustness.stride
    mean = work.ticks.get(work.scored, 0) / max(work.scored_tracks, 1)
    count = min(params.robustness.tracks or math.inf, work.scored_tracks)
    clips = round(count * mean / stride)
    spent = 0.0
    for stream, backbone in (("audio", backbones.audio), ("visual", backbones.visual)):
        rate = rates.backbone_rate(backbone.name)
        signals = sum(one.stream == stream and one.kind not in MASKED for one in CONDITIONS)
        cost = rate.features(params.features.dtype) * rate.scale(backbone.width, backbone.input_size)
        spent += signals * clips * cost * rates.DISTURBED_CLIP
    factor = rates.MAP_FACTOR if backbones.output == "map" else 1.0
    models = [*_fusion_models(params), params.train.model]
    predicted = sum(_clip_cost(name, params) for name in models)
    spent += len(CONDITIONS) * clips * predicted * factor
    alone = params.replaced(train=params.train.model_copy(update={"baselines": ()}))
    again = _train(work, alone).cpu_s
    text = f"{count:,} tracks under {len(CONDITIONS)} conditions, one more training"
    total = spent + again
    return _Work(text, total, total / (spent / spread + again) if total else 1, 1e6)
