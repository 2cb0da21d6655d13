"""The registered model: every trained model once, and the choice of the champion.

A model becomes champion by itself only if it was made from committed files outside `dvc exp run`, and if there is no
champion or it is better than that by a paired interval over groups of validation videos. `avfusion champion` decides
by hand (`avfusion.tracking.champion`).

A store decides on a model when it registers it, against its champion at that time, so two stores may decide
differently. reports/register/model_version.json, which DVC carries from clone to clone, holds the decision of the store
that registered the model first; `.avfusion/registration.json`, which `ensure_registered` writes, that of this store.
"""

import json
import tempfile
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
from avfusion.scoring.kept_sums import KeptSums, paired_interval
from avfusion.tracking.answers import check_answers
from avfusion.tracking.model import DIGEST_TAG, NOTES_TAG, find_logged_model, log_fusion_model, note_tags
from avfusion.tracking.origin import provisional_origin
from avfusion.tracking.runs import tracked_run
from avfusion.tracking.store import configure, ensure_experiment, is_missing, store_errors

REGISTERED_MODEL = "avfusion"
CHAMPION, CHALLENGER = "champion", "challenger"
SCORES = ("ccc_valence", "ccc_arousal", "ccc_mean")
REGISTRATION = ".avfusion/registration.json"
_TAG = "avfusion."
_RECORD_TAG = _TAG + "record"
_SUMS_TAG = _TAG + "validation_sums"  # where the run of a version keeps its `KeptSums`
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
        provisional: why the version may not become champion by itself; "" if nothing speaks against it.
        comparison: with the champion at the decision: `champion` (its digest), `difference` of the mean CCCs, `ci95`
            (paired, clustered on groups), `groups`; None if they were not compared.
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
    provisional: str = ""
    comparison: dict[str, Any] | None = None

    def record(self) -> dict[str, Any]:
        """The decision, without the numbers of this store alone."""
        return {
            "model_digest": self.digest,
            "validation_corpus": self.validation,
            "metrics": self.metrics,
            "decision": self.decision,
            "reason": self.reason,
            "provisional": self.provisional,
            "comparison": self.comparison,
        }


def ensure_registered(
    model_dir: str | Path,
    *,
    metrics: str | Path | Mapping[str, Any] | None = None,
    sums: str | Path | None = None,
    root: Path | None = None,
    name: str = REGISTERED_MODEL,
) -> Registration:
    """Register the model at `model_dir` unless its digest is registered already, and decide on its alias.

    The model logged by training is registered; if the store has none (a model pulled from DVC), a separate run logs it.
    The model becomes `champion` or `challenger` as `decide` says. Decision, reason and figures are kept as a tag of the
    version and in its description, and written with its number and aliases to `.avfusion/registration.json`. If a
    registration is interrupted before the alias is set, the next call completes it against the champion at that time.
    A version that was `provisional` is decided on again once nothing speaks against it, say after a commit.

    Args:
        metrics: contents or path of `reports/evaluate/metrics.json`; default: the project's.
        sums: path of `reports/evaluate/video_sums.json`; default: the project's. Ignored if of another model.
        root: the project whose store is used; default: the one around the working directory.
    """
    root = project_root() if root is None else Path(root)
    folder = ModelFolder.open(model_dir)
    digest = folder.digest()
    kept = _model_sums(Path(sums or root / "reports/evaluate/video_sums.json"), digest)
    provisional = provisional_origin(root)
    check_answers(root)
    lock = root / "mlruns" / ".register.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), store_errors():
        client = MlflowClient(configure(root))
        known = find_version(client, name, digest)
        if known is not None:
            registration = read_version(known)
        else:
            scores = _validation_scores(root / "reports/evaluate/metrics.json" if metrics is None else metrics, folder)
            notes = note_tags(folder).get(NOTES_TAG, "")
            registration = Registration(
                digest,
                validation_digest(folder),
                scores,
                CHALLENGER,
                "",
                "",
                True,
                notes=notes,
                provisional=provisional,
            )
            registration = _decided(client, name, registration, kept)
            uri, run_id = _logged_model(client, root, folder, digest, scores)
            registration = _create(client, name, uri, run_id, registration)
        _keep_sums(client, name, registration.version, kept)
        freed = known is not None and registration.provisional and not provisional
        if freed:
            registration = replace(registration, provisional="")
        if known is None or freed or _ALIAS_TAG not in known.tags:
            registration = _point_alias(client, name, registration, kept, again=bool(freed))
        registration = replace(registration, aliases=_aliases(client, name, registration.version))
    here = {"name": name, "version": registration.version, "aliases": registration.aliases}
    write_json(root / REGISTRATION, registration.record() | here)
    return registration


def decide(
    new: Registration, champion: Registration | None, sums: KeptSums | None, champion_sums: KeptSums | None
) -> Registration:
    """The registration with its decision, reason and comparison.

    `champion` if nothing speaks against it and there is no champion, or if both were scored on the same validation
    corpus and the paired interval of the difference lies above 0. Otherwise `challenger`, a tie among them.
    """

    def challenger(reason: str, comparison: dict[str, Any] | None = None) -> Registration:
        return replace(new, decision=CHALLENGER, reason=reason, comparison=comparison)

    score = new.metrics.get("ccc_mean")
    if score is None:
        return challenger("no validation score")
    if champion is None:
        if new.provisional:
            return challenger(f"{new.provisional}: mean validation CCC {score:.4f}, and there is no champion")
        reason = f"no champion before it: mean validation CCC {score:.4f}"
        return replace(new, decision=CHAMPION, reason=reason, comparison=None)
    known = f"champion {champion.digest[:12]}"
    if not new.validation or new.validation != champion.validation:
        return challenger(f"{known} was scored on another validation corpus, so the two cannot be compared")
    other = champion.metrics.get("ccc_mean")
    if other is None:
        return challenger(f"{known} has no score to compare with")
    figures: dict[str, Any] = {"champion": champion.digest, "difference": round(score - other, 6), "ci95": None}
    shown = f"mean validation CCC {score:.4f} against {other:.4f} of {known}"
    if new.provisional:
        return challenger(f"{new.provisional}: {shown}", figures)
    if missing := [who for who, each in (("the new model", sums), (known, champion_sums)) if each is None]:
        return challenger(f"tie, the champion stays: {shown}, but {missing[0]} has no sums per video", figures)
    if not sums.same_frames(champion_sums):  # type: ignore[union-attr,arg-type]
        return challenger(f"tie, the champion stays: {shown}, but on other frames, labels or groups", figures)
    ends = paired_interval(sums, champion_sums)  # type: ignore[arg-type]
    groups = len(sums.groups)  # type: ignore[union-attr]
    figures |= {"ci95": None if ends is None else [round(end, 6) for end in ends], "groups": groups}
    if ends is None:
        return challenger(f"tie, the champion stays: {shown}; {groups} groups of videos are too few to tell", figures)
    shown += f", difference {score - other:+.4f} [{ends[0]:+.4f}, {ends[1]:+.4f}] over {groups} groups of videos"
    if ends[0] > 0:
        return replace(new, decision=CHAMPION, reason=f"better: {shown}", comparison=figures)
    return challenger(f"{'worse' if ends[1] < 0 else 'tie'}, the champion stays: {shown}", figures)


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


def _decided(client: MlflowClient, name: str, new: Registration, sums: KeptSums | None) -> Registration:
    """The registration as `decide` has it against the champion of now."""
    version = champion_version(client, name)
    if version is None:
        return decide(new, None, sums, None)
    return decide(new, read_version(version), sums, _kept_sums(client, version))


def _model_sums(path: Path, digest: str) -> KeptSums | None:
    """The evaluation's sums, None if there are none of this model."""
    try:
        found = KeptSums.read(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return found if found and found.digest == digest else None


def _keep_sums(client: MlflowClient, name: str, version: str, sums: KeptSums | None) -> None:
    """Keep sums with the run of a version, unless it has them."""
    held = client.get_model_version(name, version)
    if sums is None or not held.run_id or _SUMS_TAG in held.tags:
        return
    place = f"validation/{sums.digest[:12]}.json"
    client.log_text(held.run_id, json.dumps(sums.content()), place)
    client.set_model_version_tag(name, version, _SUMS_TAG, place)


def _kept_sums(client: MlflowClient, version: ModelVersion) -> KeptSums | None:
    """The sums of a version; None if it was registered without, or they are gone."""
    if not version.run_id or _SUMS_TAG not in version.tags:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = client.download_artifacts(version.run_id, version.tags[_SUMS_TAG], scratch)
        except (MlflowException, OSError):
            return None
        return KeptSums.read(Path(path).read_text(encoding="utf-8"))


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


def read_version(version: ModelVersion) -> Registration:
    """What a version's tags say; aliases are not among them."""
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
        provisional=record.get("provisional", ""),
        comparison=record.get("comparison"),
    )


def _point_alias(
    client: MlflowClient, name: str, registration: Registration, sums: KeptSums | None, again: bool
) -> Registration:
    """Give a version its alias and record that: the last steps of a registration.

    After an interruption another version may be champion, so it decides again, and with `again` in any case.
    """
    version = registration.version
    held = _aliases(client, name, version)
    if CHAMPION not in held and (again or registration.decision not in held):
        if sums is None:
            sums = _kept_sums(client, client.get_model_version(name, version))
        decided = _decided(client, name, registration, sums)
        if again or decided != registration:
            registration = decided
            write_record(client, name, registration)
        client.set_registered_model_alias(name, registration.decision, version)
        if registration.decision == CHAMPION and CHALLENGER in held:
            client.delete_registered_model_alias(name, CHALLENGER)
    client.set_model_version_tag(name, version, _ALIAS_TAG, "set")
    return registration


def write_record(client: MlflowClient, name: str, registration: Registration) -> None:
    """Write a decision into the tags and the description of its version."""
    client.set_model_version_tag(name, registration.version, _RECORD_TAG, _record_text(registration))
    client.update_model_version(name, registration.version, _description(registration))


def _aliases(client: MlflowClient, name: str, version: str) -> tuple[str, ...]:
    aliases = client.get_registered_model(name).aliases
    return tuple(sorted(alias for alias, holder in aliases.items() if str(holder) == version))


def _record_text(registration: Registration) -> str:
    return json.dumps(registration.record(), sort_keys=True)


def _description(registration: Registration) -> str:
    decided = f"{registration.decision}: {registration.reason}"
    return f"{decided}\n\nNote: {registration.notes}" if registration.notes else decided
