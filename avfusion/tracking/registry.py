"""The registered model: every trained model once, and which version is the champion."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from avfusion.errors import BadInputError
from avfusion.inference.model_folder import ModelFolder
from avfusion.project import project_root
from avfusion.tracking.model import DIGEST_TAG, find_logged_model, log_fusion_model
from avfusion.tracking.runs import tracked_run
from avfusion.tracking.store import configure, ensure_experiment, store_errors

REGISTERED_MODEL = "avfusion"
CHAMPION, CHALLENGER = "champion", "challenger"
SCORES = ("ccc_valence", "ccc_arousal", "ccc_mean")
_TAG = "avfusion."


@dataclass(frozen=True)
class Registration:
    """A model in the registry.

    Attributes:
        digest: of the model's files.
        validation: digest of the validation corpus that the scores belong to; "" where unknown.
        metrics: pooled CCCs on it.
        decision: `champion` or `challenger`, as decided when it was registered.
        reason: why.
        version: the version number in this store.
        created: whether this call registered it.
    """

    digest: str
    validation: str
    metrics: dict[str, float | None]
    decision: str
    reason: str
    version: str
    created: bool

    def record(self) -> dict[str, Any]:
        """What depends on the model alone, not on the store that it is in."""
        return {
            "model_digest": self.digest,
            "validation_corpus": self.validation,
            "metrics": self.metrics,
            "decision": self.decision,
            "reason": self.reason,
        }


def ensure_registered(
    model_dir: str | Path,
    *,
    metrics: str | Path | Mapping[str, Any] | None = None,
    root: Path | None = None,
    name: str = REGISTERED_MODEL,
) -> Registration:
    """Register the model at `model_dir` unless its digest is registered already, and decide on its alias.

    The model that training logged is registered; where the store has none (a model pulled from DVC), it is logged by a
    run of its own. It becomes `champion` only if nothing is, or if it scores a higher mean CCC than the champion on the
    same validation corpus; else it becomes `challenger`. Decision and reason are kept as tags of the version.

    Args:
        metrics: contents, or path, of `reports/evaluate/metrics.json`; default: that of the project.
        root: the project whose store is used; default: the one around the working directory.
    """
    root = project_root() if root is None else Path(root)
    folder = ModelFolder.open(model_dir)
    digest = folder.digest()
    lock = root / "mlruns" / ".register.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), store_errors():
        client = MlflowClient(configure(root))
        if (known := find_version(client, name, digest)) is not None:
            registration = _read(known)
        else:
            scores = _validation_scores(root / "reports/evaluate/metrics.json" if metrics is None else metrics, folder)
            validation = validation_digest(folder)
            decision, reason = decide(scores, validation, _champion(client, name))
            uri, run_id = _logged_model(client, root, folder, digest, scores)
            registration = _create(
                client,
                name,
                uri,
                run_id,
                Registration(digest, validation, scores, decision, reason, version="", created=True),
            )
        _point_alias(client, name, registration)
    return registration


def decide(scores: Mapping[str, float | None], validation: str, champion: Registration | None) -> tuple[str, str]:
    """Whether a model is to be `champion` or `challenger`, and why."""
    score = scores.get("ccc_mean")
    if score is None:
        return CHALLENGER, "no validation score"
    if champion is None:
        return CHAMPION, f"first model with a validation score: mean CCC {score:.4f}"
    other = champion.metrics.get("ccc_mean")
    known = f"champion {champion.digest[:12]}"
    if not validation or validation != champion.validation:
        return CHALLENGER, f"{known} was scored on another validation corpus, so the two cannot be compared"
    if other is None or score > other:
        return CHAMPION, f"mean validation CCC {score:.4f} beats {_shown(other)} of {known}"
    return CHALLENGER, f"mean validation CCC {score:.4f} does not beat {_shown(other)} of {known}"


def find_version(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The version of the registered model that has this digest, None where there is none."""
    found = client.search_model_versions(f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{digest}'")
    return found[0] if found else None


def validation_digest(folder: ModelFolder) -> str:
    """Digest of the validation corpus that the model was chosen on, from its config; "" where it says none."""
    corpus = folder.config.get("corpus") or {}
    return str(corpus.get("validation_digest") or "")


def _validation_scores(metrics: str | Path | Mapping[str, Any], folder: ModelFolder) -> dict[str, float | None]:
    if not isinstance(metrics, Mapping):
        path = Path(metrics)
        try:
            metrics = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BadInputError(f"{path} is missing: `dvc repro evaluate` writes the scores of the model") from None
        except json.JSONDecodeError as error:
            raise BadInputError(f"{path} is not JSON: {error}") from None
    model = folder.config["fusion"]["name"]
    scores = metrics.get("val", {}).get(model) if isinstance(metrics, Mapping) else None
    if not isinstance(scores, Mapping):
        raise BadInputError(f"the evaluation has no scores val.{model}: run `dvc repro evaluate`")
    return {key: scores.get(key) for key in SCORES}


def _champion(client: MlflowClient, name: str) -> Registration | None:
    try:
        return _read(client.get_model_version_by_alias(name, CHAMPION))
    except MlflowException:
        return None


def _logged_model(
    client: MlflowClient, root: Path, folder: ModelFolder, digest: str, scores: Mapping[str, float | None]
) -> tuple[str, str | None]:
    if uri := find_logged_model(client, ensure_experiment(client, root), digest):
        return uri, client.get_logged_model(uri.removeprefix("models:/")).source_run_id
    purpose = {_TAG + "purpose": "registers a model that another store trained"}
    with tracked_run("register", root=root, tags=purpose) as run:
        run.log_metrics({f"val/{key}": value for key, value in scores.items() if value is not None})
        return log_fusion_model(run, folder.fusion), run.run_id


def _create(client: MlflowClient, name: str, uri: str, run_id: str | None, registration: Registration) -> Registration:
    try:
        client.create_registered_model(name)
    except MlflowException:
        client.get_registered_model(name)  # it exists already, or this says what is wrong
    version = client.create_model_version(
        name,
        source=uri,
        run_id=run_id,
        model_id=uri.removeprefix("models:/"),
        tags={DIGEST_TAG: registration.digest, _TAG + "record": json.dumps(registration.record(), sort_keys=True)},
        description=f"{registration.decision}: {registration.reason}",
    )
    return Registration(**{**vars(registration), "version": str(version.version)})


def _read(version: ModelVersion) -> Registration:
    record = json.loads(version.tags.get(_TAG + "record", "{}"))
    return Registration(
        digest=version.tags.get(DIGEST_TAG, ""),
        validation=record.get("validation_corpus", ""),
        metrics=record.get("metrics", {}),
        decision=record.get("decision", CHALLENGER),
        reason=record.get("reason", "registered by hand"),
        version=str(version.version),
        created=False,
    )


def _point_alias(client: MlflowClient, name: str, registration: Registration) -> None:
    """Set the alias of a new version, or the one that an interrupted registration left unset; move no other."""
    aliases = client.get_registered_model(name).aliases
    if registration.created or registration.decision not in aliases:
        client.set_registered_model_alias(name, registration.decision, registration.version)


def _shown(score: float | None) -> str:
    return "no score" if score is None else f"{score:.4f}"
