"""DVC stage `evaluate`: every frame of the validation and test tracks predicted, scored and drawn."""

from avfusion.experiments.evaluate_stage import run_evaluation
from avfusion.experiments.stage import stage


def main() -> None:
    """Run the stage."""
    with stage("evaluate", "common", "corpus", "evaluate", "geometry", "report", "train") as s:
        run_evaluation(s)


if __name__ == "__main__":
    main()
