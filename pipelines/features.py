"""DVC stage `features`: frames, audio and backbones -> data/features/<track>.safetensors."""

from avfusion.backbones.feature_files import update_features
from avfusion.corpora.table import read_tracks
from avfusion.experiments.stage import stage
from avfusion.runtime.devices import default_device


def main() -> None:
    """Bring the feature files up to date."""
    with stage("features", "common", "geometry", "audio", "backbones", "features") as s:
        s.warn_of_unwatched(s.params.backbones.modules)
        tracks = read_tracks(s.root / "data" / "corpus" / "tracks.parquet")
        s.record_failures(update_features(s.root, tracks, s.params, device=default_device()).failed)


if __name__ == "__main__":
    main()
