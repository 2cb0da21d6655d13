"""What a study costs beside its trainings: `avfusion sweep` on a project whose features are there.

In a passing folder beside the project's data, with a new storage and a copy of its MLflow database: CPU-seconds of the
command with all its processes, and those of the trainings in it (`cpu_s` of every trial).

python benchmarks/bench_sweep.py [--project .] [--trials 30] [--workers 1]
"""

import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

COMMAND = "from avfusion.cli import main; main()"


def main() -> None:
    """Print both and the share of what is not training."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--project", type=Path, default=Path.cwd())
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="avfusion-bench-") as name:
        folder = Path(name)
        (folder / "data").symlink_to(arguments.project.resolve() / "data")
        (folder / "mlruns").mkdir()
        for file in ("params.yaml", "dvc.yaml", "mlruns/mlflow.db"):
            shutil.copy(arguments.project / file, folder / file)
        options = ["--trials", str(arguments.trials), "--workers", str(arguments.workers)]
        elsewhere = ("DVC_ROOT", "MLFLOW_TRACKING_URI", "AVFUSION_SWEEP_STORAGE")
        environment = {key: value for key, value in os.environ.items() if key not in elsewhere}
        subprocess.run([sys.executable, "-c", COMMAND, "sweep", *options], cwd=folder, env=environment, check=True)
        with (folder / "reports" / "sweep" / "trials.csv").open() as file:
            training = sum(float(row["cpu_s"] or 0) for row in csv.DictReader(file))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = spent.ru_utime + spent.ru_stime
    beside = (whole - training) / whole
    print(
        f"{arguments.trials} trials, {arguments.workers} workers: {whole:.1f} CPU-s, of which training {training:.1f}"
    )
    print(f"beside it {beside:.1%} (at most 5 %; load {os.getloadavg()[0]:.1f})")


if __name__ == "__main__":
    main()
