"""DVC stage `train`: the fusion model and its baselines, on cached features, each an MLflow run under one parent."""

from avfusion.experiments.stage import stage
from avfusion.experiments.train_stage import run_train_stage
from avfusion.experiments.training import model_names
from avfusion.fusion.catalogue import fusion_module


def main() -> None:
    """Run the stage."""
    with stage("train", "common", "corpus", "frames", "geometry", "train") as s:
        s.warn_of_unwatched(map(fusion_module, model_names(s.params.train)))
        run_train_stage(s.root, s.project, s.params)


if __name__ == "__main__":
    main()
