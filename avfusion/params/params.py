"""Read params.yaml once, at the edge, and check it key by key.

Every section is a class of its room (`avfusion.<room>.settings`). Messages about unknown keys, wrong types and values
out of range name `section.key`, the value and the allowed values.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from avfusion.backbones.settings import BackbonesSettings, FeaturesSettings
from avfusion.corpora.settings import CorpusSettings, RenderSettings
from avfusion.data.settings import AudioSettings, FramesSettings, GeometrySettings
from avfusion.experiments.settings import RobustnessSettings, SweepSettings
from avfusion.params.agreement import disagreements
from avfusion.params.unique_keys import load_settings
from avfusion.reports.settings import EvaluateSettings, ReportSettings
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.quantities import byte_size
from avfusion.runtime.settings import CommonSettings, ExecutionSettings, Section, fault_text
from avfusion.tracking.settings import RegisterSettings
from avfusion.training.settings import TrainSettings


class Params:
    """The requested sections of params.yaml, and `execution`; reading any other is an AttributeError."""

    common: CommonSettings
    geometry: GeometrySettings
    render: RenderSettings
    corpus: CorpusSettings
    frames: FramesSettings
    audio: AudioSettings
    backbones: BackbonesSettings
    features: FeaturesSettings
    train: TrainSettings
    sweep: SweepSettings
    evaluate: EvaluateSettings
    report: ReportSettings
    robustness: RobustnessSettings
    register: RegisterSettings
    execution: ExecutionSettings

    def __init__(self, **sections: Section) -> None:
        self.__dict__.update(sections)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"section {name} of params.yaml was not requested, only {', '.join(self.__dict__)}")

    def __contains__(self, section: str) -> bool:
        return section in self.__dict__

    def replaced(self, **sections: Section) -> "Params":
        """These params with other sections."""
        return Params(**(self.__dict__ | sections))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """JSON-able form, a mapping per section."""
        return {name: section.model_dump(mode="json") for name, section in self.__dict__.items()}


SECTIONS: dict[str, type[Section]] = dict(Params.__annotations__)
MOST_BYTES = 64_000
REMOVED = {
    **dict.fromkeys(
        ("evaluate.bootstrap", "robustness.bootstrap"), "intervals are computed without resamples: delete the line"
    ),
    **{
        f"evaluate.smoothing_{target}": f"windows are in seconds: write evaluate.smoothing_{target}_s, that number of "
        f"frames / 30 (published: {seconds})"
        for target, seconds in (("valence", 0.667), ("arousal", 1.667))
    },
}
"""Keys of earlier versions: why they are gone, and what to do."""
_SHOWN = 200  # characters of a wrong value
# Errors of the parser for malformed dates, numbers and tags, and for deep nesting.
_YAML_VALUE_ERRORS = (ValueError, TypeError, AttributeError, LookupError, RecursionError)


def load_params(path: str | Path, sections: Iterable[str] | None = None) -> Params:
    """Read and check params.yaml; keep the named sections (default: all) and `execution`.

    Raises:
        BadInputError: the file is missing or not YAML; a section is missing or unknown; a key is unknown, of the wrong
            type, out of range or at odds with another section. All faults are listed with their `section.key`.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MOST_BYTES:
            raise BadInputError(f"{path} has more than {byte_size(MOST_BYTES)}: it is no file of settings")
        values = load_settings(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"{path} is missing: `avfusion preset demo` writes one") from None
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, *_YAML_VALUE_ERRORS) as error:
        raise BadInputError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadInputError(f"{path}: sections ({', '.join(SECTIONS)}) are needed, found {type(values).__name__}")
    return check_params(values, sections, source=path.name)


def check_params(values: dict[str, Any], sections: Iterable[str] | None = None, source: str = "params.yaml") -> Params:
    """Check a mapping of sections as `load_params` does."""
    train = values.get("train")
    context = {"train.model": train.get("model") if isinstance(train, dict) else None}  # whose options sweeps search
    wanted = set(SECTIONS if sections is None else sections) | {"execution"}
    if missing := sorted(wanted - values.keys() - {"execution"}):
        raise BadInputError(f"{source}: section {', '.join(missing)} is missing")
    read: dict[str, Section] = {}
    faults = []
    for name in (name for name in SECTIONS if name in wanted):
        try:
            read[name] = SECTIONS[name].model_validate(values.get(name, {}), context=context)
        except ValidationError as error:
            faults += [_describe(name, fault) for fault in error.errors()]
    faults += [f"{key} is unknown: must be one of {', '.join(SECTIONS)}" for key in values if key not in SECTIONS]
    faults += disagreements(**_valid_sections(values))
    if faults:
        raise BadInputError(f"{source}: " + "; ".join(faults))
    return Params(**read)


def _valid_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """The valid sections among those that `disagreements` compares; faults inside sections are reported elsewhere."""
    valid = {}
    for name in ("geometry", "backbones", "features", "train", "robustness"):
        try:
            valid[name] = SECTIONS[name].model_validate(values[name])
        except (KeyError, ValidationError):
            continue
    return valid


def _describe(section: str, fault: Any) -> str:
    key = ".".join(str(part) for part in (section, *fault["loc"]))
    if fault["type"] == "key":
        return f"{key}.{fault['msg']}"
    if fault["type"] == "extra_forbidden":
        if key in REMOVED:
            return f"{key} is no key any more, since {REMOVED[key]}"
        return f"{key} is unknown: must be one of {', '.join(_siblings(section, fault['loc']))}"
    if fault["type"] == "missing":
        return f"{key} is missing"
    message = fault_text(fault["msg"])
    value = fault["input"]
    text = repr(value)
    shown = "" if isinstance(value, dict) else f" is {text if len(text) <= _SHOWN else f'{text[:_SHOWN]}…'}"
    return f"{key}{shown}: {message[0].lower()}{message[1:]}"


def _siblings(section: str, location: tuple[str | int, ...]) -> list[str]:
    settings: type[BaseModel] = SECTIONS[section]
    for part in location[:-1]:
        annotation = settings.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        settings = annotation
    return list(settings.model_fields)
