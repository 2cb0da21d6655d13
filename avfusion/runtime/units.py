"""List the modules that compute each kept result, and the modules that decide no number.

A unit is a kind of kept result: the frames of a track, a backbone, a fusion model trained with one seed. Its code is
the modules below and everything they import (`avfusion.runtime.code_digest`), with the modules of the networks that
take part. A change of that code makes the unit's results anew, and no others.
"""

from collections.abc import Mapping
from functools import cache

from avfusion.runtime.code_digest import code_digest

UNITS: Mapping[str, tuple[str, ...]] = {
    # One video of the demo corpus, with its crops, annotations and truth.
    "demo": ("avfusion.corpora.demo.video_files",),
    # Facts about a video file: frames, rate, duration, streams.
    "probes": ("avfusion.media.probe",),
    # The labels of a track's frames.
    "labels": (
        *("avfusion.data.frame_labels", "avfusion.data.annotations", "avfusion.data.own_labels"),
        "avfusion.data.category_labels",
    ),
    # The frames of a track whose crops come with the corpus.
    "crops": ("avfusion.data.source_crops",),
    # The frames of a track whose faces are found by the project.
    "faces": ("avfusion.data.detected_crops",),
    # The contact sheet of a track.
    "sheets": ("avfusion.data.contact_sheets",),
    # The sound of a video.
    "audio": ("avfusion.data.video_sound",),
    # The features of a track; the modules of both networks are added.
    "features": ("avfusion.backbones.track_features",),
    # The training of a backbone; the network's own module is added.
    "audio_backbone": (
        *("avfusion.backbones.pretrained", "avfusion.training.train_backbone", "avfusion.training.audio_backbone"),
    ),
    "visual_backbone": (
        *("avfusion.backbones.pretrained", "avfusion.training.train_backbone", "avfusion.training.visual_backbone"),
    ),
    # The training of a fusion model on cached features; the model's own module is added.
    "fusion": ("avfusion.experiments.train_unit", "avfusion.data.track_data", "avfusion.fusion.files"),
    # Scores, comparisons and pictures of trained models; the models' own modules are added.
    "evaluation": ("avfusion.experiments.evaluate",),
    # Features of sound or crops that are disturbed at one level; the modules of disturbance and network are added.
    "condition": ("avfusion.experiments.robustness.features",),
    # Scores under all conditions; the models' own modules are added.
    "robustness": ("avfusion.experiments.robustness.evaluation",),
    # The tables that `avfusion predict` writes; the modules of the model and of its backbones are added.
    "prediction": ("avfusion.inference.predictor", "avfusion.presentation.tables"),
}

_KNOWN_AGAIN = "compares stamps: decides whether results are made, not what they hold"
_STORE = "decides which files are due and where they lie; a module of the unit makes each file"
_STAGE = "decides which results are due and where they lie; modules of the unit compute them"
_INPUTS = "reads and chooses inputs, which are known by content"
_NAMES = "checks names and values; the module that a name stands for belongs to the unit"
_RAW = "lists raw data, whose names and hashes are among the inputs"
_READ = "reads published checkpoints once; the weights are among the inputs, by content"
_TOLD = "words messages and warnings"
_VALUES = "parameters are among the inputs, by value"
_POINTS = "which point a file name stands for: a clip's label is among the inputs, by value"
_WHERE = "decides where and in what order work is done; every executor gives the same bytes"
_BESIDE = "draws pictures and pages beside the tables of predictions, whenever these are written"

# Modules, or packages with all inside but the modules named above, that decide no number of what is kept.
NEUTRAL: Mapping[str, str] = {
    "avfusion.commands": "how the command line is read",
    "avfusion.params": _VALUES,
    "avfusion.tracking": "what is logged, and which names models have: a model is known by its digest",
    "avfusion.runtime.atomic": "how files are written, not what stands in them",
    "avfusion.runtime.lazy_names": "where names lie; a digest finds their modules by itself",
    "avfusion.runtime.own_folder": "how files are written, not what stands in them",
    "avfusion.runtime.errors": _TOLD,
    "avfusion.runtime.extras": _TOLD,
    "avfusion.runtime.printable": _TOLD,
    "avfusion.runtime.progress": _TOLD,
    "avfusion.runtime.quantities": _TOLD,
    "avfusion.runtime.execution": _WHERE,
    "avfusion.runtime.forks": _WHERE,
    "avfusion.runtime.scratch": _WHERE,
    "avfusion.runtime.workers": _WHERE,
    "avfusion.runtime.tensor_files": "refuses files that claim more than they hold; changes no number",
    "avfusion.runtime.work_limits": _WHERE,
    "avfusion.runtime.devices": "which device there is: recorded, and no reason to make anything anew",
    "avfusion.runtime.project": "where the project lies",
    "avfusion.runtime.code_digest": _KNOWN_AGAIN,
    "avfusion.runtime.code_trees": _KNOWN_AGAIN,
    "avfusion.runtime.fingerprints": _KNOWN_AGAIN,
    "avfusion.runtime.stamped_reports": _KNOWN_AGAIN,
    "avfusion.runtime.stamps": _KNOWN_AGAIN,
    "avfusion.runtime.units": _KNOWN_AGAIN,
    "avfusion.runtime.options": _NAMES,
    "avfusion.runtime.registered": _NAMES,
    "avfusion.backbones.catalogue": _NAMES,
    "avfusion.fusion.catalogue": _NAMES,
    "avfusion.fusion.contract": "whether a model can be used, not what it computes",
    "avfusion.corpora.acted": _RAW,
    "avfusion.corpora.acted_names": _POINTS,
    "avfusion.corpora.categories": _POINTS,
    "avfusion.corpora.adapters": _RAW,
    "avfusion.corpora.affwild2": _RAW,
    "avfusion.corpora.attributes": _RAW,
    "avfusion.corpora.groups": _RAW,
    "avfusion.corpora.manifest": _RAW,
    "avfusion.corpora.notes": _TOLD,
    "avfusion.corpora.source_hashes": _RAW,
    "avfusion.corpora.sources": _RAW,
    "avfusion.corpora.track_list": _RAW,
    "avfusion.corpora.demo.render": "decides which videos are due; lists of tracks are written at every run",
    "avfusion.data.audio_store": _STORE,
    "avfusion.data.frame_store": _STORE,
    "avfusion.data.label_store": _STORE,
    "avfusion.data.store": _STORE,
    "avfusion.data.tracks": "writes the table of tracks, anew at every run; only probes of videos are kept",
    "avfusion.data.label_coverage": _TOLD,
    "avfusion.data.trainable": _TOLD,
    "avfusion.backbones.feature_files": _STORE,
    "avfusion.backbones.folds": "chooses the videos of a fold; the tracks left are among the inputs",
    "avfusion.backbones.seen_data": _TOLD,
    "avfusion.backbones.tsav": _READ,
    "avfusion.fusion.published": _READ,
    "avfusion.fusion.published_forms.weights": _READ,
    "avfusion.training.settings": _VALUES,
    "avfusion.training.start": _VALUES,
    "avfusion.experiments.backbones": _STAGE,
    "avfusion.experiments.evaluate_stage": _STAGE,
    "avfusion.experiments.stage": "begins and ends stages: parameters, folders, failures",
    "avfusion.experiments.robustness.conditions": _STORE,
    "avfusion.experiments.robustness.stage": _STAGE,
    "avfusion.experiments.start": _VALUES,
    "avfusion.experiments.stopping": "chooses the tracks that stop a training: these are among the inputs",
    "avfusion.experiments.training": _INPUTS,
    "avfusion.experiments.train_stage": _STAGE,
    "avfusion.experiments.training_store": _STORE,
    "avfusion.experiments.grid": _STAGE,
    "avfusion.experiments.folds": "which tracks belong to which fold: these are among the inputs, by name",
    "avfusion.reports.plots.curves": "curves of trainings, drawn anew at every run of their stage",
    "avfusion.challenge.submission_sample": "the organisers' sample file, of which predictions know nothing",
    "avfusion.inference.default_model": "which model is loaded, not what it predicts: a model is known by its digest",
    "avfusion.media.mp4_writer": _BESIDE,
    "avfusion.presentation": _BESIDE,
}


@cache
def unit_digest(unit: str, *modules: str) -> str:
    """Digest of the code of a unit, and of `modules` that it is computed by besides (a network's)."""
    return code_digest((*UNITS[unit], *modules), NEUTRAL)
