import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from avfusion.corpora.notes import DRAWN
from avfusion.fusion.model_folder import ModelFolder
from avfusion.runtime.errors import AVFusionError, BadInputError
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
    assert "0.4000 does not beat 0.5000" in worse.reason
    assert aliases() == {"champion": "1", "challenger": "2"}
    retrain(2)
    score(0.6)
    better = ensure_registered(FUSION)
    assert better.decision == "champion"
    assert "0.6000 beats 0.5000" in better.reason
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


def test_an_equal_score_does_not_beat_the_champion() -> None:
    champion = Registration("c" * 64, "v", {"ccc_mean": 0.5}, "champion", "", "1", False)
    assert decide({"ccc_mean": 0.5}, "v", champion)[0] == "challenger"
    assert decide({"ccc_mean": 0.5001}, "v", champion)[0] == "champion"
    assert decide({"ccc_mean": 0.9}, "", champion)[0] == "challenger", "an unknown corpus is not the same corpus"
    assert decide({"ccc_mean": None}, "v", None)[0] == "challenger"
    assert decide({"ccc_mean": -0.1}, "v", None)[0] == "champion"


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
    assert "0.6000 beats 0.5000" in done.reason
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
    assert "0.6000 does not beat 0.7000" in late.reason
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
