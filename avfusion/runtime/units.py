"""Which modules compute what: the units whose results are kept, and the modules that decide no number.

A unit is what a person waits for: the frames of a track, a backbone, a fusion model at one seed. Its code is the
modules below and all that they import (`avfusion.runtime.code_digest`); a network adds the module that it is defined
in. When that code changes, the unit's results are made anew, and no others.
"""

from collections.abc import Mapping
from functools import cache

from avfusion.runtime.code_digest import code_digest

UNITS: Mapping[str, tuple[str, ...]] = {
    # One video of the demo corpus, with its crops, annotations and truth.
    "demo": ("avfusion.corpora.demo.video_files",),
    # What is found in a video file: frames, rate, duration, streams.
    "probes": ("avfusion.media.probe",),
    # The labels of a track's frames.
    "labels": ("avfusion.data.frame_labels", "avfusion.data.annotations", "avfusion.data.own_labels"),
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
    "fusion": ("avfusion.experiments.train_unit", "avfusion.data.track_data"),
    # Scores, comparisons and pictures of trained models; the models' own modules are added.
    "evaluation": ("avfusion.experiments.evaluate",),
    # Features of sound or crops that are disturbed at one level; the modules of disturbance and network are added.
    "condition": ("avfusion.experiments.robustness.features",),
    # Scores under all conditions; the models' own modules are added.
    "robustness": ("avfusion.experiments.robustness.evaluation",),
    # The tables that `avfusion predict` writes; the modules of the model and of its backbones are added.
    "prediction": ("avfusion.inference.predictor", "avfusion.presentation.tables"),
}

_KNOWN_AGAIN = "how results are known again: it decides whether they are made, not what they hold"
_BOOKS = "which results are due and where they lie; what makes them is a module of its own, or made anew at every run"
_NAMES = "which names and values are allowed; the module that a name stands for is added to its unit"
_RAW = "what raw data there are; their names and hashes are among the inputs of what is made of them"
_READ = "how published checkpoints are read, once; what is read is among the inputs, by content"
_TOLD = "what people are told"
_VALUES = "parameters are among the inputs, by value"
_WHERE = "where and in what order work is done; every executor gives the same bytes"
_BESIDE = "pictures and pages beside the tables of predictions, made whenever these are"

# Modules, or packages with all inside but the modules named above, that decide no number of what is kept.
NEUTRAL: Mapping[str, str] = {
    "avfusion.commands": "how the command line is read",
    "avfusion.params": _VALUES,
    "avfusion.tracking": "what is logged, and which names models have: a model is known by its digest",
    "avfusion.runtime.atomic": "how files are written, not what stands in them",
    "avfusion.runtime.lazy_names": "where names lie; a digest finds their modules by itself",
    "avfusion.runtime.own_folder": "how files are written, not what stands in them",
    "avfusion.runtime.errors": _TOLD,
    "avfusion.runtime.progress": _TOLD,
    "avfusion.runtime.quantities": _TOLD,
    "avfusion.runtime.execution": _WHERE,
    "avfusion.runtime.workers": _WHERE,
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
    "avfusion.corpora.adapters": _RAW,
    "avfusion.corpora.affwild2": _RAW,
    "avfusion.corpora.manifest": _RAW,
    "avfusion.corpora.sources": _RAW,
    "avfusion.corpora.track_list": _RAW,
    "avfusion.corpora.demo.render": _BOOKS,
    "avfusion.data.audio_store": _BOOKS,
    "avfusion.data.frame_store": _BOOKS,
    "avfusion.data.label_store": _BOOKS,
    "avfusion.data.store": _BOOKS,
    "avfusion.data.tracks": _BOOKS,
    "avfusion.data.label_coverage": _TOLD,
    "avfusion.data.trainable": _TOLD,
    "avfusion.backbones.feature_files": _BOOKS,
    "avfusion.backbones.folds": _BOOKS,
    "avfusion.backbones.tsav": _READ,
    "avfusion.fusion.published": _READ,
    "avfusion.training.settings": _VALUES,
    "avfusion.training.start": _VALUES,
    "avfusion.experiments.backbones": _BOOKS,
    "avfusion.experiments.evaluate_stage": _BOOKS,
    "avfusion.experiments.stage": _BOOKS,
    "avfusion.experiments.robustness.conditions": _BOOKS,
    "avfusion.experiments.robustness.stage": _BOOKS,
    "avfusion.experiments.start": _VALUES,
    "avfusion.experiments.training": _BOOKS,
    "avfusion.experiments.train_stage": _BOOKS,
    "avfusion.experiments.training_store": _BOOKS,
    "avfusion.experiments.grid": _BOOKS,
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
