"""The feature spec: everything that decides the numbers in a feature file; kept in features and in fusion models.

Inference computes features by the spec of its model and refuses features of any other.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import fingerprint

_LAST_VERSION = 2  # models made before specs carried `code` have a version; this one gave the numbers of today

# Far above what anybody uses: a file of somebody else must not ask for all memory.
Ticks = Annotated[int, Field(ge=1, le=10_000)]
Size = Annotated[int, Field(ge=1, le=65_536)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ClipGeometry(_Part):
    """The frames of a clip (arXiv 2209.09068): `kept_frames` of `clip_frames` ticks of a clock of `fps`."""

    clip_frames: Ticks = 32
    kept_frames: Ticks = 8
    fps: Annotated[float, Field(gt=0, le=1000)] | None = None


class AudioTransform(_Part):
    """Log-mel spectrogram of one clip (arXiv 2209.09068; constants of TSAV, arXiv 2002.03399).

    `window_s`: seconds of sound per clip, None for the clip's own duration; `min_samples`: shorter sound is padded with
    zeros on the left; decibels are clamped at `top_db` below the clip's maximum, then (x + offset_db) / scale_db.
    """

    sample_rate: Annotated[int, Field(ge=1000, le=1_000_000)] = 44100
    n_fft: Size = 1024
    win_length: Size = 882
    hop_length: Size = 441
    n_mels: Size = 64
    top_db: float = 80.0
    offset_db: float = 14.8
    scale_db: float = 19.895
    min_samples: Annotated[int, Field(ge=0, le=100_000_000)] = 45599
    window_s: Annotated[float, Field(gt=0, le=3600)] | None = None


class VisualTransform(_Part):
    """Crops scaled down to `input_size` pixels and to [0, 1], minus `mean`, over `std` (RGB; Kinetics-400)."""

    input_size: Size = 112
    mean: tuple[float, float, float] = (0.43216, 0.394666, 0.37645)
    std: tuple[float, float, float] = (0.22803, 0.22145, 0.216989)


class BackboneIdentity(_Part):
    """A backbone: its name and sizes, the SHA-256 of its weights file, origin and terms of the weights."""

    name: str
    width: Size
    input_size: Size
    feature_dim: Size
    sha256: str
    source: str = ""
    licence: str = ""


class FeatureSpec(_Part):
    """Everything that decides the numbers in a feature file.

    `code` is the digest of the extracting code, "" if unknown. It is a record, not part of `digest()`: other code may
    give the same numbers, and files carry the code in their stamp.

    With the layout `frames` a row belongs to a frame, for models that read windows of frames. `frame_encoder`: its
    visual vector is of that frame's crop alone; else it is of the clip that ends there, as with `clips`.
    """

    geometry: ClipGeometry
    stride: Ticks
    layout: Literal["clips", "frames"] = "clips"
    frame_encoder: bool = False
    audio: AudioTransform
    visual: VisualTransform
    backbones: dict[Literal["audio", "visual"], BackboneIdentity]
    output: Literal["pooled", "map"] = "pooled"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    threads: Ticks = 1
    batch_size: Size = 32
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return self.model_dump(mode="json", exclude=self._unused())

    @property
    def shown(self) -> ClipGeometry:
        """The frames of which the visual backbone sees some for a row: a clip's, or the frame alone."""
        return (
            ClipGeometry(clip_frames=1, kept_frames=1, fps=self.geometry.fps) if self.frame_encoder else self.geometry
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "FeatureSpec":
        """Read the form of `to_dict`.

        Raises:
            BadInputError: its version is old, or a key is missing, unknown or of the wrong type.
        """
        values = dict(values)
        if (found := values.pop("version", _LAST_VERSION)) != _LAST_VERSION:
            raise BadInputError(
                f"feature spec of version {found}: this avfusion would extract other features: make features and "
                "models anew (`dvc repro`), or use the avfusion that the model is from"
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
            raise BadInputError(f"not a feature spec of this version of avfusion: {faults}") from None

    def deciding(self) -> dict[str, Any]:
        """The deciding parts as JSON: all except `code` and the origins of weights."""
        left_out = dict.fromkeys(self._unused(), True)
        origins = {"backbones": {"__all__": {"source", "licence"}}}
        return self.model_dump(mode="json", exclude={"code": True, **left_out, **origins})

    def _unused(self) -> set[str]:
        """Keys of layouts, where they say nothing: specs of clips are those from before there were layouts."""
        fields = type(self).model_fields
        return {key for key in ("layout", "frame_encoder") if getattr(self, key) == fields[key].default}

    def digest(self) -> str:
        """Hexadecimal digest; equal for specs that give equal numbers."""
        return fingerprint(feature_spec=self.deciding())
