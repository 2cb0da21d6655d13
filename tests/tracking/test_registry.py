import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avfusion.corpora.notes import DRAWN
from avfusion.fusion.model_folder import ModelFolder
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.scoring.kept_sums import KeptSums
from avfusion.scoring.metrics import target_sums
from avfusion.tracking.champion import demote, promote, versions
from avfusion.tracking.model import log_fusion_model
from avfusion.tracking.registry import Registration, decide, ensure_registered
from avfusion.tracking.runs import tracked_run

FUSION = "models/fusion"
OTHER = {"name": "demo", "validation_digest": "w" * 32}


def aliases() -> dict[str, str]:
    return {key: str(value) for key, value in MlflowClient().get_registered_model("avfusion").aliases.items()}


def test_the_first_model_is_champion_and_is_registered_once(project: Path) -> None:
    first = ensure_registered(FUSION)
    second = ensure_registered(FUSION)
    assert (first.created, second.created) == (True, False)
    assert (first.version, second.version) == ("1", "1")
    assert first.decision == "champion"
    assert first.digest == ModelFolder.open(FUSION).digest()
    assert first.metrics == pytest.approx({"ccc_valence": 0.4, "ccc_arousal": 0.6, "ccc_mean": 0.5})
    assert json.dumps(first.record(), sort_keys=True) == json.dumps(second.record(), sort_keys=True)
    assert not {"run_id", "version"} & first.record().keys()
    assert len(MlflowClient().search_model_versions("name='avfusion'")) == 1
    assert aliases() == {"champion": "1"}


def test_an_empty_store_gives_the_same_record(project: Path, migrated_store: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(project, clone)
    first = ensure_registered(FUSION)
    again = ensure_registered(clone / FUSION, root=clone)
    assert again.created
    assert again.record() == first.record()


def test_a_better_model_becomes_champion_a_worse_one_challenger(
    project: Path, score: Callable[[float], Path], retrain: Callable[..., Path]
) -> None:
    ensure_registered(FUSION)
    retrain(1)
    score(0.4)
    worse = ensure_registered(FUSION)
    assert worse.decision == "challenger"
    assert re.match(
        r"worse, the champion stays: mean validation CCC 0\.4000 against 0\.5000 of champion \w+, "
        r"difference -0\.1000 \[-0\.\d+, -0\.\d+\] over 12 groups of videos$",
        worse.reason,
    )
    assert aliases() == {"champion": "1", "challenger": "2"}
    retrain(2)
    score(0.6)
    better = ensure_registered(FUSION)
    assert better.decision == "champion"
    assert better.reason.startswith("better: mean validation CCC 0.6000 against 0.5000 of champion ")
    assert better.comparison
    assert better.comparison["difference"] == pytest.approx(0.1)
    assert 0 < better.comparison["ci95"][0] < better.comparison["ci95"][1]
    assert aliases() == {"champion": "3", "challenger": "2"}
    retrain(1)
    score(0.9)
    known = ensure_registered(FUSION)
    assert (known.version, known.decision, known.metrics["ccc_mean"]) == ("2", "challenger", 0.4), "as decided then"
    assert aliases() == {"champion": "3", "challenger": "2"}


def test_scores_on_another_validation_corpus_do_not_count(
    project: Path, score: Callable[[float], Path], retrain: Callable[..., Path]
) -> None:
    ensure_registered(FUSION)
    retrain(1, corpus=OTHER)
    score(0.9)
    other = ensure_registered(FUSION)
    assert other.decision == "challenger"
    assert "another validation corpus" in other.reason
    assert aliases() == {"champion": "1", "challenger": "2"}


def registration(score: float | None, validation: str = "v", **facts: Any) -> Registration:
    return Registration("n" * 64, validation, {"ccc_mean": score}, "challenger", "", "2", False, **facts)


def kept(quality: float, groups: int = 12, noise: float = 0.3) -> KeptSums:
    rng = np.random.default_rng(1)
    labels = rng.normal(size=(groups * 40, 2))
    predictions = quality * labels + noise * rng.normal(size=labels.shape)
    numbers = np.repeat(np.arange(groups), 40)
    return KeptSums("d", tuple(f"g{group:02d}" for group in range(groups)), target_sums(predictions, labels, numbers))


def test_without_a_champion_a_model_with_a_score_becomes_it() -> None:
    assert decide(registration(None), None, None, None).decision == "challenger"
    assert decide(registration(-0.1), None, None, None).decision == "champion"
    experiment = decide(registration(0.9, provisional="made by an experiment"), None, None, None)
    assert experiment.decision == "challenger"
    assert experiment.reason == "made by an experiment: mean validation CCC 0.9000, and there is no champion"


def test_only_an_interval_above_zero_makes_a_champion() -> None:
    champion = replace(registration(0.6224), digest="c" * 64, version="1")
    better = decide(registration(0.7), champion, kept(0.9), kept(0.5))
    assert (better.decision, better.reason.partition(":")[0]) == ("champion", "better")
    same = decide(registration(0.6364), champion, kept(0.5), kept(0.5))
    assert (same.decision, same.reason.partition(":")[0]) == ("challenger", "tie, the champion stays")
    assert "difference +0.0140 [" in same.reason, "a higher score is not enough"
    barred = decide(registration(0.7, provisional="made by an experiment"), champion, kept(0.9), kept(0.5))
    assert barred.decision == "challenger"
    assert barred.comparison
    assert barred.comparison["difference"] == pytest.approx(0.0776)
    unknown = decide(registration(0.7, validation=""), replace(champion, validation=""), kept(0.9), kept(0.5))
    assert unknown.decision == "challenger", "an unknown corpus is not the same corpus"


def test_without_sums_of_the_same_videos_the_champion_stays() -> None:
    champion = replace(registration(0.5), digest="c" * 64, version="1")
    for new, old, why in (
        (None, kept(0.5), "the new model has no sums per video"),
        (kept(0.9), None, "champion cccccccccccc has no sums per video"),
        (kept(0.9), kept(0.5, groups=11), "on other frames, labels or groups"),
        (kept(0.9, groups=1), kept(0.5, groups=1), "1 groups of videos are too few to tell"),
    ):
        done = decide(registration(0.7), champion, new, old)
        assert done.decision == "challenger"
        assert done.reason.startswith("tie, the champion stays: mean validation CCC 0.7000 against 0.5000")
        assert why in done.reason


def git(*arguments: str) -> None:
    person = ("-c", "user.name=A", "-c", "user.email=a@b.c")
    subprocess.run(["git", *person, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(project: Path) -> Path:
    """The project with params.yaml, dvc.yaml and the scores committed."""
    git("init", "-q")
    git("add", "params.yaml", "dvc.yaml", "reports")
    git("commit", "-qm", "start")
    return project


@pytest.mark.parametrize("variable", ["DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"])
def test_an_experiment_never_makes_itself_champion(
    variable: str,
    project: Path,
    score: Callable[[float], Path],
    retrain: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ensure_registered(FUSION)
    retrain(1)
    score(0.9)
    with monkeypatch.context() as patch:
        patch.setenv(variable, "fatal-tike")
        done = ensure_registered(FUSION)
    assert done.decision == "challenger"
    assert done.reason.startswith("made by the experiment ")
    assert aliases() == {"champion": "1", "challenger": "2"}
    kept_on = ensure_registered(FUSION)
    assert (kept_on.version, kept_on.decision) == ("2", "champion"), "applied and outside: decided by its scores"
    assert aliases() == {"champion": "2"}


def test_files_that_are_not_committed_make_a_challenger(
    repository: Path, score: Callable[[float], Path], retrain: Callable[..., Path]
) -> None:
    score(0.5)
    assert ensure_registered(FUSION).decision == "champion", "what stages write does not count"
    retrain(1)
    score(0.9)
    with (repository / "params.yaml").open("a") as params:
        params.write("# lr\n")
    done = ensure_registered(FUSION)
    assert done.decision == "challenger"
    assert done.reason.startswith("made from files that are not committed (params.yaml): mean validation CCC 0.9000")
    assert aliases() == {"champion": "1", "challenger": "2"}
    git("commit", "-qam", "lr")
    assert ensure_registered(FUSION).decision == "champion"
    assert aliases() == {"champion": "2"}


def test_a_person_promotes_and_demotes(
    project: Path, score: Callable[[float], Path], retrain: Callable[..., Path]
) -> None:
    assert versions(project, "avfusion") == []
    ensure_registered(FUSION)
    retrain(1)
    score(0.4)
    ensure_registered(FUSION)
    done = promote(project, "avfusion", 2)
    assert re.match(r"promoted by hand on 20\d\d-\d\d-\d\d \d\d:\d\d UTC, in place of version 1$", done.reason)
    assert aliases()["champion"] == "2"
    assert ensure_registered(FUSION).reason == done.reason, "a registration does not reverse it"
    assert MlflowClient().get_model_version("avfusion", "2").description.startswith("champion: promoted by hand")
    assert demote(project, "avfusion").version == "2"
    assert "champion" not in aliases()
    with pytest.raises(BadInputError, match="no champion to demote"):
        demote(project, "avfusion")
    with pytest.raises(BadInputError, match="has no version 7"):
        promote(project, "avfusion", 7)
    promote(project, "avfusion", 1)
    found = versions(project, "avfusion")
    assert [(each.registration.version, "champion" in each.registration.aliases) for each in found] == [
        ("2", False),
        ("1", True),
    ]


def test_the_model_that_training_logged_is_the_one_registered(project: Path) -> None:
    with tracked_run("jca") as run:
        uri = log_fusion_model(run, FUSION)
    ensure_registered(FUSION)
    version = MlflowClient().get_model_version("avfusion", "1")
    assert (version.run_id, version.source) == (run.run_id, uri)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Registers the model, and is interrupted where the client's method of that name would be called."""

    def register(method: str) -> None:
        def stop(*arguments: object, **options: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, method, stop)
            with pytest.raises(KeyboardInterrupt):
                ensure_registered(FUSION)

    return register


@pytest.mark.parametrize("method", ["set_registered_model_alias", "set_model_version_tag"])
def test_an_interrupted_registration_is_completed(
    method: str,
    project: Path,
    score: Callable[[float], Path],
    retrain: Callable[..., Path],
    interrupted: Callable[[str], None],
) -> None:
    ensure_registered(FUSION)
    retrain(1)
    score(0.6)
    interrupted(method)
    done = ensure_registered(FUSION)
    assert (done.version, done.decision, done.created) == ("2", "champion", False)
    assert done.reason.startswith("better: mean validation CCC 0.6000 against 0.5000 of ")
    assert aliases() == {"champion": "2"}
    assert done.aliases == ("champion",)


def test_an_interrupted_registration_is_decided_against_the_champion_of_now(
    project: Path, score: Callable[[float], Path], retrain: Callable[..., Path], interrupted: Callable[[str], None]
) -> None:
    ensure_registered(FUSION)
    retrain(1)
    score(0.6)
    interrupted("set_registered_model_alias")
    retrain(2)
    score(0.7)
    assert ensure_registered(FUSION).decision == "champion"
    retrain(1)
    late = ensure_registered(FUSION)
    assert (late.version, late.decision) == ("2", "challenger")
    assert late.reason.startswith("worse, the champion stays: mean validation CCC 0.6000 against 0.7000 of ")
    assert aliases() == {"champion": "3", "challenger": "2"}
    assert ensure_registered(FUSION).record() == late.record(), "kept in the store"
    assert MlflowClient().get_model_version("avfusion", "2").description == (
        f"challenger: {late.reason}\n\nNote: {DRAWN}"
    )


def test_an_alias_that_was_taken_away_stays_away(project: Path) -> None:
    ensure_registered(FUSION)
    MlflowClient().delete_registered_model_alias("avfusion", "champion")
    again = ensure_registered(FUSION)
    assert aliases() == {}
    assert (again.decision, again.aliases) == ("champion", ())


def test_a_store_that_does_not_answer_has_no_empty_place_for_a_champion(
    project: Path, retrain: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_registered(FUSION)
    retrain(1)

    def fail(*arguments: object) -> None:
        raise MlflowException("connection lost")

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "get_model_version_by_alias", fail)
        with pytest.raises(AVFusionError, match="cannot be used: connection lost"):
            ensure_registered(FUSION)
    assert len(MlflowClient().search_model_versions("name='avfusion'")) == 1


def test_what_this_store_decided_is_written_beside_the_project(
    project: Path, score: Callable[[float], Path], retrain: Callable[..., Path]
) -> None:
    written = project / ".avfusion" / "registration.json"
    first = ensure_registered(FUSION)
    own = {"name": "avfusion", "version": "1", "aliases": ["champion"]}
    assert json.loads(written.read_text()) == first.record() | own
    retrain(1)
    score(0.6)
    ensure_registered(FUSION)
    assert json.loads(written.read_text())["version"] == "2"


def test_missing_scores_are_named(project: Path) -> None:
    metrics = project / "reports" / "evaluate" / "metrics.json"
    metrics.write_text(json.dumps({"val": {"concat": {}}}))
    with pytest.raises(BadInputError, match=r"val\.jca"):
        ensure_registered(FUSION)
    metrics.unlink()
    with pytest.raises(BadInputError, match=r"metrics\.json is missing"):
        ensure_registered(FUSION)
    assert not MlflowClient().search_registered_models()


def test_the_stage_writes_the_same_bytes_each_time(project: Path) -> None:
    import subprocess
    import sys

    script = Path(__file__).parents[2] / "pipelines" / "register.py"
    written = project / "reports" / "register" / "model_version.json"
    bytes_ = []
    for _ in range(2):
        subprocess.run([sys.executable, script], cwd=project, check=True, capture_output=True)
        bytes_.append(written.read_bytes())
    assert bytes_[0] == bytes_[1]
    record = json.loads(bytes_[0])
    assert record["model_digest"] == ModelFolder.open(FUSION).digest()
    assert record["decision"] == "champion"
