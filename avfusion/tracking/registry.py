"""The registered model: every trained model once, and the choice of the champion.

A store decides on a model when it registers it, against its champion at that time, so two stores may decide
differently. reports/register/model_version.json, which DVC carries from clone to clone, holds the decision of the store
that registered the model first; `.avfusion/registration.json`, which `ensure_registered` writes, that of this store.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from avfusion.fusion.model_folder import ModelFolder
from avfusion.runtime.atomic import write_json
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.project import project_root
from avfusion.tracking.answers import check_answers
from avfusion.tracking.model import DIGEST_TAG, NOTES_TAG, find_logged_model, log_fusion_model, note_tags
from avfusion.tracking.runs import tracked_run
from avfusion.tracking.store import configure, ensure_experiment, is_missing, store_errors

REGISTERED_MODEL = "avfusion"
CHAMPION, CHALLENGER = "champion", "challenger"
SCORES = ("ccc_valence", "ccc_arousal", "ccc_mean")
REGISTRATION = ".avfusion/registration.json"
_TAG = "avfusion."
_RECORD_TAG = _TAG + "record"
_ALIAS_TAG = _TAG + "alias"  # `set`: the version has received its alias, whoever has it now


@dataclass(frozen=True)
class Registration:
    """A model in the registry.

    Attributes:
        validation: digest of the validation corpus of the scores; "" if unknown.
        metrics: pooled CCCs on that corpus.
        decision: `champion` or `challenger`, decided by this store at registration.
        aliases: current aliases of the version; another version may have taken over `decision`.
        notes: what readers of the model's values must know.
    """

    digest: str
    validation: str
    metrics: dict[str, float | None]
    decision: str
    reason: str
    version: str
    created: bool
    aliases: tuple[str, ...] = ()
    notes: str = ""

    def record(self) -> dict[str, Any]:
        """The decision, without the numbers of this store alone."""
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

    The model logged by training is registered; if the store has none (a model pulled from DVC), a separate run logs it.
    The model becomes `champion` only if there is none, or if its mean CCC beats the champion's on the same validation
    corpus; else it becomes `challenger`. Decision and reason are kept as tags of the version, and written with its
    number and aliases to `.avfusion/registration.json`. If a registration is interrupted before the alias is set, the
    next call completes it against the champion at that time.

    Args:
        metrics: contents or path of `reports/evaluate/metrics.json`; default: the project's.
        root: the project whose store is used; default: the one around the working directory.
    """
    root = project_root() if root is None else Path(root)
    folder = ModelFolder.open(model_dir)
    digest = folder.digest()
    check_answers(root)
    lock = root / "mlruns" / ".register.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), store_errors():
        client = MlflowClient(configure(root))
        known = find_version(client, name, digest)
        if known is not None:
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
                Registration(
                    digest,
                    validation,
                    scores,
                    decision,
                    reason,
                    version="",
                    created=True,
                    notes=note_tags(folder).get(NOTES_TAG, ""),
                ),
            )
        if known is None or _ALIAS_TAG not in known.tags:
            registration = _point_alias(client, name, registration)
        registration = replace(registration, aliases=_aliases(client, name, registration.version))
    here = {"name": name, "version": registration.version, "aliases": registration.aliases}
    write_json(root / REGISTRATION, registration.record() | here)
    return registration


def decide(scores: Mapping[str, float | None], validation: str, champion: Registration | None) -> tuple[str, str]:
    """Decide between `champion` and `challenger`; return the decision and its reason."""
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
    """The version of the registered model with this digest, None if there is none."""
    found = client.search_model_versions(f"name = '{name}' AND tags.`{DIGEST_TAG}` = '{digest}'")
    return found[0] if found else None


def champion_version(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version with the alias `champion`, None if there is none."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if is_missing(error) or error.error_code == "INVALID_PARAMETER_VALUE":  # model or alias does not exist
            return None
        raise


def validation_digest(folder: ModelFolder) -> str:
    """Digest of the validation corpus of the model's selection, from its config; "" if there is none."""
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
    version = champion_version(client, name)
    return None if version is None else _read(version)


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
        client.get_registered_model(name)  # it exists already, or this call raises the real error
    version = client.create_model_version(
        name,
        source=uri,
        run_id=run_id,
        model_id=uri.removeprefix("models:/"),
        tags={DIGEST_TAG: registration.digest, _RECORD_TAG: _record_text(registration)}
        | ({NOTES_TAG: registration.notes} if registration.notes else {}),
        description=_description(registration),
    )
    return replace(registration, version=str(version.version))


def _read(version: ModelVersion) -> Registration:
    record = json.loads(version.tags.get(_RECORD_TAG, "{}"))
    return Registration(
        digest=version.tags.get(DIGEST_TAG, ""),
        validation=record.get("validation_corpus", ""),
        metrics=record.get("metrics", {}),
        decision=record.get("decision", CHALLENGER),
        reason=record.get("reason", "registered by hand"),
        version=str(version.version),
        created=False,
        notes=version.tags.get(NOTES_TAG, ""),
    )


def _point_alias(client: MlflowClient, name: str, registration: Registration) -> Registration:
    """Give a version its alias and record that: the last steps of a registration.

    After an interruption another version may be champion, so it decides again.
    """
    version = registration.version
    if registration.decision not in _aliases(client, name, version):
        decision, reason = decide(registration.metrics, registration.validation, _champion(client, name))
        if (decision, reason) != (registration.decision, registration.reason):
            registration = replace(registration, decision=decision, reason=reason)
            client.set_model_version_tag(name, version, _RECORD_TAG, _record_text(registration))
            client.update_model_version(name, version, _description(registration))
        client.set_registered_model_alias(name, decision, version)
    client.set_model_version_tag(name, version, _ALIAS_TAG, "set")
    return registration


def _aliases(client: MlflowClient, name: str, version: str) -> tuple[str, ...]:
    aliases = client.get_registered_model(name).aliases
    return tuple(sorted(alias for alias, holder in aliases.items() if str(holder) == version))


def _record_text(registration: Registration) -> str:
    return json.dumps(registration.record(), sort_keys=True)


def _description(registration: Registration) -> str:
    decided = f"{registration.decision}: {registration.reason}"
    return f"{decided}\n\nNote: {registration.notes}" if registration.notes else decided


def _shown(score: float | None) -> str:
    return "no score" if score is None else f"{score:.4f}"
