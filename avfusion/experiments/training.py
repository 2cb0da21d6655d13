"""What the training of fusion models reads: features and labels by split, and which models there are to train."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avfusion.backbones.seen_data import SeenData, model_origins, seen_data
from avfusion.corpora.table import Track, read_tracks
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.settings import GeometrySettings
from avfusion.data.track_data import TrackData, load_split
from avfusion.experiments.start import read_start
from avfusion.experiments.stopping import Stopping, few_groups_warning, part, used_stopping
from avfusion.experiments.train_unit import training_table
from avfusion.fusion.contract import refuse_outside
from avfusion.fusion.reading import Reading, reading_of
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import arrays_digest, fingerprint
from avfusion.training.sequences import SequenceData
from avfusion.training.settings import TrainSettings
from avfusion.training.start import Start


@dataclass(frozen=True)
class TrainingInputs:
    """What training reads, and digests of it.

    Attributes:
        train: tracks with features, in the order of the table; without `stopping`, if it is an inner split.
        validation: likewise, of the official split.
        contents: digest of all that training reads of a track, by track.
        digests: of the tracks by split, and of the validation corpus itself, whose sources decide whether two models'
            validation scores may be compared; of the weights that the main model starts from.
        start: those weights, None: random ones.
        inner: tracks of the training split that are set aside to stop trainings; None: `validation` does that.
    """

    train: list[TrackData]
    validation: list[TrackData]
    feature_spec: FeatureSpec
    contents: dict[str, str]
    digests: dict[str, str]
    start: Start | None = None
    inner: list[TrackData] | None = None

    @property
    def stopping(self) -> list[TrackData]:
        """The tracks that decide when a training stops."""
        return self.validation if self.inner is None else self.inner

    @property
    def stopping_split(self) -> Stopping:
        """Where these tracks come from."""
        return "validation" if self.inner is None else "inner"

    def reading(self, config: TrainSettings, geometry: GeometrySettings) -> Reading:
        """Which sequences the model `config.model` reads from these features."""
        spec = self.feature_spec
        return reading_of(config.model, config.options, geometry, spec.stride, spec.layout)

    def sequences(
        self, geometry: GeometrySettings, device: str = "cpu", config: TrainSettings | None = None
    ) -> SequenceData:
        """The training split as one table, with the sequences that a model reads; default: one that reads clips."""
        clips = Reading(geometry.sequence_clips, geometry.clip_frames)
        reading = self.reading(config, geometry) if config else clips
        return training_table(self.train, self.feature_spec, reading, device)

    def seen_data(self, corpus: str) -> SeenData:
        """What the weights that these trainings rest on have seen of the corpus of this name."""
        return seen_data(model_origins(self.feature_spec, self.start.facts if self.start else None), corpus)

    def refuse_models(self, configs: Iterable[TrainSettings], geometry: GeometrySettings) -> None:
        """Refuse models from outside the package that break the contract of `forward` on features of these sizes.

        Raises:
            BadInputError: a model does; the message names model and fault.
        """
        track = self.train[0]
        width, *map_shape = track.visual.shape[1:]
        sizes = {"audio_dim": track.audio.shape[1], "visual_dim": width}
        for config in {json.dumps([c.model, c.options], sort_keys=True): c for c in configs}.values():
            length = self.reading(config, geometry).length
            refuse_outside(config.model, sizes | {"length": length}, config.options, tuple(map_shape))


def read_inputs(
    root: Path, geometry: GeometrySettings, config: TrainSettings | None = None, *, stopping: Stopping = "validation"
) -> TrainingInputs:
    """Read features, frame times and labels of the training and validation tracks below `root`.

    Args:
        config: its `weights` are read, too.
        stopping: `inner` sets a tenth of the training groups aside, if there are enough.

    Raises:
        BadInputError: a split has no track with features; or see `read_start`.
        AVFusionError: feature files disagree about what made them.
    """
    table = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    splits = {split: load_split(root, table, split, geometry) for split in ("train", "val")}
    for split, tracks in splits.items():
        if not tracks:
            raise BadInputError(f"no track of the split {split} has features: run the stage `features`")
    spec = common_spec([track for tracks in splits.values() for track in tracks])
    digests = {"validation_corpus": corpus_digest([track for track in table if track.split == "val"])}
    contents = {track.track: _content(track) for tracks in splits.values() for track in tracks}
    for split, tracks in splits.items():
        digests[f"tracks_{split}"] = fingerprint(tracks={track.track: contents[track.track] for track in tracks})
    inner = None
    if used_stopping(stopping, table) == "inner":
        # Drawn from the table, as for the backbones: a track without features changes nothing.
        splits["train"], inner = part(splits["train"], [track for track in table if track.split == "train"])
        if not splits["train"] or not inner:
            raise BadInputError(
                "train.stopping is inner, and the features of all tracks on one side of the inner split are missing: "
                "run the stage `features`"
            )
        for name, side in (("train", splits["train"]), ("stopping", inner)):
            digests[f"tracks_{name}"] = fingerprint(tracks={track.track: contents[track.track] for track in side})
    elif warning := few_groups_warning(stopping, table):
        print(f"warning: {warning}", flush=True)
    start = read_start(root, config, spec) if config else None
    if start:
        digests["start"] = start.facts["sha256"]
    return TrainingInputs(splits["train"], splits["val"], spec, contents, digests, start, inner)


def common_spec(tracks: Sequence[TrackData]) -> FeatureSpec:
    """The feature spec that all tracks share.

    Raises:
        AVFusionError: two tracks' features were made differently; both are named.
    """
    spec = tracks[0].feature_spec
    if spec is None:
        raise AVFusionError(f"the features of {tracks[0].track} carry no feature spec: run the stage `features` again")
    for track in tracks:
        if track.feature_spec is None or track.feature_spec.digest() != spec.digest():
            raise AVFusionError(
                f"the features of {tracks[0].track} and {track.track} were made with different backbones or "
                "transforms: run the stage `features` again"
            )
    return spec


def corpus_digest(tracks: Sequence[Track]) -> str:
    """Digest of the sources (videos, crops, annotations and their delay) of tracks."""
    return fingerprint(tracks={t.track: [t.video_hash, t.crops_hash, t.labels_hash, t.label_delay_s] for t in tracks})


def model_names(config: TrainSettings) -> list[str]:
    """The main model and the baselines, each once."""
    return list(dict.fromkeys((config.model, *config.baselines)))


def config_of(config: TrainSettings, name: str, **values: Any) -> TrainSettings:
    """The section as it stands for one model alone: options and weights belong to `model`, and there are no baselines.

    Args:
        values: keys that are to have other values.
    """
    main = name == config.model
    own = {"options": config.options if main else {}, "weights": config.weights if main else None}
    return TrainSettings.model_validate(config.model_dump() | {"model": name, "baselines": ()} | own | values)


def model_folder(root: Path, name: str, config: TrainSettings) -> Path:
    """Where a trained model belongs."""
    return root / "models" / "fusion" if name == config.model else root / "models" / "baselines" / name


def _content(track: TrackData) -> str:
    """Digest of all that training reads of a track; its features are known by the digest in their file."""
    names = ("clip_ticks", "frame_ticks", "target_frames", "labels", "valid")
    return fingerprint(features=track.fingerprint, arrays=arrays_digest({name: getattr(track, name) for name in names}))
