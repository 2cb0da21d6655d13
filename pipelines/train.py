"""DVC stage `train`: the fusion model and its baselines, on cached features, each an MLflow run under one parent."""

import shutil

from avfusion.atomic import write_json
from avfusion.stages import stage
from avfusion.tracking.training_runs import TrainingRuns
from avfusion.training.determinism import default_device, make_deterministic
from avfusion.training.experiment import read_inputs, train_models, training_fingerprint


def main() -> None:
    """Run the stage."""
    with stage("train", "common", "corpus", "geometry", "train") as s:
        params = s.params
        make_deterministic(params.common.threads)
        device = default_device()
        inputs = read_inputs(s.root, params.geometry)
        digest = training_fingerprint(inputs, params.train, params.geometry, params.common.threads, device)
        work = s.work / digest
        spec = inputs.feature_spec
        sections = {name: getattr(params, name).model_dump() for name in ("common", "corpus", "geometry", "train")}
        features = s.root / "data" / "features"
        runs = TrainingRuns(
            s.project,
            work / "run.json",
            params=sections | {"feature_spec": spec.to_dict()},
            tags={"corpus": params.corpus.name, "feature_spec": spec.digest()},
            datasets={
                f"{params.corpus.name}-{split}": (inputs.digests[f"features_{split}"], features, use)
                for split, use in (("train", "training"), ("val", "validation"))
            },
        )
        with runs.parent() as parent:
            train_models(
                inputs,
                params.train,
                params.geometry,
                corpus_name=params.corpus.name,
                root=s.root,
                work=work,
                digest=digest,
                device=device,
                open_run=runs.model,
                on_model=runs.finish_model,
            )
            for name in ("history.csv", "metrics.json", "curves.png"):
                parent.log_artifact(s.root / "reports" / "train" / name)
            write_json(s.root / "reports" / "train" / "run.json", runs.record(inputs.digests))
        for folder in s.work.iterdir():  # checkpoints of other parameters or inputs
            if folder != work:
                shutil.rmtree(folder)


if __name__ == "__main__":
    main()
