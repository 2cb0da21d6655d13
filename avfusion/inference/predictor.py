"""Video in, valence and arousal for every frame out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError

from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.weights import load_backbone
from avfusion.config import Frames
from avfusion.data.audio import AudioFile
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import refuse_not_finite
from avfusion.data.frames import CropFile
from avfusion.data.geometry import clip_end_ticks, clock_frames, frame_positions
from avfusion.data.presence import frame_presence
from avfusion.errors import BadInputError
from avfusion.fusion.inference import predict_frames
from avfusion.inference.model_folder import CONFIG, ModelFolder
from avfusion.inference.streams import Progress, StreamReader, VideoStreams
from avfusion.training.fusion_files import load_fusion

Stream = Literal["both", "audio", "visual"]


class Predictor:
    """A trained model, ready for videos.

    Attributes:
        source: where the model came from, for people.
        digest: what identifies its weights and config.
        spec: how features are made; a video's features are made by it and no other way.
        frames: how faces are looked for and crops are kept, likewise.
    """

    def __init__(self, folder: ModelFolder, *, source: str = "", device: str = "cpu") -> None:
        self.source = source or str(folder.fusion)
        self.digest = folder.digest()
        self.name = str(folder.config["fusion"]["name"])
        self.spec = FeatureSpec.from_dict(folder.config["feature_spec"])
        self.frames = _frames_settings(folder)
        self.mode = folder.config.get("inference", "overlap")
        self.target_offset = int((folder.config.get("geometry") or {}).get("target_offset", 0))
        self.device = _device(device)
        self._reader = StreamReader()
        self._model = load_fusion(folder.fusion)[0].to(self.device)
        backbones = {
            stream: load_backbone(weights.parent, stream, output=self.spec.output if stream == "visual" else "pooled")[
                0
            ]
            for stream, weights in folder.backbones.items()
        }
        self._extractor = FeatureExtractor(backbones["visual"], backbones["audio"], self.spec, device=str(self.device))

    @classmethod
    def load(cls, uri_or_dir: str | Path | None = None, device: str = "cpu") -> "Predictor":
        """Load a model's safetensors and config; its code, where it has some, is not run.

        Args:
            uri_or_dir: a folder (`models/fusion`, or a self-contained copy), `models:/avfusion@champion`,
                `models:/avfusion/1`, `runs:/<id>/fusion`; None: the project's champion, else its models/fusion.
            device: `cpu`, `cuda`, `cuda:1`, … or `auto`.

        Raises:
            BadInputError: there is no such model, or its files do not fit together.
        """
        from avfusion.inference.default_model import default_model

        chosen, source = default_model() if uri_or_dir is None else (str(uri_or_dir), str(uri_or_dir))
        with _folder(chosen) as folder:
            return cls(ModelFolder.open(folder), source=source, device=device)

    def predict(
        self,
        path: str | Path,
        stream: Stream = "both",
        stride: int | None = None,
        progress: Progress | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> pd.DataFrame:
        """Predict valence and arousal for every frame of a video, which is decoded in another process.

        Args:
            path: a local media file.
            stream: `audio` or `visual`: the other one is treated as absent.
            stride: ticks between clips, a divisor of the clip's length; default: that of the model's features.
            progress: called with what is being done, how much of it is done, and of how much.
            notice: called with what the user should know (no face found, no audio stream, …).

        Returns:
            One row per video frame: `frame` (int32, from 1), `time_s` (float64, from frame 1), `valence` and `arousal`
            (float32 in [-1, 1]), `face_confidence` (float32 of that frame, 0: no face), `audio_present` and
            `visual_present` (bool, of the clip that ends at that frame).

        Raises:
            BadInputError: the file cannot be read, or neither stream can be used.
            AVFusionError: the process that decoded it died, or took too long; or features are not finite.
        """
        if stream not in ("both", "audio", "visual"):
            raise BadInputError(f"stream is {stream!r}: allowed are both, audio, visual")
        self._check_stride(stride)
        notice = notice or (lambda text: None)
        with TemporaryDirectory(prefix="avfusion-") as folder:
            streams = self._reader.read(path, Path(folder), stream=stream, settings=self.frames, progress=progress)
            _check_usable(streams, stream, Path(path), notice)
            if progress:
                progress("features", 0, 1)
            with (
                CropFile(streams.crops) as crops,
                nullcontext() if streams.sound is None else AudioFile(streams.sound) as sound,
            ):
                features = self._extractor.extract_track(streams.time_s, crops, sound, stride=stride)
        spec = features.feature_spec
        refuse_not_finite(features.audio, features.visual, f"{path}: the model's weights are unusable")
        if not (features.audio_present.any() or features.visual_present.any()):
            raise BadInputError(f"{path}: no clip of it has a face or sound, so there is nothing to predict from")
        fps = spec.geometry.fps
        frames = predict_frames(
            self._model,
            features.audio,
            features.visual,
            features.audio_present,
            features.visual_present,
            clip_ticks=clip_end_ticks(len(clock_frames(streams.time_s, fps)), spec.stride),
            frame_ticks=frame_positions(streams.time_s, fps),
            stride=spec.stride,
            clip_frames=spec.geometry.clip_frames,
            mode=self.mode,
            target_offset=self.target_offset,
        )
        presence = frame_presence(streams.time_s, streams.face_present, streams.samples, spec)
        if progress:
            progress("features", 1, 1)
        return pd.DataFrame(
            {
                "frame": np.arange(1, len(streams.time_s) + 1, dtype=np.int32),
                "time_s": streams.time_s.astype(np.float64),
                "valence": frames[:, 0].astype(np.float32),
                "arousal": frames[:, 1].astype(np.float32),
                "face_confidence": streams.face_confidence.astype(np.float32),
                "audio_present": presence[:, 0],
                "visual_present": presence[:, 1],
            }
        )

    def _check_stride(self, stride: int | None) -> None:
        clip_frames = self.spec.geometry.clip_frames
        if stride is not None and (stride < 1 or clip_frames % stride):
            allowed = ", ".join(str(s) for s in range(1, clip_frames + 1) if clip_frames % s == 0)
            raise BadInputError(f"stride is {stride}: allowed are the divisors of {clip_frames} ({allowed})")


def _frames_settings(folder: ModelFolder) -> Frames:
    try:
        return Frames.model_validate(folder.config.get("frames") or {})  # older models were trained with the defaults
    except ValidationError as error:
        faults = "; ".join(f"frames.{'.'.join(map(str, f['loc']))}: {f['msg']}" for f in error.errors())
        raise BadInputError(f"{folder.fusion / CONFIG}: {faults}") from None


@contextmanager
def _folder(uri_or_dir: str) -> Iterator[Path]:
    if uri_or_dir.startswith(("models:/", "runs:/")):
        from avfusion.inference.default_model import store_root
        from avfusion.tracking.download import downloaded_model

        with downloaded_model(uri_or_dir, store_root()) as folder:
            yield folder
    else:
        if not Path(uri_or_dir).is_dir():
            raise BadInputError(f"there is no model folder {uri_or_dir}: a folder, models:/… or runs:/… is needed")
        yield Path(uri_or_dir)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInputError(f"device is {name!r}: allowed are auto, cpu, cuda, cuda:0, …") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInputError(f"device is {name!r}, but this machine or this torch has no CUDA: use cpu or auto")
    return device


def _check_usable(streams: VideoStreams, stream: Stream, path: Path, notice: Callable[[str], None]) -> None:
    seen, heard = streams.face_present.any(), streams.samples > 0
    if not seen and not heard:
        wanted = {"both": "no face and no audio", "audio": "no audio", "visual": "no face"}[stream]
        reason = f" ({streams.silence})" if streams.silence else ""
        raise BadInputError(f"{path}: {wanted} in it{reason}, so there is nothing to predict from")
    for warning in streams.warnings:
        notice(f"{path}: {warning}")
    if stream == "both" and not seen:
        notice(f"{path}: no face found: predicted from the sound alone")
    if stream == "both" and not heard:
        notice(f"{path}: {streams.silence}: predicted from the face alone")
