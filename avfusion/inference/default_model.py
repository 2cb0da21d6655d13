"""Locate a model: the named one, or the default."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.project import project_root


def default_model() -> tuple[str, str]:
    """The project's champion, else its `models/fusion`: what to load, and its name for people.

    Raises:
        BadInputError: there is no project here, or it has neither.
    """
    try:
        root = project_root()
    except AVFusionError as error:
        raise BadInputError(f"{error}: name a model with --model") from None
    from avfusion.params.params import load_params
    from avfusion.tracking.model_cache import last_answer
    from avfusion.tracking.store import moved_store

    moved = moved_store(root)
    name = load_params(root / "params.yaml", ["register"]).register.name
    uri = f"models:/{name}@champion"
    if moved is None and (last_answer(uri, root) or _has_champion(root, name)):
        return uri, uri
    fusion = root / "models" / "fusion"
    if (fusion / "config.json").is_file():
        reason = "the MLflow store was made at another path" if moved else "the registry has no champion"
        return str(fusion), f"{fusion} ({reason})"
    raise BadInputError(f"{root} has no champion and no models/fusion: run `make demo`, or name a model with --model")


def _has_champion(root: Path, name: str) -> bool:
    from avfusion.tracking.download import champion_uri

    return champion_uri(root, name) is not None


def store_root() -> Path:
    """The project whose MLflow store is used; without a project, but with a server, the working directory."""
    try:
        return project_root()
    except AVFusionError:
        return Path.cwd()


@contextmanager
def model_at(uri_or_dir: str) -> Iterator[tuple[Path, str]]:
    """Provide the folder of a model, given as a folder or a URI in the store, and a note about its source.

    Raises:
        BadInputError: the folder, or the model in the store, does not exist.
    """
    if uri_or_dir.startswith(("models:/", "runs:/")):
        from avfusion.tracking.model_cache import last_answer

        root = store_root()
        if (folder := last_answer(uri_or_dir, root)) is not None:
            yield folder, ""
            return
        from avfusion.tracking.download import downloaded_model

        with downloaded_model(uri_or_dir, root) as found:
            yield found
    else:
        if not Path(uri_or_dir).is_dir():
            raise BadInputError(f"there is no model folder {uri_or_dir}: a folder, models:/… or runs:/… is needed")
        yield Path(uri_or_dir), ""
