"""The promises, in the order in which they are tried. Each returns what it measured or raises AssertionError."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workspace import Clone

Promise = Callable[[Clone, Path], str]
MODELS = ("audio_only", "visual_only", "concat", "jca")


def demo(first: Clone, workspace: Path) -> str:
    """A fresh clone: the whole pipeline within its budget."""
    done = first.must("make", "demo")
    assert done.cpu_s < 1100, f"too dear: {done.cost()}"
    assert done.peak_bytes < 6e9, f"too much memory: {done.cost()}"
    idle = "" if done.wall_s < 600 else " (over 10 minutes: was the machine idle?)"
    return f"`make demo`: {done.cost()}{idle}"


def second_demo(first: Clone, workspace: Path) -> str:
    """A second `make demo` runs no stage and says so."""
    done = first.must("make", "demo")
    assert "Running stage" not in done.output, "a stage ran"
    assert "up to date" in done.output, "does not say that nothing had to run"
    assert done.wall_s < 60, f"slow: {done.cost()}"
    return f"second `make demo`: no stage, {done.cost()}"


def repro(first: Clone, workspace: Path) -> str:
    """`dvc repro` again runs nothing, with bytecode written too."""
    for _ in range(2):
        done = first.must("dvc", "repro")
        assert "Running stage" not in done.output, "a stage ran"
    return "`dvc repro` twice: nothing runs"


def scores(first: Clone, workspace: Path) -> str:
    """On the test split, over training seeds 0, 1, 2: the order of models that the corpus was made for."""
    facts = _seeds(first)
    return _check_scores(facts) + "; " + _oracles(first)


def other_corpus(first: Clone, workspace: Path) -> str:
    """The same sign on a corpus of another seed."""
    clone = Clone(workspace / "other-corpus", environment=first.folder / ".venv")
    params = clone.folder / "params.yaml"
    text, replaced = re.subn(r"(?m)(^render:.*\n  seed: )1$", r"\g<1>2", params.read_text())
    assert replaced == 1, "params.yaml has no render.seed: 1"
    params.write_text(text)
    clone.must("dvc", "repro")
    difference, _, words = _gain(_seeds(clone))
    assert difference > 0, words
    return f"corpus seed 2: {words}"


def _seeds(clone: Clone) -> dict[str, Any]:
    clone.must("avfusion", "compare", "--seeds", "0,1,2", "--split", "test")
    return json.loads(clone.read("reports/compare/comparison.json"))


def _gain(facts: dict[str, Any]) -> tuple[float, list[float], str]:
    """What jca adds to the better single stream in mean CCC, its paired interval, and both in words."""
    better = facts["better_stream"]
    found = facts["differences"][f"jca - {better}"]["mean"]
    difference, ends = found["difference"], found["ci95"]
    return difference, ends, f"jca {difference:+.3f} over {better} [{ends[0]:+.3f}, {ends[1]:+.3f}]"


def _check_scores(facts: dict[str, Any]) -> str:
    scores = {model: {key: value["mean"] for key, value in entry.items()} for model, entry in facts["models"].items()}
    difference, ends, words = _gain(facts)
    assert difference >= 0.05, words
    assert ends[0] > 0, words
    assert scores["visual_only"]["ccc_valence"] > scores["audio_only"]["ccc_valence"], "valence is not the face's"
    assert scores["visual_only"]["ccc_arousal"] < scores["audio_only"]["ccc_arousal"], "arousal is not the voice's"
    for model in MODELS:
        value = scores[model]["ccc_mean"]
        assert 0.2 < value < scores["oracle"]["ccc_mean"], f"{model}: {value}"
    names = (*MODELS, "oracle")
    table = ", ".join(f"{name} {scores[name]['ccc_valence']:.3f}/{scores[name]['ccc_arousal']:.3f}" for name in names)
    return f"test, seeds 0-2: {table}; {words}"


def _oracles(clone: Clone) -> str:
    test = json.loads(clone.read("reports/evaluate/metrics.json"))["test"]
    gaps = []
    for target in ("ccc_valence", "ccc_arousal"):
        gap = test["oracle"][target] - max(test["oracle_audio"][target], test["oracle_visual"][target])
        assert gap >= 0.05, f"oracle gap in {target}: {gap:.3f}"
        gaps.append(gap)
    done = clone.must("python", "acceptance/gap_errors.py")
    return f"oracle gaps {gaps[0]:.3f}/{gaps[1]:.3f}; {done.output.strip().splitlines()[-1]}"


def same_bytes(first: Clone, workspace: Path) -> str:
    """Everything deleted and made again without DVC's cache: the same metrics.json."""
    clone = Clone(workspace / "same-bytes", environment=first.folder / ".venv")
    clone.must("dvc", "repro")
    assert clone.read("reports/evaluate/metrics.json") == first.read("reports/evaluate/metrics.json")
    return "from nothing, without DVC's cache: metrics.json has the same bytes"


def pulled(first: Clone, workspace: Path) -> str:
    """DVC's cache pulled into a fresh clone with an empty mlruns/: nothing runs, the model is registered."""
    remote = workspace / "remote"
    shutil.rmtree(remote, ignore_errors=True)
    first.must("dvc", "remote", "add", "--force", "--local", "accept", str(remote))
    first.must("dvc", "push", "--remote", "accept")
    first.must("git", "add", "--all")
    if first.run("git", "diff", "--cached", "--quiet").code:
        first.must("git", "commit", "--quiet", "--message", "results")
    shutil.rmtree(workspace / "pulled", ignore_errors=True)
    clone = Clone(workspace / "pulled", source=first.folder, environment=first.folder / ".venv")
    clone.must("dvc", "remote", "add", "--force", "--local", "accept", str(remote))
    clone.must("dvc", "pull", "--remote", "accept")
    (clone.folder / ".venv/.installed").touch()
    done = clone.must("make", "demo")
    assert "Running stage" not in done.output, "a stage ran: " + str(re.findall(r"Running stage '(\w+)'", done.output))
    video = _test_videos(clone)[0]
    clone.must("avfusion", "predict", str(video), "-o", str(clone.folder / "out"))
    rows = (clone.folder / "out" / f"{video.stem}.csv").read_text().splitlines()
    assert len(rows) > 500
    return f"pulled into a fresh clone: no stage ran, {_versions(clone)} version registered, predict works"


def killed(first: Clone, workspace: Path) -> str:
    """kill -9 of the training's process group after epoch 3, then `dvc repro`."""
    clone = Clone(workspace / "pulled", environment=first.folder / ".venv")
    assert (clone.folder / "data/features").is_dir(), "`pulled` has to run before"
    clone.remove("models/fusion", "models/baselines", "reports/train", ".avfusion/train")
    before = first.read("reports/evaluate/metrics.json")
    done = clone.run("dvc", "repro", kill_when=r"jca.*epoch +3\b")
    assert done.code != 0, "the training was not killed"
    started = _runs(clone)
    again = clone.must("dvc", "repro")
    resumed = re.search(r"resumed at epoch (\d+)", again.output)
    assert resumed, "the log does not say that it resumed"
    later = {int(n) for n in re.findall(r"jca.*?epoch +(\d+)\b(?!.*resumed)", again.output)}
    assert min(later) >= int(resumed[1]) >= 3, f"resumed at {resumed[1]}, trained {sorted(later)}"
    assert clone.read("reports/evaluate/metrics.json") == before, "metrics.json differs from the unbroken run's"
    ended = _runs(clone)
    assert set(ended.values()) == {"FINISHED"}, f"runs ended as {set(ended.values())}"
    begun = [run for run, status in started.items() if status != "FINISHED"]
    assert begun, "no run had been started when the training was killed"
    assert set(begun) <= set(ended), "the killed runs were not continued"
    assert len(ended) == len(started) + len(MODELS) - 1, f"{len(started)} runs when killed, {len(ended)} at the end"
    return f"kill -9 after epoch 3: {resumed[0]}, metrics.json equal, every run FINISHED"


def predict(first: Clone, workspace: Path) -> str:
    """Three raw test videos score as their stored crops do."""
    done = first.must("python", "acceptance/predict_agreement.py")
    return done.output.strip().splitlines()[-1]


def faces(first: Clone, workspace: Path) -> str:
    """The detector on unoccluded demo frames."""
    done = first.must("python", "acceptance/detection_rate.py")
    first.must("python", "-m", "pytest", "-q", "tests/media/test_faces.py", "-k", "astronaut")
    return done.output.strip().splitlines()[-1] + ", and in astronaut.png"


def parity(first: Clone, workspace: Path) -> str:
    """The published tensors."""
    first.must("python", "-m", "pytest", "-q", "tests/fusion/test_published.py")
    return "load_paper_jca agrees to 1e-5 with every published tensor"


def help_time(first: Clone, workspace: Path) -> str:
    """The command line answers at once."""
    best = min(first.must("avfusion", "--help").wall_s for _ in range(5))
    assert best < 1, f"{best:.2f} s"
    return f"`avfusion --help`: {best:.2f} s"


def lint(first: Clone, workspace: Path) -> str:
    """Ruff and mypy."""
    first.must("make", "lint")
    return "`make lint` clean"


def tests(first: Clone, workspace: Path) -> str:
    """The tests of the clone."""
    done = first.must("make", "test")
    assert done.wall_s < 1500, f"slow: {done.cost()}"
    return f"`make test`: {done.output.strip().splitlines()[-1].strip('= ')}, {done.cost()}"


def slow_tests(first: Clone, workspace: Path) -> str:
    """The longer tests, the downloaded model in an environment of its own among them."""
    done = first.must("make", "test-slow")
    return f"`make test-slow`: {done.output.strip().splitlines()[-1].strip('= ')}"


def _test_videos(clone: Clone) -> list[Path]:
    names = (clone.folder / "data/raw/demo/annotations/VA_Set/Valence_Arousal_test_set_release.txt").read_text().split()
    videos = clone.folder / "data/raw/demo/videos"
    return [path for name in names for path in videos.rglob(f"{name}.mp4")]


def _versions(clone: Clone) -> int:
    with sqlite3.connect(clone.folder / "mlruns/mlflow.db") as store:
        return int(store.execute("select count(*) from model_versions").fetchone()[0])


def _runs(clone: Clone) -> dict[str, str]:
    """Status of every run by id."""
    with sqlite3.connect(clone.folder / "mlruns/mlflow.db") as store:
        return dict(store.execute("select run_uuid, status from runs where lifecycle_stage = 'active'"))


PROMISES: dict[str, Promise] = {
    "demo": demo,
    "second-demo": second_demo,
    "repro": repro,
    "scores": scores,
    "faces": faces,
    "predict": predict,
    "parity": parity,
    "help": help_time,
    "lint": lint,
    "pulled": pulled,
    "killed": killed,
    "same-bytes": same_bytes,
    "other-corpus": other_corpus,
    "tests": tests,
    "slow-tests": slow_tests,
}
