"""Whole chains, repeated: backbones, features and what is trained on them, each from a seed of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avfusion.backbones.feature_files import update_features
from avfusion.corpora.table import read_tracks
from avfusion.data.track_data import TrackData
from avfusion.experiments.backbones import train_backbones
from avfusion.experiments.evaluate import load_evaluated
from avfusion.experiments.grid import Grid
from avfusion.experiments.training import read_inputs
from avfusion.params.params import Params

SECTIONS = ("audio", "backbones", "execution", "features")
SHARED = ("corpus", "labels", "frames", "audio")  # below data/: what no seed decides


@dataclass(frozen=True)
class Chain:
    """What fusion models are trained and scored on.

    Attributes:
        grid: with the features of the training and validation tracks.
        tracks: to be scored, with features of the same backbones.
    """

    grid: Grid
    tracks: Sequence[TrackData]


def read_chain(root: Path, params: Params, split: str, device: str, *, features: Path | None = None) -> Chain:
    """The chain on the features below `root`, or below another folder; its trainings are kept below `root`.

    Args:
        params: sections common, geometry and train.
        split: of the tracks to be scored.

    Raises:
        BadInputError: features or labels are missing.
    """
    source = features or root
    inputs = read_inputs(source, params.geometry, stopping=params.train.stopping)
    grid = Grid(root, inputs, params.geometry, params.common.threads, device)
    return Chain(grid, load_evaluated(source, params.geometry)[split])


def make_chain(root: Path, params: Params, seed: int, device: str) -> Path:
    """The folder whose `models/backbones` and `data/features` are made from a seed, brought up to date.

    For the seed that section backbones has it is the project itself. Others are below `.avfusion/chains/`, where a
    broken training goes on and what is current is found again; frames, sound and labels are the project's.

    Args:
        params: sections common, geometry, train and `SECTIONS`.
    """
    if seed == params.backbones.seed:
        return root
    folder = root / ".avfusion" / "chains" / str(seed)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name in SHARED:
        link = folder / "data" / name
        if not link.is_symlink():
            link.symlink_to(root.resolve() / "data" / name, target_is_directory=True)
    seeded = params.replaced(backbones=params.backbones.model_copy(update={"seed": seed}))
    tracks = read_tracks(root / "data" / "corpus" / "tracks.parquet")
    print(f"seed {seed}: backbones and features", flush=True)
    train_backbones(folder, tracks, seeded, folder / "work")
    update_features(folder, tracks, seeded, device=device)
    return folder
