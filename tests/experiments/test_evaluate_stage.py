"""The stage `evaluate` makes its files once, and again when something that decides them is other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

from avfusion.data.audio import write_audio
from avfusion.data.labels import LabelTable, write_labels
from avfusion.experiments import evaluate_stage
from avfusion.experiments.evaluate_stage import evaluation_stamp, run_evaluation
from avfusion.experiments.stage import Stage
from avfusion.experiments.training import model_folder, model_names
from avfusion.params.params import Params, check_params
from avfusion.runtime.stamps import UNSTAMPED, Stamp
from tests.experiments.test_evaluate import TRAIN, root

__all__ = ["root"]  # a fixture
SECTIONS = ("common", "corpus", "evaluate", "geometry", "report", "train")


@pytest.fixture
def params() -> Params:
    values = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    checked = check_params({name: values[name] for name in SECTIONS}, SECTIONS)
    evaluate = checked.evaluate.model_copy(update={"trace_plots": 1})
    geometry = checked.geometry.model_copy(update={"fps": 25})
    return checked.replaced(train=TRAIN, evaluate=evaluate, geometry=geometry)


@pytest.fixture
def run(root: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Runs the stage; gives how often it evaluated so far."""
    times = []
    evaluate = evaluate_stage.evaluate_models

    def counting(*arguments: Any, **options: Any) -> None:
        times.append(1)
        evaluate(*arguments, **options)

    monkeypatch.setattr(evaluate_stage, "evaluate_models", counting)

    def call() -> int:
        run_evaluation(Stage("evaluate", params, root, root, root / ".avfusion" / "evaluate"))
        return len(times)

    return call


def contents(root: Path) -> dict[str, bytes]:
    folder = root / "reports" / "evaluate"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_current_is_left_as_it_is(
    root: Path, run: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 1
    assert "evaluated already" not in capsys.readouterr().out
    before = contents(root)
    shutil.rmtree(root / ".avfusion", ignore_errors=True)  # as in a clone that pulled the results
    assert run() == 1
    assert "evaluated already" in capsys.readouterr().out
    assert contents(root) == before
    stamp = Stamp.from_dict(json.loads(before["protocol.json"])["stamp"])
    assert stamp.libraries["torch"]


def rewrite_stamp(folder: Path, value: object) -> None:
    protocol = json.loads((folder / "protocol.json").read_text())
    (folder / "protocol.json").write_text(json.dumps(protocol | {"stamp": value}))


FAULTS: dict[str, Callable[[Path], object]] = {
    "no picture": lambda folder: (folder / "plane.png").unlink(),
    "other numbers": lambda folder: (folder / "metrics.json").write_text("{}"),
    "no predictions": lambda folder: shutil.rmtree(folder / "predictions"),
    "no protocol": lambda folder: (folder / "protocol.json").unlink(),
    "no JSON": lambda folder: (folder / "protocol.json").write_text("{"),
    "no stamp": lambda folder: rewrite_stamp(folder, "none"),
}


def test_what_is_damaged_is_made_anew_with_the_same_bytes(
    root: Path, run: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    before = contents(root)
    for count, (name, damage) in enumerate(FAULTS.items(), 2):
        damage(root / "reports" / "evaluate")
        assert run() == count, name
        assert contents(root) == before, name
        said = "has no stamp that can be read" in capsys.readouterr().out
        assert said == (name in ("no JSON", "no stamp"))


def test_other_code_evaluates_anew(root: Path, run: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    run()
    before = contents(root)
    monkeypatch.setattr(evaluate_stage, "unit_digest", lambda unit, *modules: f"other {unit}")
    assert run() == 2
    after = contents(root)
    assert {name for name in before if after[name] != before[name]} == {"protocol.json"}


def scale_weights(root: Path) -> None:
    path = root / "models" / "baselines" / "audio_only" / "model.safetensors"
    save_file({name: tensor * 1.01 for name, tensor in load_file(path).items()}, path)


def relabel(root: Path) -> None:
    table = LabelTable(*np.zeros((2, 300), np.float32), np.ones(300, bool))
    write_labels(table, root / "data" / "labels" / "val-0.parquet", UNSTAMPED)


def sound(root: Path) -> None:
    (root / "data" / "audio").mkdir(exist_ok=True)
    write_audio(root / "data" / "audio" / "test-1.wav", np.zeros(44100, np.float32), UNSTAMPED)


CHANGES: dict[str, Callable[[Path], object]] = {
    "weights of a baseline": scale_weights,
    "labels": relabel,
    "sound": sound,
    "truth": lambda root: (root / "data/raw/demo/truth/test-0.parquet").unlink(),
    "no features": lambda root: (root / "data/features/test-2.safetensors").unlink(),
}


def test_inputs_and_params_decide(root: Path, params: Params) -> None:
    def wanted(**changes: dict[str, object]) -> str:
        sections = {name: getattr(params, name).model_copy(update=values) for name, values in changes.items()}
        changed = params.replaced(**sections)
        folders = {name: model_folder(root, name, changed.train) for name in model_names(changed.train)}
        return evaluation_stamp(root, folders, changed).made

    first = wanted()
    other: dict[str, dict[str, dict[str, object]]] = {
        "seed": {"evaluate": {"seed": 1}},
        "page": {"report": {"tracks": 1}},
        "threads": {"common": {"threads": 3}},
        "baselines": {"train": {"baselines": ()}},
        "geometry": {"geometry": {"target_offset": -8}},
    }
    found = [first, *(wanted(**changes) for changes in other.values())]
    assert wanted(train={"lr": 1.0}) == first, "the weights tell how they were trained"
    for change in CHANGES.values():
        change(root)
        found.append(wanted())
    assert len(set(found)) == len(found)


@pytest.mark.usefixtures("few_videos_are_enough")
def test_what_attention_adds_is_said_where_it_is_asked_for(root: Path, params: Params) -> None:
    def evaluate(ablate: bool) -> dict[str, Any]:
        asked = params.replaced(evaluate=params.evaluate.model_copy(update={"ablate": ablate}))
        run_evaluation(Stage("evaluate", asked, root, root, root / ".avfusion" / "evaluate"))
        found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
        return found

    folder = root / "reports" / "evaluate"
    plain = evaluate(ablate=False)
    assert "What attention adds" not in (folder / "report.html").read_text()
    asked = evaluate(ablate=True)
    jca = asked["val"]["jca"].pop("attention")
    assert jca.keys() == {"neutral", "retrained", "audio_shuffled", "face_shuffled"}
    low, high = jca["audio_shuffled"]["mean"]["ci95"]
    assert low <= jca["audio_shuffled"]["mean"]["difference"] <= high
    assert jca["neutral"]["mean"]["difference"] != jca["retrained"]["mean"]["difference"]
    page = (folder / "report.html").read_text()
    assert (
        f"joint cross-attention&#39;s attention changes its score by {jca['neutral']['mean']['difference']:+.3f}"
        in page
    )
    for models in asked.values():
        for entry in models.values():
            entry.pop("attention", None)
    assert asked == plain
    predictions = (folder / "predictions" / "val-0.parquet").read_bytes()
    assert b"neutral" not in predictions
