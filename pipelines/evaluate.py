"""DVC stage `evaluate`: every frame of the validation and test tracks predicted, scored and drawn."""

from avfusion.corpora.demo.truth import truth_folder
from avfusion.experiments.evaluate import (
    load_evaluated,
    load_models,
    page_sources,
    predict_tracks,
    protocol_facts,
    trace_paths,
    write_evaluation,
)
from avfusion.experiments.stage import stage
from avfusion.experiments.training import model_folder, model_names
from avfusion.fusion.model_folder import ModelFolder
from avfusion.reports.page.page import write_page
from avfusion.tracking.training_runs import log_evaluation
from avfusion.training.determinism import make_deterministic


def main() -> None:
    """Run the stage."""
    with stage("evaluate", "common", "corpus", "evaluate", "geometry", "report", "train") as s:
        params, reports = s.params, s.root / "reports"
        make_deterministic(params.common.threads)
        names = model_names(params.train)
        tracks = load_evaluated(s.root, params.geometry)
        everything = [track for split in tracks.values() for track in split]
        models, config = load_models({name: model_folder(s.root, name, params.train) for name in names}, everything)
        mode, stride = config["inference"], config["feature_spec"]["stride"]
        truth = truth_folder(s.root, params.corpus)
        splits = {
            split: predict_tracks(entries, models, params.geometry, stride, mode, s.root, truth)
            for split, entries in tracks.items()
        }
        folder = reports / "evaluate"
        model = {"name": names[0], "digest": ModelFolder.open(model_folder(s.root, names[0], params.train)).digest()}
        protocol = protocol_facts(params.geometry, stride, mode, params.evaluate, model)
        metrics = write_evaluation(folder, splits, names, params.evaluate, protocol)
        sources = page_sources(s.root, models[names[0]], everything, params.geometry, params.corpus.name)
        page = write_page(folder, splits, names, params.evaluate, params.report, sources)
        files = {name: [folder / "protocol.json"] for name in names}
        files[names[0]] += [page, *trace_paths(folder), folder / "plane.png", folder / "ccc.png"]
        log_evaluation(s.project, reports / "train" / "run.json", metrics, files)


if __name__ == "__main__":
    main()
