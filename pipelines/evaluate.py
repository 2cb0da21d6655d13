"""DVC stage `evaluate`: every frame of the validation and test tracks predicted, scored and drawn."""

from avfusion.experiments.evaluate_stage import run_evaluation
from avfusion.experiments.stage import stage
from avfusion.experiments.training import model_names
from avfusion.fusion.catalogue import fusion_module


def main() -> None:
    """Run the stage."""
    with stage("evaluate", "common", "corpus", "evaluate", "geometry", "report", "train") as s:
        s.warn_of_unwatched(map(fusion_module, model_names(s.params.train)))
        run_evaluation(s)


if __name__ == "__main__":
    main()
