"""Read the predictions of a split from the stage `evaluate`: the very numbers that were scored."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from avfusion.corpora.table import Track, read_tracks
from avfusion.data.track_data import feature_path, inputs_digest
from avfusion.fusion.model_folder import ModelFolder
from avfusion.params.locked import changed_keys
from avfusion.runtime.errors import BadInputError
from avfusion.scoring.smoothing import smooth_seconds
from avfusion.scoring.track_predictions import read_predictions

AGAIN = "run `dvc repro evaluate`"
SHOWN = 5  # names in a message


@dataclass(frozen=True)
class SplitPredictions:
    """Predictions of the main model for a split.

    Attributes:
        tracks: valence and arousal (N, 2) float32 in [-1, 1] of every video frame, by track, sorted.
        missing: number of frames of each track without predictions (0: the video was unreadable).
        windows: frames of the uniform filter for valence and arousal; None: not smoothed.
    """

    split: str
    tracks: dict[str, np.ndarray]
    missing: dict[str, int]
    model: str
    digest: str
    windows: tuple[float, float] | None


def load_split_predictions(root: Path, split: str, windows: tuple[float, float] | None) -> SplitPredictions:
    """Read the predictions of `evaluate` for a split of the project in `root`, smoothed and clipped to [-1, 1].

    Args:
        split: A split that `evaluate` predicts: val or test.
        windows: Seconds of the uniform filter for valence and arousal; None: no smoothing.

    Raises:
        BadInputError: params.yaml or the scanned corpus changed since the pipeline ran; there are no predictions or no
            tracks; the predictions come from another model, other features or other frames, or were scored with other
            windows.
        AVFusionError: a file of predictions is damaged.
    """
    _refuse_changes(root)
    folder = root / "reports" / "evaluate"
    protocol = _read_protocol(folder / "protocol.json")
    model = _check_model(protocol, folder, root / "models" / "fusion")
    if windows is not None:
        _check_windows(protocol, windows)
    chosen = [t for t in read_tracks(root / "data" / "corpus" / "tracks.parquet", unusable=True) if t.split == split]
    if not chosen:
        raise BadInputError(f"no track of the corpus is in the split {split}: there is nothing to submit")
    tracks, missing, stale = {}, {}, []
    for track in chosen:
        path = folder / "predictions" / f"{track.track}.parquet"
        if not track.frames or not feature_path(root, track.track).is_file():
            missing[track.track] = track.frames
            continue
        if not path.is_file():
            stale.append(f"{track.track} (has features but no predictions)")
            continue
        predictions, time_s, features = read_predictions(path)
        if reason := _outdated(root, track, len(predictions), features):
            stale.append(f"{track.track} ({reason})")
        if windows is not None:
            predictions = np.clip(smooth_seconds(predictions, time_s, windows), -1, 1)
        tracks[track.track] = predictions
    if stale:
        count = f"{len(stale)} of {len(chosen)} tracks"
        raise BadInputError(f"the predictions in {folder} are out of date for {count}: {some(stale)}: {AGAIN}")
    return SplitPredictions(split, tracks, missing, model["name"], model["digest"], windows)


def _refuse_changes(root: Path) -> None:
    """Refuse if params.yaml or data/sources.txt changed since DVC last ran the stages."""
    if not (root / "dvc.lock").is_file():  # the stages ran without DVC
        return
    yaml = YAML(typ="safe", pure=True)  # YAML 1.2, as DVC reads it
    ran = yaml.load((root / "dvc.lock").read_text(encoding="utf-8")).get("stages", {})
    now = yaml.load((root / "params.yaml").read_text(encoding="utf-8"))
    changed = set()
    for name in set(ran) - {"render", "register"}:
        used = ran[name].get("params", {}).get("params.yaml", {})
        changed |= changed_keys(used, now)
    if changed:
        raise BadInputError(
            f"params.yaml has changed since the pipeline ran ({', '.join(sorted(changed))}), so the predictions are of "
            "other settings: run `dvc repro`"
        )
    sources = root / "data" / "sources.txt"
    known = [dep.get("md5") for dep in ran.get("corpus", {}).get("deps", []) if dep.get("path") == "data/sources.txt"]
    if known and sources.is_file() and hashlib.md5(sources.read_bytes()).hexdigest() not in known:
        raise BadInputError("the corpus was scanned anew since the pipeline ran on it: run `dvc repro`")


def _read_protocol(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing, there are no predictions to submit: {AGAIN}") from None
    except ValueError as error:
        raise BadInputError(f"{path} is not readable JSON ({error}): {AGAIN}") from None


def _check_model(protocol: Mapping[str, Any], folder: Path, fusion: Path) -> Mapping[str, str]:
    model: Mapping[str, str] | None = protocol.get("model")
    if model is None:
        raise BadInputError(f"{folder / 'protocol.json'} does not say which model made the predictions: {AGAIN}")
    if ModelFolder.open(fusion).digest() != model["digest"]:
        raise BadInputError(f"the predictions in {folder} are another model's than the one in {fusion}: {AGAIN}")
    return model


def _check_windows(protocol: Mapping[str, Any], windows: tuple[float, float]) -> None:
    scored = tuple(protocol["smoothing"].get(f"{target}_s") for target in ("valence", "arousal"))
    if scored != windows:
        raise BadInputError(
            f"evaluate.smoothing_valence_s and smoothing_arousal_s are {windows[0]} and {windows[1]}, but the scores "
            f"were made with {scored[0]} and {scored[1]}: {AGAIN}"
        )


def _outdated(root: Path, track: Track, frames: int, features: str) -> str:
    if frames != track.frames:
        return f"{frames} frames predicted, {track.frames} in the video"
    if features != inputs_digest(root, track):
        return "its features were computed anew"
    return ""


def some(names: Sequence[str]) -> str:
    """The first few names, for messages."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
