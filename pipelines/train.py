"""DVC stage `train`: the fusion model and its baselines, on cached features, each an MLflow run under one parent."""

from avfusion.experiments.stage import stage
from avfusion.experiments.train_stage import run_train_stage


def main() -> None:
    """Run the stage."""
    with stage("train", "common", "corpus", "frames", "geometry", "train") as s:
        run_train_stage(s.root, s.project, s.params)


if __name__ == "__main__":
    main()
