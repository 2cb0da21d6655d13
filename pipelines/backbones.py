"""DVC stage `backbones`: frames, audio and labels -> models/backbones, reports/backbones/history.csv."""

from avfusion.corpora.table import read_tracks
from avfusion.stages import stage
from avfusion.training.backbone_runs import train_backbones
from avfusion.training.determinism import default_device


def main() -> None:
    """Train the network of each stream."""
    with stage("backbones", "common", "geometry", "audio", "backbones") as s:
        tracks = read_tracks(s.root / "data" / "corpus" / "tracks.parquet")
        train_backbones(s.root, tracks, s.params, s.work, device=default_device())


if __name__ == "__main__":
    main()
