"""DVC stage `train`: the fusion model and its baselines, on cached features, each an MLflow run under one parent."""

from avfusion.experiments.stage import stage
from avfusion.experiments.training import read_inputs, train_models, training_fingerprint
from avfusion.params.record import every_param
from avfusion.runtime.atomic import write_json
from avfusion.tracking.backbone_history import log_backbones
from avfusion.tracking.training_runs import TrainingRuns, discard_other_trainings
from avfusion.training.determinism import default_device, make_deterministic


def main() -> None:
    """Run the stage."""
    with stage("train", "common", "corpus", "frames", "geometry", "train") as s:
        params = s.params
        make_deterministic(params.common.threads)
        device = default_device()
        inputs = read_inputs(s.root, params.geometry, params.train)
        digest = training_fingerprint(inputs, params.train, params.geometry, params.common.threads, device)
        work = s.work / digest
        spec = inputs.feature_spec
        recorded = every_param(s.root / "params.yaml", params) | {"feature_spec": spec.to_dict()}
        if inputs.start:
            recorded["start"] = inputs.start.facts
        features = s.root / "data" / "features"
        runs = TrainingRuns(
            s.project,
            work / "run.json",
            params=recorded,
            tags={"corpus": params.corpus.name, "feature_spec": spec.digest()},
            datasets={
                f"{params.corpus.name}-{split}": (inputs.digests[f"features_{split}"], features, use)
                for split, use in (("train", "training"), ("val", "validation"))
            },
            label=f"lr {params.train.lr:g}, seed {params.train.seed}",
        )
        with runs.parent() as parent:
            log_backbones(parent, s.root)
            train_models(
                inputs,
                params.train,
                params.geometry,
                params.frames,
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
        discard_other_trainings(s.project, s.work, work)


if __name__ == "__main__":
    main()
