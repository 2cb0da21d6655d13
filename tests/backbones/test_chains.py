"""Whole chains: backbones and features of other seeds, beside the project's own."""

from pathlib import Path
from typing import Any

from avfusion.backbones.feature_files import update_features
from avfusion.corpora.table import Track, write_tracks
from avfusion.data.features import read_features
from avfusion.experiments.backbones import train_backbones
from avfusion.experiments.chains import make_chain
from avfusion.params.params import check_params
from avfusion.runtime.fingerprints import folder_digest


def test_a_chain_has_backbones_and_features_of_its_seed_and_leaves_the_project_alone(
    project: tuple[Path, list[Track], dict[str, Any]],
) -> None:
    root, tracks, sections = project
    sections["features"] = {"stride": 16, "batch_size": 4}
    write_tracks(root / "data" / "corpus" / "tracks.parquet", tracks)
    params = check_params(sections, list(sections))
    train_backbones(root, tracks, params, root / ".avfusion" / "backbones")
    update_features(root, tracks, params)
    before = {part: folder_digest(root / part) for part in ("models", "data")}
    assert make_chain(root, params, params.backbones.seed, "cpu") == root
    chain = make_chain(root, params, 7, "cpu")
    assert {part: folder_digest(root / part) for part in ("models", "data")} == before
    files = [folder / "data" / "features" / f"{tracks[0].track}.safetensors" for folder in (root, chain)]
    own, other = (read_features(file) for file in files)
    assert own.visual.shape == other.visual.shape
    assert (own.visual != other.visual).any()
    assert (own.audio != other.audio).any()
    made = folder_digest(chain)
    assert make_chain(root, params, 7, "cpu") == chain
    assert folder_digest(chain) == made, "found again"
