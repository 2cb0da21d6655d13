"""Measure the configured backbones on this machine by threads and arithmetic; recommend values for params.yaml.

An arrangement is a number of worker processes and of torch's threads in each. As in the stage `features`, the workers
begin at the same moment and extract features, here of random clips. Nothing is written: features depend on threads and
arithmetic, so a person chooses them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from avfusion.params.params import Params
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.execution import run_tasks
from avfusion.runtime.quantities import counted

if TYPE_CHECKING:  # imports torch
    from avfusion.doctor.speed import SpeedTask, StreamSpeed

NOTABLE_GAIN = 1.05  # less is noise
SAME = 0.05  # standard deviations: arithmetic with larger differences from float32 is not recommended


@dataclass(frozen=True)
class Measurement:
    """Measurement of one arrangement.

    Attributes:
        workers, threads: Number of processes, and of torch's threads in each.
        visual, audio: Clips per second through each backbone, all workers together, best of several rounds.
        both: Clips per second through one after the other.
        ratio: Ratio of `both` to its value with the current parameters.
        difference: Greatest absolute difference of a feature from float32, over both streams.
        relative: Root mean square difference over the standard deviation of the features, the worse stream.
    """

    workers: int
    threads: int
    dtype: str
    visual: float
    audio: float
    both: float
    ratio: float
    difference: float
    relative: float


@dataclass(frozen=True)
class Tuning:
    """Measurements and recommendation.

    Attributes:
        weights: `trained` (from models/backbones) or `random` (no trained weights of the configured kind).
        measurements: In the order of measuring; the first one with the current parameters, if possible.
        recommended: Keys of params.yaml and values to set; empty: the current values are best.
        hours_now, hours_recommended: Hours of a complete stage `features`, with the current and the recommended
            parameters; null if unknown, as is the size of the corpus.
    """

    device: str
    weights: str
    measurements: tuple[Measurement, ...]
    recommended: dict[str, Any]
    hours_now: float | None
    hours_recommended: float | None
    failures: tuple[str, ...]


def tune(root: Path, params: Params, *, cores: int, clips: int | None, seconds: float = 2.0) -> Tuning:
    """Measure and recommend; takes about ten seconds per arrangement of large backbones.

    Args:
        root: The project; its trained backbones are used if they are of the configured kind.
        clips: Number of clips of the corpus, for the hours.
        seconds: Least time of each of the four to six measurements of an arrangement.

    Raises:
        AVFusionError: nothing could be measured.
    """
    from avfusion.doctor.speed import SpeedTask
    from avfusion.runtime.devices import default_device

    device = default_device()
    folder = root / "models" / "backbones"
    trained = folder if _are_configured(folder, params) else None
    dtypes = dtypes_to_try(params, device)
    measurements: list[Measurement] = []
    failures = []
    tried = arrangements(params, cores, device)
    for workers, threads in tried:
        task = SpeedTask(params, trained, threads, tuple(dtypes), device, seconds)
        try:
            speeds = _measure_together(task, workers)
        except AVFusionError as error:
            failures.append(f"{counted(workers, 'worker')} with {counted(threads, 'thread')}: {error}")
            continue
        measurements += [_measurement(workers, threads, dtype, [one[dtype] for one in speeds]) for dtype in dtypes]
    if not measurements:
        raise AVFusionError(f"no speed could be measured: {'; '.join(failures)}")
    rated = tuple(replace(one, ratio=round(one.both / measurements[0].both, 2)) for one in measurements)
    as_they_are = (*tried[0], params.features.dtype)  # more workers than cores make no other arrangement
    present = rated[0] if (rated[0].workers, rated[0].threads, rated[0].dtype) == as_they_are else None
    best = recommend(rated)
    return Tuning(
        device=device,
        weights="trained" if trained else "random",
        measurements=rated,
        recommended={} if best is present else changes(best, params),
        hours_now=_hours(clips, present),
        hours_recommended=_hours(clips, best),
        failures=tuple(failures),
    )


def arrangements(params: Params, cores: int, device: str) -> list[tuple[int, int]]:
    """(workers, threads) to try: as in the parameters, then those that fill the cores (GPU: up to 4 workers)."""
    workers = min(_workers(params), cores)
    powers = [2**n for n in range(cores.bit_length()) if 2**n <= cores]
    if device == "cpu":
        tried = [(max(1, cores // threads), threads) for threads in sorted({*powers, cores})]
    else:
        tried = [(count, 1) for count in powers if count <= 4]
    return list(dict.fromkeys([(workers, params.features.threads), *tried]))


def dtypes_to_try(params: Params, device: str) -> list[str]:
    """Arithmetic to try, beginning with the parameters'. On a CPU, float16 is float32 (see `arithmetic`)."""
    dtypes = ["float32", "bfloat16"] + (["float16"] if device != "cpu" else [])
    return sorted(dtypes, key=lambda dtype: dtype != params.features.dtype)


def recommend(measurements: Sequence[Measurement]) -> Measurement:
    """The fastest with features close enough to float32; the first, unless another is notably faster."""
    close = [one for one in measurements if one.relative <= SAME]
    best = max(close, key=lambda one: one.both, default=measurements[0])
    keeps = measurements[0].relative <= SAME and best.both < NOTABLE_GAIN * measurements[0].both
    return measurements[0] if keeps else best


def changes(best: Measurement, params: Params) -> dict[str, Any]:
    """Keys and values of params.yaml to change for an arrangement."""
    wanted: dict[str, tuple[Any, Any]] = {
        "features.threads": (params.features.threads, best.threads),
        "features.dtype": (params.features.dtype, best.dtype),
    }
    if params.execution.executor != "ray":  # its workers may be on other machines
        wanted["execution.workers"] = (_workers(params), best.workers)
        executor = "processes" if best.workers > 1 else params.execution.executor
        wanted["execution.executor"] = (params.execution.executor, executor)
    return {key: value for key, (present, value) in wanted.items() if present != value}


def _workers(params: Params) -> int:
    return 1 if params.execution.executor == "serial" else params.execution.workers


def _measure_together(task: "SpeedTask", workers: int) -> list[dict[str, dict[str, "StreamSpeed"]]]:
    """Speeds by worker, arithmetic and stream."""
    from avfusion.doctor.speed import CommonStart, measure_speed

    with TemporaryDirectory() as folder:
        together = replace(task, start=CommonStart(Path(folder), workers))
        outcomes = run_tasks(
            measure_speed,
            [(f"worker {number + 1}", together) for number in range(workers)],
            executor="processes",
            workers=workers,
            label=f"speed of {counted(workers, 'worker')} with {counted(task.threads, 'thread')}",
        )
    return [outcome.value for outcome in outcomes if outcome.value is not None]


def _measurement(workers: int, threads: int, dtype: str, speeds: Sequence[Mapping[str, "StreamSpeed"]]) -> Measurement:
    visual, audio = (sum(one[stream].clips_per_s for one in speeds) for stream in ("visual", "audio"))
    every = [speed for one in speeds for speed in one.values()]
    return Measurement(
        workers=workers,
        threads=threads,
        dtype=dtype,
        visual=round(visual, 2),
        audio=round(audio, 2),
        both=round(1 / (1 / visual + 1 / audio), 2),
        ratio=1.0,
        difference=max(speed.difference for speed in every),
        relative=max(speed.relative for speed in every),
    )


def _hours(clips: int | None, measurement: Measurement | None) -> float | None:
    return round(clips / measurement.both / 3600, 2) if clips and measurement else None


def _are_configured(folder: Path, params: Params) -> bool:
    """Whether there are trained backbones with the configured names and sizes."""
    from avfusion.backbones.weights import read_backbone_record

    for stream in ("visual", "audio"):
        wanted = getattr(params.backbones, stream)
        try:
            found = read_backbone_record(folder, stream).identity
        except AVFusionError:
            return False
        if (found.name, found.width, found.input_size) != (wanted.name, wanted.width, wanted.input_size):
            return False
    return True
