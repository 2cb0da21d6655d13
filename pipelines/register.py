"""DVC stage `register`: models/fusion -> MLflow's registry; the decision on its alias -> reports/register/."""

from avfusion.experiments.stage import stage
from avfusion.runtime.atomic import write_json
from avfusion.tracking.registry import ensure_registered


def main() -> None:
    """Register the model, unless it is registered, and write the decision down."""
    with stage("register", "register") as s:
        done = ensure_registered(
            s.root / "models" / "fusion",
            root=s.project,
            name=s.params.register.name,
            metrics=s.root / "reports" / "evaluate" / "metrics.json",
            sums=s.root / "reports" / "evaluate" / "video_sums.json",
        )
        write_json(s.root / "reports" / "register" / "model_version.json", done.record())
        print(f"{done.decision}: {done.reason}")


if __name__ == "__main__":
    main()
