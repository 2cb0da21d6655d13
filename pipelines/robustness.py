"""DVC stage `robustness`: scores with a stream absent, noisy, hidden or out of step."""

from avfusion.experiments.robustness.stage import evaluate_robustness
from avfusion.experiments.stage import stage
from avfusion.experiments.training import model_names
from avfusion.fusion.catalogue import fusion_module
from avfusion.runtime.devices import default_device
from avfusion.runtime.fingerprints import file_digest
from avfusion.tracking.training_runs import log_evaluation


def main() -> None:
    """Run the stage."""
    with stage("robustness", "common", "corpus", "features", "geometry", "robustness", "train") as s:
        s.warn_of_unwatched(map(fusion_module, model_names(s.params.train)))
        files = evaluate_robustness(s.root, s.params, device=default_device())
        tag = ("robustness.content", file_digest(files[-1]))
        log_evaluation(s.project, s.root / "reports" / "train" / "run.json", {}, {s.params.train.model: files}, tag=tag)


if __name__ == "__main__":
    main()
