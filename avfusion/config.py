"""Typed parameters: params.yaml read once, at the edge, checked key by key.

Every section of params.yaml is one class here. Unknown keys, wrong types and values out of range are refused with
`section.key`, the value and what is allowed.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from avfusion.agreement import disagreements, divisors
from avfusion.errors import BadInputError
from avfusion.model_names import DECIDED_ELSEWHERE, FUSION_OPTIONS, check_backbone, check_option_value
from avfusion.param_types import (
    Count,
    Folds,
    Fraction,
    FusionName,
    Number,
    Positive,
    RegisteredName,
    Section,
    Seed,
    UniqueKeys,
    section_fault,
)
from avfusion.search_space import space_fault

DEMO_ROOT = "data/raw/demo"  # what the stage `render` makes, as dvc.yaml says


class Common(Section):
    """What every stage shares."""

    threads: Count = 2
    on_error: Literal["fail", "skip"] = "fail"


class Geometry(Section):
    """Clips and sequences in time (SCIENCE: 32-frame clips, 16 clips a sequence)."""

    clip_frames: Count = 32
    kept_frames: Count = 8
    sequence_clips: Count = 16
    fps: Positive | None = None
    target_offset: Annotated[int, Field(ge=-512, le=512, strict=True)] = 0

    @model_validator(mode="after")
    def _kept(self) -> "Geometry":
        if self.clip_frames % self.kept_frames:
            allowed = ", ".join(map(str, divisors(self.clip_frames)))
            message = f"allowed are the divisors of clip_frames ({allowed})"
            raise section_fault("kept_frames", self.kept_frames, message)
        return self


class Render(Section):
    """The demo corpus."""

    seed: Seed = 1
    train: Annotated[int, Field(ge=1, strict=True)] = 60
    val: Annotated[int, Field(ge=1, strict=True)] = 12
    test: Annotated[int, Field(ge=1, strict=True)] = 16
    min_seconds: Positive = 25
    max_seconds: Positive = 30
    size: Annotated[int, Field(ge=96, le=1024, multiple_of=16, strict=True)] = 256

    @model_validator(mode="after")
    def _seconds(self) -> "Render":
        if self.min_seconds > self.max_seconds:
            raise section_fault("min_seconds", self.min_seconds, f"allowed is at most max_seconds ({self.max_seconds})")
        return self


class Corpus(Section):
    """Where the data are."""

    name: Literal["demo", "affwild2", "manifest"] = "demo"
    root: str = DEMO_ROOT
    annotations: str | None = None
    test_list: str | None = None
    manifest: str | None = None

    @model_validator(mode="after")
    def _rendered(self) -> "Corpus":
        if self.name == "demo" and Path(self.root) != Path(DEMO_ROOT):
            message = f"the demo corpus is rendered into {DEMO_ROOT}; corpus.name affwild2 reads its form elsewhere"
            raise section_fault("root", self.root, message)
        return self


class Frames(Section):
    """Face crops per video frame."""

    detect_every: Count = 5
    min_confidence: Fraction = 0.9
    jpeg_quality: Annotated[int, Field(ge=1, le=100, strict=True)] = 95
    contact_sheets: bool = True


class Audio(Section):
    """Aligned audio and its spectrogram."""

    sample_rate: Literal[44100] = 44100
    window_s: Positive | None = None


class Backbone(Section):
    """One stream's network and how it is trained."""

    name: str
    width: Count = 64
    input_size: Count = 112
    weights: str = "random"
    epochs: Annotated[int, Field(ge=0, strict=True)] = 10
    steps_per_epoch: Count | None = None
    batch_size: Annotated[int, Field(ge=2, strict=True)] = 32
    lr: Positive = 1e-3
    weight_decay: Annotated[Number, Field(ge=0)] = 1e-2
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.3
    patience: Count = 3


class Backbones(Section):
    """Both streams' networks."""

    seed: Seed = 0
    amp: Literal["auto", "off", "float16", "bfloat16"] = "auto"
    output: Literal["pooled", "map"] = "pooled"
    batch_norm: Literal["frozen", "train"] = "frozen"
    augmentation: Annotated[bool, Field(strict=True)] = True
    hue: Annotated[Number, Field(ge=0, le=0.5)] = 0.0
    folds: Folds = 0
    visual: Backbone
    audio: Backbone

    @model_validator(mode="after")
    def _names(self) -> "Backbones":
        for stream, backbone in (("visual", self.visual), ("audio", self.audio)):
            if wrong := check_backbone(stream, backbone.name, backbone.weights, backbone.width, backbone.input_size):
                key, allowed = wrong
                raise section_fault(f"{stream}.{key}", getattr(backbone, key), allowed)
        return self


class Features(Section):
    """What is cached for fusion."""

    stride: Count = 8
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: Count = 1
    batch_size: Count = 32


class Train(Section):
    """Fusion training (paper's recipe as defaults)."""

    model: FusionName = "jca"
    options: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    baselines: tuple[FusionName, ...] = ("audio_only", "visual_only", "concat")
    seed: Seed = 0
    epochs: Annotated[int, Field(ge=0, strict=True)] = 50
    batch_size: Count = 64
    lr: Positive = 1e-4
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    schedule: Literal["plateau", "cosine", "constant"] = "plateau"
    patience: Count = 10
    clip_norm: Positive = 1.0
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.6
    modality_dropout: Fraction = 0.0
    amp: Literal["auto", "off", "float16", "bfloat16"] = "auto"
    inference: Literal["overlap", "tile", "causal"] = "overlap"

    @model_validator(mode="after")
    def _options(self) -> "Train":
        known = FUSION_OPTIONS[self.model]
        for name, value in self.options.items():
            if name not in known:
                why = f" ({DECIDED_ELSEWHERE[name]})" if name in DECIDED_ELSEWHERE else ""
                message = f"{self.model} has no such option{why}: allowed are {', '.join(known) or 'none'}"
                raise section_fault(f"options.{name}", value, message)
            if allowed := check_option_value(name, value):
                raise section_fault(f"options.{name}", value, allowed)
        return self

    @model_validator(mode="after")
    def _untrained(self) -> "Train":
        if self.weights is not None and self.epochs == 0 and self.baselines:
            message = "train.weights starts the main model alone and train.epochs is 0: allowed is []"
            raise section_fault("baselines", list(self.baselines), message)
        return self


class Sweep(Section):
    """The search for better parameters of `train`. No stage depends on it."""

    study: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\w. -]+$")] = "fusion"
    trials: Count = 30
    seed: Seed = 0
    startup_trials: Count = 10
    pruner: Literal["median", "hyperband", "none"] = "median"
    heartbeat: Count = 30
    space: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _space(self) -> "Sweep":
        if wrong := space_fault(self.space, Train):
            key, value, message = wrong
            raise section_fault(f"space.{key}", value, message)
        return self


class Evaluate(Section):
    """Scores and pictures."""

    smoothing_valence: Count = 20
    smoothing_arousal: Count = 50
    bootstrap: Annotated[int, Field(ge=100, strict=True)] = 2000
    seed: Seed = 0
    released_protocol: bool = False
    trace_plots: Annotated[int, Field(ge=0, strict=True)] = 6


class Report(Section):
    """The page reports/evaluate/report.html."""

    thumbnails: bool = False
    worst_tracks: Annotated[int, Field(ge=0, strict=True)] = 3
    tracks: Annotated[int, Field(ge=0, strict=True)] = 3


class Robustness(Section):
    """Scores with disturbed streams."""

    stride: Count = 32
    tracks: Count | None = None
    modality_dropout: Fraction = 0.3
    bootstrap: Annotated[int, Field(ge=100, strict=True)] = 1000
    seed: Seed = 0


class Register(Section):
    """The MLflow model registry."""

    name: RegisteredName = "avfusion"


class Execution(Section):
    """How per-track work is spread. Changes no byte of any output, so no stage depends on it."""

    executor: Literal["serial", "processes", "ray"] = "processes"
    workers: Count = 2


class Params(Section):
    """All of params.yaml, or the sections that one stage asked for (the others are absent)."""

    common: Common = Field(default=None)  # type: ignore[assignment]
    geometry: Geometry = Field(default=None)  # type: ignore[assignment]
    render: Render = Field(default=None)  # type: ignore[assignment]
    corpus: Corpus = Field(default=None)  # type: ignore[assignment]
    frames: Frames = Field(default=None)  # type: ignore[assignment]
    audio: Audio = Field(default=None)  # type: ignore[assignment]
    backbones: Backbones = Field(default=None)  # type: ignore[assignment]
    features: Features = Field(default=None)  # type: ignore[assignment]
    train: Train = Field(default=None)  # type: ignore[assignment]
    sweep: Sweep = Field(default=None)  # type: ignore[assignment]
    evaluate: Evaluate = Field(default=None)  # type: ignore[assignment]
    report: Report = Field(default=None)  # type: ignore[assignment]
    robustness: Robustness = Field(default=None)  # type: ignore[assignment]
    register_: Register = Field(default=None, alias="register")  # type: ignore[assignment]
    execution: Execution = Field(default=None)  # type: ignore[assignment]


# What the parser lets through of values that look like a date, a number or a tag and are none, and of deep nesting.
_YAML_VALUE_ERRORS = (ValueError, TypeError, AttributeError, LookupError, RecursionError)
SECTIONS = tuple(field.alias or name for name, field in Params.model_fields.items())


def load_params(path: str | Path, sections: Iterable[str] | None = None) -> Params:
    """Read and check params.yaml; keep the named sections (default: all) and `execution`.

    Raises:
        BadInputError: no such file, not YAML, a section missing or unknown, or a key that is unknown, of the wrong
            type, out of range or at odds with another section; every fault is listed with its `section.key`.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)
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
    wanted = set(SECTIONS if sections is None else sections) | {"execution"}
    if missing := sorted(wanted - values.keys() - {"execution"}):
        raise BadInputError(f"{source}: section {', '.join(missing)} is missing")
    kept = {key: value for key, value in values.items() if key in wanted or key not in SECTIONS}
    faults = []
    try:
        params = Params.model_validate({"execution": {}} | kept)
    except ValidationError as error:
        faults = [_describe(fault) for fault in error.errors()]
    faults += disagreements(**_valid_sections(values))
    if faults:
        raise BadInputError(f"{source}: " + "; ".join(faults))
    return params


def _valid_sections(values: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that are valid by themselves; the fault of another one is that of whoever asks for it."""
    known: dict[str, type[Section]] = {
        "geometry": Geometry,
        "backbones": Backbones,
        "features": Features,
        "train": Train,
    }
    valid = {}
    for name, section in known.items():
        try:
            valid[name] = section.model_validate(values[name])
        except (KeyError, ValidationError):
            continue
    return valid


def _describe(fault: Any) -> str:
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "key":
        return f"{key}.{fault['msg']}"
    if fault["type"] == "extra_forbidden":
        return f"{key} is unknown: allowed are {', '.join(_siblings(fault['loc']))}"
    if fault["type"] == "missing":
        return f"{key} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    value = fault["input"]
    shown = "" if isinstance(value, dict) else f" is {value!r}"
    return f"{key}{shown}: {message[0].lower()}{message[1:]}"


def _siblings(location: tuple[str | int, ...]) -> list[str]:
    section: type[BaseModel] = Params
    for part in location[:-1]:
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        annotation = fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        section = annotation
    return [field.alias or name for name, field in section.model_fields.items()]
