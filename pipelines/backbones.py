"""DVC stage `backbones`: frames, audio and labels -> models/backbones, reports/backbones/history.csv.

`torchrun --nproc-per-node N pipelines/backbones.py` does the same with N processes, each with its GPU where there are
GPUs; `dvc repro` then finds the training finished.
"""

from avfusion.corpora.table import read_tracks
from avfusion.experiments.backbones import train_backbones
from avfusion.experiments.stage import stage
from avfusion.runtime.devices import default_device
from avfusion.training.processes import joined_processes, torchrun_rank


def main() -> None:
    """Train the network of each stream."""
    with (
        stage("backbones", "common", "geometry", "audio", "backbones", "train", rank=torchrun_rank()) as s,
        joined_processes(default_device()) as processes,
    ):
        if processes.leads:
            s.warn_of_unwatched(s.params.backbones.modules)
        tracks = read_tracks(s.root / "data" / "corpus" / "tracks.parquet")
        train_backbones(s.root, tracks, s.params, s.work, processes=processes)


if __name__ == "__main__":
    main()
