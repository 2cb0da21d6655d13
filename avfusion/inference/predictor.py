"""Predict valence and arousal for every frame of a video."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from threading import Thread
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from pydantic import ValidationError

from avfusion.backbones.catalogue import extraction_code
from avfusion.backbones.extraction import FeatureExtractor
from avfusion.backbones.weights import load_backbone
from avfusion.data.audio import AudioFile
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.features import FeatureTable, refuse_not_finite
from avfusion.data.frames import CropFile
from avfusion.data.geometry import clip_end_ticks, clock_frames, frame_positions
from avfusion.data.presence import frame_presence
from avfusion.data.settings import MIN_FACES, FramesSettings, GeometrySettings
from avfusion.fusion.files import load_fusion
from avfusion.fusion.inference import Mode, predict_frames
from avfusion.fusion.model_folder import CONFIG, ModelFolder
from avfusion.fusion.reading import reading_of
from avfusion.inference.advice import IN_PYTHON, Advice
from avfusion.inference.analysis import Analysis, Person, person_names
from avfusion.inference.calibrated import NO_CALIBRATION, calibrate, read_calibration
from avfusion.inference.clip_by_clip import ClipPredictor, overflow_refused
from avfusion.inference.columns import SPREADS, VALUES
from avfusion.inference.own_frames import own_frames
from avfusion.inference.streams import People, PersonFaces, Progress, StreamReader, VideoStreams
from avfusion.media.faces import USUAL_SIDE
from avfusion.runtime.devices import working_device
from avfusion.runtime.errors import AVFusionError, BadInputError, describe_os_error
from avfusion.runtime.forks import works_after_fork
from avfusion.runtime.named_tensors import refuse_unusable
from avfusion.runtime.scratch import scratch_folder
from avfusion.runtime.settings import divisors, fault_text
from avfusion.runtime.units import unit_digest
from avfusion.scoring.calibration import Calibration

Stream = Literal["both", "audio", "visual"]
STREAMS, PEOPLE, MODES = get_args(Stream), get_args(People), get_args(Mode)


class Predictor:
    """A trained model, ready for videos.

    Attributes:
        device: the device that it runs on.
        corpus: name of its training corpus; empty if its config does not say.
        calibration: of its values, None for a model without.
        notes: what readers of its values must know; none for a model trained on real data.
        spec: the feature spec by which features of videos are extracted.
        reading: the sequences of clips, or windows of frames, that the model reads.
    """

    @works_after_fork
    def __init__(
        self, folder: ModelFolder, *, source: str = "", device: str = "auto", min_face: int | None = None
    ) -> None:
        self.source = source or str(folder.fusion)
        self.digest = folder.digest()
        self.name = str(folder.config["fusion"]["name"])
        self.corpus = str((folder.config.get("corpus") or {}).get("name", ""))
        self.notes = folder.notes
        self.spec = FeatureSpec.from_dict(folder.config["feature_spec"])
        self.frames = _frames_settings(folder, min_face)
        self.mode = folder.config.get("inference", "overlap")
        self.calibration = read_calibration(folder)
        geometry = GeometrySettings.model_validate(folder.config.get("geometry") or {})
        self.target_offset = geometry.target_offset
        self.device = _device(device)
        _check_gpu(self.device)
        self._reader = StreamReader()
        self._model = load_fusion(folder.fusion)[0].to(self.device)
        geometry = geometry.model_copy(update={"clip_frames": self.spec.geometry.clip_frames})
        self.reading = reading_of(self.name, self._model.options, geometry, self.spec.stride, self.spec.layout)
        backbones = {
            stream: load_backbone(weights.parent, stream, output=self.spec.output if stream == "visual" else "pooled")[
                0
            ]
            for stream, weights in folder.backbones.items()
        }
        self._extractor = FeatureExtractor(backbones["visual"], backbones["audio"], self.spec, device=str(self.device))
        self._networks = (self._model, *(backbone.network for backbone in backbones.values()))
        for network in self._networks:  # numbers of 64 bits in its files may be beyond the range of 32
            refuse_unusable(network.state_dict(), f"of {self.source}, loaded as 32 bits,")

    @cached_property
    def code(self) -> str:
        """Digest of the code that turns a video into predictions, that of the model and its networks too."""
        return unit_digest("prediction", *sorted({type(network).__module__ for network in self._networks}))

    @classmethod
    def load(
        cls, uri_or_dir: str | Path | None = None, device: str = "auto", *, min_face: int | None = None
    ) -> "Predictor":
        """Load a model's safetensors and config; code in it is never run.

        Args:
            uri_or_dir: a folder (`models/fusion`, or a self-contained copy), `models:/avfusion@champion`,
                `models:/avfusion/1`, `runs:/<id>/fusion`; None: the project's champion, else its models/fusion.
            device: `cpu`, `cuda`, `cuda:1`, …, or `auto`: a GPU if one can be used, else the CPU.
            min_face: smallest face to look for, 12 to 640, in pixels of the picture scaled down to 640 on its longer
                side; default: as in training. The smaller, the slower: 16 takes five times as long as 40.

        Raises:
            BadInputError: the model does not exist, or its files do not fit together.
        """
        from avfusion.inference.default_model import located_model

        with located_model(uri_or_dir) as (folder, source):
            return cls(ModelFolder.open(folder), source=source, device=device, min_face=min_face)

    def predict(
        self,
        path: str | Path,
        stream: Stream = "both",
        stride: int | None = None,
        progress: Progress | None = None,
        notice: Callable[[str], None] | None = None,
        *,
        mode: Mode | None = None,
        uncertainty: bool = False,
        calibrated: bool = False,
        audio_track: int | None = None,
    ) -> pd.DataFrame:
        """Predict valence and arousal of the main person for every frame of a video.

        Args:
            path, stream, stride, progress, notice, mode, uncertainty, calibrated, audio_track: as for `analyse`.

        Returns:
            One row per video frame, or 25 a second of a file with sound alone: `frame` (int32, from 1), `time_s`
            (float64, from frame 1), `valence` and `arousal` (float32 in [-1, 1]), `face_confidence` (float32 of that
            frame, 0: no face), `audio_present` and `visual_present` (bool, of the clip that ends at that frame); with
            `uncertainty` also `valence_sd` and `arousal_sd`, with `calibrated` the ends of the bands `valence_low`,
            `valence_high`, `arousal_low` and `arousal_high` (float32).

        Raises:
            BadInputError, AVFusionError: as `analyse`.
        """
        analysis = self.analyse(
            path,
            stream=stream,
            stride=stride,
            mode=mode,
            uncertainty=uncertainty,
            calibrated=calibrated,
            audio_track=audio_track,
            progress=progress,
            notice=notice,
        )
        return analysis.persons[0].predictions

    @works_after_fork
    def analyse(
        self,
        path: str | Path,
        *,
        people: People = "main",
        stream: Stream = "both",
        stride: int | None = None,
        mode: Mode | None = None,
        uncertainty: bool = False,
        calibrated: bool = False,
        audio_track: int | None = None,
        advice: Advice = IN_PYTHON,
        progress: Progress | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> Analysis:
        """Predict, and locate the faces; the video is decoded in another process.

        Args:
            people: `main`: the main person alone, with a value for every frame; `all`: everybody seen for a second or
                longer, all with the same sound, each with values only for their own frames
                (`avfusion.inference.own_frames`) and NaN elsewhere.
            stream: `both`, or `audio` or `visual` to treat the other stream as absent.
            stride: ticks between clips, a divisor of the clip's length; default: the stride of the model's features.
            mode: `overlap`, `tile` or `causal` (`avfusion.fusion.inference.predict_clips`); default: the model's. With
                `causal`, faces are followed from the past alone, too (`avfusion.media.causal_faces`).
            uncertainty: add `valence_sd` and `arousal_sd`: the standard deviation over the up to 16 sequence positions
                that `overlap` averages. It shows how much a value depends on the clips around it, not the expected
                error. NaN in the first 32 ticks, which have only one position.
            calibrated: give the mean label that went with a value on the videos that stopped the training, instead of
                the value, and the ends of a band around it (`avfusion.scoring.calibration`).
            audio_track: number of the audio track to hear, from 1; default: the one that players take
                (`avfusion.media.audio_track.choose_audio_track`).
            advice: for the reader of warnings and refusals.
            progress: called with phase, progress and total.
            notice: called with warnings for the user (no face found, no audio stream, …) as soon as they arise; the
                analysis holds them, too.

        Raises:
            BadInputError: the file cannot be read, has no such audio track, or neither stream can be used; or
                `calibrated` is asked of a model without calibration, or of other predictions than it was fitted to.
            UnusableModelError: features or predictions are not finite.
            AVFusionError: the decoding process died or took too long, or the model lies on a GPU and this process was
                forked from the one that loaded it.
        """
        _check_gpu(self.device)
        _check_choice("people", people, PEOPLE)
        _check_choice("stream", stream, STREAMS)
        mode = mode or self.mode
        _check_choice("mode", mode, MODES)
        if uncertainty and mode != "overlap":
            raise BadInputError(f"uncertainty is the spread over the positions of mode overlap: mode {mode} has one")
        line = self.usable_calibration(stream, mode) if calibrated else None
        if people == "all" and mode == "causal":
            raise BadInputError("mode causal follows one face, since it knows nobody beforehand: people main is needed")
        spec = self.spec_at(stride)
        with _temporary_folder(path) as folder:
            telling = self._tell_of_other_code()
            streams = self._reader.read(
                path,
                folder,
                stream=stream,
                people=people,
                causal=mode == "causal",
                settings=self.frames,
                spec=spec,
                audio_track=audio_track,
                advice=advice,
                progress=progress,
            )
            telling.join()
            no_face = _no_face(self.frames.min_face, streams.size, advice.small_faces)
            warnings = _check_usable(streams, stream, Path(path), no_face)
            for warning in warnings if notice else ():
                notice(f"{path}: {warning}")  # type: ignore[misc]
            persons: list[tuple[pd.DataFrame, PersonFaces]] = []
            # One by one, as in `avfusion live`: a full batch sums in another order, which changes float16 features.
            extractor = self._extractor.one_by_one() if mode == "causal" else self._extractor
            for number, features in enumerate(_features(extractor, streams, spec.stride)):
                if progress:
                    progress("features", number, len(streams.persons))
                faces = streams.persons[number]
                with overflow_refused(self.source):
                    refuse_not_finite(features.audio, features.visual, str(path))
                    table = self._table(streams, faces, features, mode, uncertainty)
                if line:
                    calibrate(table, line)
                if people == "all" and any(person.present.any() for person in streams.persons):
                    values = [name for name in VALUES if name in table.columns]
                    table.loc[~self._own(streams, faces), values] = np.nan
                persons.append((table, faces))
        if all(table["valence"].isna().all() for table, _ in persons):
            raise BadInputError(f"{path}: no clip of it has a face or sound, so there is nothing to predict from")
        if progress:
            progress("features", len(streams.persons), len(streams.persons))
        named = zip(person_names(len(persons)), persons, strict=True)
        found = tuple(Person(name, table, faces.boxes, faces.thumbnail) for name, (table, faces) in named)
        return Analysis(Path(path), found, *streams.size, streams.fps, warnings)

    def _own(self, streams: VideoStreams, person: PersonFaces) -> np.ndarray:
        """The person's own frames, (N,) bool: a gap lasts a clip at most."""
        geometry = self.spec.geometry
        others = np.logical_or.reduce([streams.strangers, *(p.present for p in streams.persons if p is not person)])
        return own_frames(person.present, others, frame_positions(streams.time_s, geometry.fps), geometry.clip_frames)

    def _table(
        self, streams: VideoStreams, person: PersonFaces, features: FeatureTable, mode: Mode, uncertainty: bool
    ) -> pd.DataFrame:
        spec = features.feature_spec
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
            spacing=self.reading.spacing,
            hop=self.reading.hop,
            mode=mode,
            target_offset=self.target_offset,
            spread=uncertainty,
        )
        presence = frame_presence(streams.time_s, person.present, streams.samples, spec)
        table = pd.DataFrame(
            {
                "frame": np.arange(1, len(streams.time_s) + 1, dtype=np.int32),
                "time_s": streams.time_s.astype(np.float64),
                "valence": frames[:, 0].astype(np.float32),
                "arousal": frames[:, 1].astype(np.float32),
                "face_confidence": person.confidence.astype(np.float32),
                "audio_present": presence[:, 0],
                "visual_present": presence[:, 1],
            }
        )
        for column, name in enumerate(SPREADS if uncertainty else (), 2):
            table[name] = frames[:, column].astype(np.float32)
        return table

    def usable_calibration(self, stream: Stream = "both", mode: Mode | None = None) -> Calibration:
        """The model's calibration, for predictions of the kind that it was fitted to.

        Raises:
            BadInputError: it has none, or it was fitted to values of both streams, or of another mode.
        """
        if self.calibration is None:
            raise BadInputError(f"the model {self.source} {NO_CALIBRATION}")
        if stream != "both" or mode not in (None, self.mode):
            raise BadInputError(
                f"calibration was fitted to values of both streams in mode {self.mode}: not for stream {stream} in "
                f"mode {mode or self.mode}"
            )
        return self.calibration

    def spec_at(self, stride: int | None) -> FeatureSpec:
        """The feature spec with clips `stride` ticks apart; None: as in training.

        Raises:
            BadInputError: `stride` does not divide the clip's length, or is not the one of training for a model that
                reads windows of frames.
        """
        if stride not in (None, self.spec.stride) and self.reading.hop is not None:
            why = f"since {self.name} reads {self.reading.words} (features.layout is frames)"
            raise BadInputError(f"stride is {stride}: must be {self.spec.stride}, {why}")
        clip_frames = self.spec.geometry.clip_frames
        if stride is not None and (stride < 1 or clip_frames % stride):
            allowed = ", ".join(map(str, divisors(clip_frames)))
            raise BadInputError(f"stride is {stride}: must be a divisor of {clip_frames} ({allowed})")
        return self.spec if stride is None else self.spec.model_copy(update={"stride": stride})

    def clip_predictor(self, spec: FeatureSpec) -> ClipPredictor:
        """A predictor of incoming clips of one video, with a spec from `spec_at`."""
        self._tell_of_other_code()
        return ClipPredictor(self._extractor, self._model, spec, self.reading.spacing, self.source)

    def _tell_of_other_code(self) -> Thread:
        """Compare the code of the model's features with ours, which takes half a second, while a video is decoded."""
        telling = Thread(target=_compare_code, args=(self.spec,), daemon=True)
        telling.start()
        return telling


def _compare_code(spec: FeatureSpec) -> None:
    if spec.code and spec.code != extraction_code(spec):
        _say_other_code()


@cache  # once is enough for all models of a process
def _say_other_code() -> None:
    """A refactoring changes the code and no number: that is no reason to refuse the model."""
    print(
        "note: the model was trained on features that other code extracted, so its predictions may differ from those "
        "that were scored: `avfusion vouch features` in its project says whether features differ, `dvc repro` trains "
        "it anew if they do",
        file=sys.stderr,
    )


def _frames_settings(folder: ModelFolder, min_face: int | None) -> FramesSettings:
    if min_face is not None and not MIN_FACES[0] <= min_face <= MIN_FACES[1]:
        raise BadInputError(f"min_face is {min_face}: must be from {MIN_FACES[0]} to {MIN_FACES[1]}")
    try:
        settings = FramesSettings.model_validate(
            folder.config.get("frames") or {}
        )  # models without the section were trained with the defaults
        return settings if min_face is None else settings.model_copy(update={"min_face": min_face})
    except ValidationError as error:
        faults = "; ".join(f"frames.{'.'.join(map(str, f['loc']))}: {fault_text(f['msg'])}" for f in error.errors())
        raise BadInputError(f"{folder.fusion / CONFIG}: {faults}") from None


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device(working_device())
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadInputError(f"device is {name!r}: must be one of auto, cpu, cuda, cuda:0, …") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BadInputError(f"device is {name!r}, but this machine or this torch has no CUDA: use cpu or auto")
    return device


def _check_gpu(device: torch.device) -> None:
    """Refuse a GPU that was in use before this process was forked: CUDA does not survive that."""
    if device.type == "cuda":
        try:
            torch.cuda.init()
        except RuntimeError as error:
            raise AVFusionError(f"device {device} cannot be used: {error}") from None


def _features(extractor: FeatureExtractor, streams: VideoStreams, stride: int) -> Iterator[FeatureTable]:
    """Features of each person in turn; the common sound is encoded once."""
    main, *others = streams.persons
    with nullcontext() if streams.sound is None else AudioFile(streams.sound) as sound, CropFile(main.crops) as crops:
        first = extractor.extract_track(streams.time_s, crops, sound, stride=stride)
    yield first
    clock = clock_frames(streams.time_s, extractor.spec.geometry.fps)
    ends = clip_end_ticks(len(clock), stride)
    for person in others:
        with CropFile(person.crops) as crops:
            visual, present = extractor.visual_clips(crops, ends, clock, kind=np.float16)
        yield replace(first, visual=visual, visual_present=present)


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise BadInputError(f"{name} is {value!r}: must be one of {', '.join(allowed)}")


def _check_usable(streams: VideoStreams, stream: Stream, path: Path, no_face: str) -> tuple[str, ...]:
    """Warnings about a usable video; an error for any other. `no_face`: which face was looked for in vain."""
    seen, heard = any(person.present.any() for person in streams.persons), streams.samples > 0
    if not seen and not heard:
        wanted = {"both": f"{no_face} and no audio", "audio": "no audio", "visual": no_face}[stream]
        reason = f" ({streams.silence})" if streams.silence else ""
        raise BadInputError(f"{path}: {wanted} in it{reason}, so there is nothing to predict from")
    found = list(streams.warnings)
    if not any(streams.size):
        found.append("sound without pictures: predicted from the voice, 25 rows per second")
    elif stream == "both" and not seen:
        found.append(f"{no_face}: predicted from the sound alone")
    if stream == "both" and not heard:
        found.append(f"{streams.silence}: predicted from the face alone")
    return tuple(found)


@contextmanager
def _temporary_folder(path: str | Path) -> Iterator[Path]:
    """A folder for the sound and crops of a video.

    Raises:
        AVFusionError: no folder of temporary files can be written to.
    """
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder("predict"))
        except OSError as error:
            why = f"temporary files cannot be written: {describe_os_error(error)}"
            raise AVFusionError(f"{path}: {why}: let TMPDIR name another folder") from None
        yield folder


def _no_face(min_face: int, size: tuple[int, int], advice: str) -> str:
    """What was looked for in vain, in pixels of a picture of this size."""
    here = round(min_face * max(size) / USUAL_SIDE)
    more = ": ".join(filter(None, (f"{min_face} at {USUAL_SIDE} wide" if here > min_face else "", advice)))
    return f"no face of {max(here, min_face)} pixels or more" + (f" ({more})" if more else "")
