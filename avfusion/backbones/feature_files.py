"""Keep data/features current: one feature file per track."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from avfusion.backbones.catalogue import encodes_frames, extraction_code
from avfusion.backbones.folds import STREAMS, backbone_folders, weights_of_fold
from avfusion.backbones.registry import visual_transform
from avfusion.backbones.settings import BackbonesSettings, FeaturesSettings
from avfusion.backbones.track_features import FeatureTask, make_feature_file
from avfusion.backbones.weights import BackboneRecord, read_backbone_record
from avfusion.corpora.table import Track
from avfusion.data import audio as audio_store
from avfusion.data import frames as frame_store
from avfusion.data.feature_spec import AudioTransform, ClipGeometry, FeatureSpec
from avfusion.data.features import read_stamp
from avfusion.data.settings import AudioSettings, GeometrySettings
from avfusion.data.store import Store, StoreReport, update_store
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.execution import list_failures, raise_failures
from avfusion.runtime.fingerprints import fingerprint
from avfusion.runtime.settings import CommonSettings, ExecutionSettings
from avfusion.runtime.stamps import Stamp, content_of


class FeatureSections(Protocol):
    """The sections of params.yaml that decide features or their extraction."""

    common: CommonSettings
    geometry: GeometrySettings
    audio: AudioSettings
    backbones: BackbonesSettings
    features: FeaturesSettings
    execution: ExecutionSettings


def feature_spec(params: FeatureSections, records: Mapping[str, BackboneRecord]) -> FeatureSpec:
    """The feature spec for params and backbones."""
    visual, audio = (records[stream].identity for stream in ("visual", "audio"))
    return FeatureSpec(
        geometry=clip_geometry(params),
        stride=params.features.stride,
        layout=params.features.layout,
        frame_encoder=params.features.layout == "frames" and encodes_frames(visual.name),
        audio=audio_transform(params, audio.input_size),
        visual=visual_transform(visual.name, visual.input_size),
        backbones={"audio": audio, "visual": visual},
        output=params.backbones.output,
        dtype=params.features.dtype,
        threads=params.features.threads,
        batch_size=params.features.batch_size,
    )


def clip_geometry(params: FeatureSections) -> ClipGeometry:
    """The part of the section geometry that decides features."""
    geometry = params.geometry
    return ClipGeometry(clip_frames=geometry.clip_frames, kept_frames=geometry.kept_frames, fps=geometry.fps)


def audio_transform(params: FeatureSections, bands: int) -> AudioTransform:
    """The spectrogram of the section audio, with the backbone's number of mel bands."""
    return AudioTransform(sample_rate=params.audio.sample_rate, n_mels=bands, window_s=params.audio.window_s)


def update_features(
    root: Path, tracks: Sequence[Track], params: FeatureSections, *, device: str = "cpu"
) -> StoreReport:
    """Bring `data/features` to hold exactly one current file for every track that has frames.

    On `cuda`, worker processes share all visible GPUs, at least one process per GPU.

    Raises:
        AVFusionError: backbones are missing, no track has frames, or tracks failed and `common.on_error` is fail.
    """
    store, deaf = feature_store(root, tracks, params, device=device)
    list_failures(deaf)
    if params.common.on_error == "fail":
        raise_failures("features", deaf, len(tracks))
    if not store.wanted:
        raise AVFusionError(f"{root / 'data' / 'frames'} holds no frames of the corpus: run the frames stage")
    gpus, execution = torch.cuda.device_count() if device == "cuda" else 0, params.execution
    if execution.executor == "processes":
        execution = execution.model_copy(update={"workers": max(execution.workers, gpus)})
    report = update_store(
        store,
        execution=execution,
        label="features",
        on_error=params.common.on_error,
        weights={track.track: track.duration_s for track in tracks},
        gpus=gpus,
    )
    return replace(report, failed=deaf | report.failed)


def feature_store(
    root: Path, tracks: Sequence[Track], params: FeatureSections, *, device: str = "cpu"
) -> tuple[Store[FeatureTask], dict[str, str]]:
    """The intended feature files, one for each track with frames, and why some of these tracks get none.

    Raises:
        AVFusionError: backbones are missing.
    """
    backbones = root / "models" / "backbones"
    spec = feature_spec(params, {stream: read_backbone_record(backbones, stream) for stream in STREAMS})
    code = extraction_code(spec)
    folders = backbone_folders(backbones, tracks, params.backbones.folds)
    tasks, wanted = {}, {}
    deaf: dict[str, str] = {}
    for track in sorted(tracks, key=lambda track: folders[track.track]):  # so that workers seldom switch weights
        frames = root / "data" / "frames" / f"{track.track}.parquet"
        sound = root / "data" / "audio" / f"{track.video}.wav"
        if not frames.is_file():  # skipped by the frames stage (`common.on_error: skip`)
            continue
        heard = sound.is_file()
        if track.has_audio and not heard:  # else its video would count as one without sound
            deaf[track.track] = f"{sound.name} is missing, left out by the stage `audio` or lost: run the stage `audio`"
            continue
        task = FeatureTask(
            track.track,
            frames,
            sound if heard else None,
            folders[track.track],
            spec.model_dump_json(),
            device,
            weights_of_fold(backbones, folders[track.track]),
        )
        tasks[track.track] = task
        made = fingerprint(
            spec=spec.deciding(),
            frames=content_of(frames, frame_store.read_stamp),
            sound=content_of(sound, audio_store.read_stamp),
            **({"out_of_fold": task.out_of_fold} if task.out_of_fold else {}),
        )
        wanted[track.track] = Stamp(made, code)
    features = root / "data" / "features"
    return Store(features, ".safetensors", wanted, tasks, make_feature_file, read_stamp), deaf
