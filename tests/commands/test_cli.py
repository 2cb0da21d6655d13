import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from avfusion.cli import main
from avfusion.params.params import load_params
from avfusion.scoring.calibration import Calibration

NOT_RENDERED = "the demo corpus is not rendered yet: `dvc repro` does it\n"
COMMAND = Path(sys.executable).with_name("avfusion")


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The command inside this process: its exit status."""
    monkeypatch.setattr(sys, "argv", ["avfusion", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_help_costs_no_heavy_import() -> None:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True)
        times.append(time.perf_counter() - started)
    assert done.returncode == 0
    for command in (
        "predict",
        "live",
        "serve",
        "export",
        "submit",
        "import-weights",
        "scan",
        "preset",
        "register",
        "summary",
        "doctor",
        "compare",
        "crossval",
        "sweep",
    ):
        assert command in done.stdout
    assert min(times) < 1
    script = (
        "import sys\nsys.argv = ['avfusion', '--help']\nimport avfusion.cli as c\n"
        "try:\n    c.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'mlflow', 'optuna', 'cv2', 'av', 'pandas', 'numpy'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_predict_writes_csv_and_trace_and_names_what_is_bad(
    project: Path,
    face_video: Path,
    empty_video: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text, script = project / "text.mp4", project / "script.mp4"
    text.write_text("not a video " * 100)
    script.write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    bad = [project / "missing.mp4", text, script, empty_video]
    code = call(monkeypatch, "predict", *bad[:2], face_video, *bad[2:], "-o", "out", "--model", "models/fusion")
    captured = capsys.readouterr()
    assert code == 2
    errors = [line for line in captured.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 4
    assert all(path.name in "".join(errors) for path in bad)
    assert "Traceback" not in captured.err
    assert sorted(path.name for path in (project / "out").iterdir()) == ["face.csv", "face.trace.png"]
    table = pd.read_csv(project / "out" / "face.csv")
    assert len(table) == 65
    assert captured.out.startswith("out/face.csv: 65 frames (2.6 s), mean valence ")
    assert (project / "out" / "face.csv").read_text().splitlines()[2].startswith("2,0.040000,")


def test_predict_says_which_model_it_took(
    project: Path, face_video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "predict", face_video, "-o", "out") == 0
    assert f"model: {project / 'models' / 'fusion'} (the registry has no champion)" in capsys.readouterr().err
    assert call(monkeypatch, "register") == 0
    assert call(monkeypatch, "predict", face_video, "-o", "out") == 0, "its own CSV may be replaced"
    named = r"model: models:/avfusion@champion \(version 1, registered .* UTC\), trained on \w+, on cpu\n"
    assert re.search(named, capsys.readouterr().err)


def test_predict_gives_calibrated_values_of_a_model_that_has_them(
    project: Path, face_video: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--model", "models/fusion", "-o", "out")
    assert call(monkeypatch, "predict", face_video, *options, "--calibrated") == 2
    assert "models/fusion has no calibration: `dvc repro train` fits one" in capsys.readouterr().err
    assert call(monkeypatch, "predict", face_video, *options) == 0
    (path,) = (project / "out").glob("*.csv")
    raw = pd.read_csv(path)
    line = Calibration((0.5, 0.25), (0.1, -0.1), (0.3, 0.4), 12, "validation")
    config = project / "models" / "fusion" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"calibration": line.to_dict()}))
    assert call(monkeypatch, "predict", face_video, *options, "--calibrated") == 0
    assert f"note: {line.words()}" in capsys.readouterr().err
    table = pd.read_csv(path)
    assert list(table.columns[-4:]) == ["valence_low", "valence_high", "arousal_low", "arousal_high"]
    np.testing.assert_allclose(table["valence"], 0.1 + 0.5 * raw["valence"], atol=2e-6)
    np.testing.assert_allclose(table["arousal_high"], -0.1 + 0.25 * raw["arousal"] + 0.4, atol=2e-6)
    assert call(monkeypatch, "predict", face_video, *options, "--calibrated", "--stream", "audio") == 2
    assert "calibration was fitted to values of both streams in mode" in capsys.readouterr().err
    config.write_text(json.dumps(json.loads(config.read_text()) | {"calibration": {"valence": 1}}))
    assert call(monkeypatch, "predict", face_video, *options) == 2
    assert "calibration is damaged" in capsys.readouterr().err


def test_doctor_reports_for_people_and_programs(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "doctor") == 0, "a demo corpus that is not rendered yet is no fault"
    assert "params.yaml" in capsys.readouterr().out
    assert call(monkeypatch, "doctor", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert {item["status"] for item in report["items"]} <= {"ok", "warn"}
    (project / "params.yaml").write_text("render: {seed: -1}\n")
    assert call(monkeypatch, "doctor", "--json") == 2
    texts = [item["text"] for item in json.loads(capsys.readouterr().out)["items"] if item["status"] == "missing"]
    assert len(texts) == 1
    assert "params.yaml" in texts[0]


def test_predict_keeps_other_videos_csvs(
    project: Path,
    face_video: Path,
    silent_video: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, source in (("a", face_video), ("b", silent_video)):
        (project / name).mkdir()
        (project / name / "clip.mp4").write_bytes(source.read_bytes())
    options = ["--model", "models/fusion", "-o", "out"]
    assert call(monkeypatch, "predict", "a/clip.mp4", "b/clip.mp4", *options) == 0
    names = sorted(path.name for path in (project / "out").glob("*.csv"))
    assert names == ["a-clip.mp4.csv", "b-clip.mp4.csv"]
    assert call(monkeypatch, "predict", "a/clip.mp4", *options) == 0
    first = (project / "out" / "clip.csv").read_bytes()
    capsys.readouterr()
    assert call(monkeypatch, "predict", "b/clip.mp4", *options) == 2
    assert "holds the predictions of another video named clip.mp4" in capsys.readouterr().err
    assert (project / "out" / "clip.csv").read_bytes() == first
    assert call(monkeypatch, "predict", "b/clip.mp4", *options, "--force") == 0
    assert (project / "out" / "clip.csv").read_bytes() != first
    assert call(monkeypatch, "predict", "a/clip.mp4", "--model", "models/fusion") == 0
    assert (project / "a" / "clip.csv").is_file(), "beside the video"


def test_errors_are_one_line(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "predict", "x.mp4", "--model", "nowhere") == 2
    assert (
        capsys.readouterr().err == "error: there is no model folder nowhere: a folder, models:/… or runs:/… is needed\n"
    )
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert call(monkeypatch, "register") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert call(monkeypatch, "predict", "x.mp4") == 2
    assert "--model" in capsys.readouterr().err


def test_register_is_idempotent(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["avfusion", "register"])
    assert call(monkeypatch, "register") == 0
    first = capsys.readouterr().out
    assert call(monkeypatch, "register") == 0
    second = capsys.readouterr().out
    assert "registered as version 1, champion (no champion before it" in first
    assert "already registered as version 1, champion (no champion before it" in second


def test_champion_lists_promotes_and_demotes(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "register") == 0
    assert call(monkeypatch, "champion") == 0
    assert re.search(r"\n1 +champion +0\.500 +vvvvvvvv +20.*no champion before it", capsys.readouterr().out)
    assert call(monkeypatch, "champion", "--demote") == 0
    said = capsys.readouterr().out
    assert said.startswith("avfusion version 1 is champion no more")
    assert said.rstrip().endswith("makes one; until then `predict` uses models/fusion")
    assert call(monkeypatch, "champion", "1", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)["versions"]
    assert (entry["version"], entry["aliases"], entry["decision"]) == (1, ["champion"], "champion")
    assert call(monkeypatch, "champion", "9") == 2
    assert capsys.readouterr().err == "error: avfusion has no version 9: `avfusion champion` lists them\n"
    assert call(monkeypatch, "champion", "1", "--demote") == 2


def test_summary_tells_what_this_store_decided(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pull the report tells what the store decided that registered the model first."""

    def shown() -> str:
        assert call(monkeypatch, "summary") == 0
        return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("model "))

    assert call(monkeypatch, "register") == 0
    capsys.readouterr()
    here = project / ".avfusion" / "registration.json"
    record = json.loads(here.read_text())
    pulled = project / "reports" / "register" / "model_version.json"
    pulled.parent.mkdir(parents=True)
    first = {"decision": "challenger", "reason": "0.5 does not beat 0.9", "model_digest": record["model_digest"]}
    pulled.write_text(json.dumps(first))
    assert shown().startswith("model        avfusion version 1, champion: no champion before it")
    assert call(monkeypatch, "champion", "--demote") == 0
    capsys.readouterr()
    assert shown().startswith(
        "model        avfusion version 1, no alias now; when registered, champion: no champion before it"
    )
    here.write_text(json.dumps(record | {"model_digest": "0" * 64}))
    assert shown().startswith("model        challenger: 0.5 does not beat 0.9"), "another model's registration"
    here.unlink()
    assert shown().startswith("model        challenger: 0.5 does not beat 0.9")


def test_preset_writes_params(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(__file__).parents[2] / "avfusion" / "params" / "presets"
    assert call(monkeypatch, "preset", "affwild2") == 0
    assert (project / "params.yaml").read_bytes() == (source / "affwild2.yaml").read_bytes()
    assert call(monkeypatch, "preset", "nope") == 2
    assert (
        "must be one of affwild2, affwild2-tsav, cremad, demo, demo-interaction, manifest, ravdess"
        in capsys.readouterr().err
    )
    assert call(monkeypatch, "preset", "demo", "--root", tmp_path / "gone") == 2
    assert load_params(project / "params.yaml").corpus.name == "affwild2", "unchanged after an error"
    (tmp_path / "corpus").mkdir()
    assert call(monkeypatch, "preset", "affwild2", "--root", tmp_path / "corpus") == 2, "an empty folder is no corpus"
    assert load_params(project / "params.yaml").corpus.root == str(tmp_path / "corpus")
    capsys.readouterr()
    assert call(monkeypatch, "preset", "demo") == 0
    assert capsys.readouterr().out == f"params.yaml: preset demo\n{NOT_RENDERED}"


@pytest.mark.parametrize("folders", [(), (".",), (".partial/a", "truth", "videos"), ("annotations/VA_Set", "videos")])
def test_scan_leaves_a_demo_that_is_not_rendered_to_dvc(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folders: tuple[str, ...]
) -> None:
    sources = project / "data" / "sources.txt"
    sources.parent.mkdir()
    sources.write_text("as it was\n")
    for folder in folders:
        (project / "data/raw/demo" / folder).mkdir(parents=True, exist_ok=True)
    assert call(monkeypatch, "scan") == 0
    assert capsys.readouterr().out == NOT_RENDERED
    assert sources.read_text() == "as it was\n"


def test_summary_shows_scores_times_and_what_to_do(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"ccc_valence": 0.7134, "ccc_arousal": 0.6, "ccc_mean": 0.6567, "ci95_valence": [0.6, 0.8]}
    none = {"ccc_valence": None, "ccc_arousal": None, "ccc_mean": None}
    low = {"ccc_valence": -0.1, "ccc_arousal": 0.1, "ccc_mean": 0.0}
    models = {"jca": entry, "audio_only": low, "concat": none, "oracle": entry | {"ccc_mean": 0.5}}
    (project / "reports" / "evaluate" / "metrics.json").write_text(json.dumps({"val": models, "test": models}))
    heads = json.dumps({"heads": {"jca": "linear", "audio_only": None}, "stopping": "inner"})
    (project / "reports" / "evaluate" / "protocol.json").write_text(heads)
    times = project / ".avfusion" / "times"
    times.mkdir(parents=True)
    (times / "train.json").write_text(json.dumps({"wall_s": 12.4, "cpu_s": 20.2}))
    (times / "render.json").write_text(json.dumps({"wall_s": 30.0, "cpu_s": 50.0}))
    assert call(monkeypatch, "summary") == 0
    out = capsys.readouterr().out
    rows = [line.strip("│┃ ").split()[0] for line in out.splitlines() if line.strip("│┃ ")]
    order = [row for row in rows if row in models]
    assert order == 2 * ["jca", "audio_only", "concat", "oracle"], "best first, the oracle last"
    assert "0.713 [+0.60 +0.80]" in out
    assert "A tenth of the training groups chose the epochs." in " ".join(out.split())
    cells = [[cell.strip() for cell in line.split("│")] for line in out.splitlines()]
    assert [row[2] for row in cells if len(row) > 2 and row[1] in ("jca", "audio_only", "oracle")] == 2 * [
        "linear",
        "–",
        "–",
    ]
    assert "render 30/50, train 12/20; all 42/70" in out
    assert "make ui" in out
    assert "reports/evaluate/" in out
    (project / "reports" / "evaluate" / "metrics.json").unlink()
    assert call(monkeypatch, "summary") == 2


def test_summary_of_a_corpus_without_truth_and_with_unlabelled_test_tracks(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    none = {"ccc_valence": None, "ccc_arousal": None, "ccc_mean": None}
    val = {"jca": {"ccc_valence": 0.3, "ccc_arousal": 0.5, "ccc_mean": 0.4}, "oracle": none, "oracle_audio": none}
    metrics = {"val": val, "test": dict.fromkeys(val, none)}
    (project / "reports" / "evaluate" / "metrics.json").write_text(json.dumps(metrics))
    assert call(monkeypatch, "summary") == 0
    shown = capsys.readouterr().out
    assert "jca" in shown
    assert "oracle" not in shown.lower()
    assert "CCC, test: no track has labels" in shown
