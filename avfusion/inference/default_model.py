"""Which model is meant where none is named."""

from pathlib import Path

from avfusion.errors import AVFusionError, BadInputError
from avfusion.project import project_root


def default_model() -> tuple[str, str]:
    """The project's champion, else its `models/fusion`: what to load, and how to call it.

    Raises:
        BadInputError: no project here, or one that has neither.
    """
    try:
        root = project_root()
    except AVFusionError as error:
        raise BadInputError(f"{error}: name a model with --model") from None
    from avfusion.config import load_params
    from avfusion.tracking.download import champion_uri
    from avfusion.tracking.store import moved_store

    moved = moved_store(root)
    name = load_params(root / "params.yaml", ["register"]).register_.name
    if moved is None and (uri := champion_uri(root, name)):
        return uri, uri
    fusion = root / "models" / "fusion"
    if (fusion / "config.json").is_file():
        reason = "the MLflow store was made at another path" if moved else "the registry has no champion"
        return str(fusion), f"{fusion} ({reason})"
    raise BadInputError(f"{root} has no champion and no models/fusion: run `make demo`, or name a model with --model")


def store_root() -> Path:
    """The project whose MLflow store is asked; the working directory where there is none but a server is named."""
    try:
        return project_root()
    except AVFusionError:
        return Path.cwd()
