"""By how much the labels of the training tracks lag behind their videos, in words and as a picture of characters."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avfusion.corpora.table import read_tracks
from avfusion.data.track_data import load_split
from avfusion.doctor.report import Item
from avfusion.experiments.lag import TAUS_S, UNSURE_S, Lag, estimate_lags
from avfusion.params.params import Params
from avfusion.runtime.errors import BadInputError

TABLE = "data/corpus/tracks.parquet"
_LEVELS = "▁▂▃▄▅▆▇█"


def look_at_lag(root: Path, params: Params) -> tuple[Item, dict[str, Any] | None]:
    """The finding of `avfusion doctor --lag`, and its numbers; needs the outs of the stages `labels` and `features`."""
    if not (root / TABLE).is_file():
        return _unknown("needs features: `dvc repro features` makes them"), None
    try:
        tracks = load_split(root, read_tracks(root / TABLE), "train", params.geometry)
        lags = estimate_lags(tracks, params.geometry.clip_frames)
    except BadInputError as error:
        return _unknown(str(error)), None
    applied = dict(zip(lags, params.corpus.lags_s, strict=True))
    text = "\n".join([_sentence(lags, applied), *(f"{name:8}{_picture(lag)}" for name, lag in lags.items())])
    status = "warn" if any(_notable(lag) for lag in lags.values()) else "ok"
    numbers = {name: asdict(lag) | {"applied": applied[name]} for name, lag in lags.items()}
    return Item("corpus", "label lag", status, text), numbers | {"seconds_later": TAUS_S.tolist()}  # type: ignore[arg-type]


def _unknown(text: str) -> Item:
    return Item("corpus", "label lag", "warn", text)


def _notable(lag: Lag) -> bool:
    """Whether its interval lies beyond what the middle of a clip leaves open."""
    return lag.seconds is not None and (lag.low > UNSURE_S or lag.high < -UNSURE_S)  # type: ignore[operator]


def _sentence(lags: Mapping[str, Lag], applied: Mapping[str, float]) -> str:
    parts, advice = [], []
    for name, lag in lags.items():
        if lag.seconds is None:
            parts.append(f"{name} unknown (the features tell too little of it)")
            continue
        besides = f" besides the {applied[name]:g} s applied" if applied[name] else ""
        parts.append(f"{name} {lag.seconds:+.2f} s [{lag.low:+.2f}, {lag.high:+.2f}]{besides}")
        if _notable(lag):
            advice.append(f"corpus.label_lag_{name}_s: {applied[name] + lag.seconds:.1f}")
    groups = next(iter(lags.values())).groups
    told = f"labels lag behind the video: {', '.join(parts)}; 95 % intervals over {groups} groups of videos"
    if advice:
        return f"{told}; to take that into account: {'; '.join(advice)}"
    return f"{told}; below {UNSURE_S} s it cannot be told from none"


def _picture(lag: Lag) -> str:
    """The correlation with labels that come later, a character for each fifth of a second."""
    values = lag.correlation[::2]
    top = max(*values, 1e-9)
    bars = "".join(_LEVELS[round(max(value, 0.0) / top * (len(_LEVELS) - 1))] for value in values)
    return f"{TAUS_S[0]:+.0f} s {bars} {TAUS_S[-1]:+.0f} s, correlation up to {max(values):.2f}"
