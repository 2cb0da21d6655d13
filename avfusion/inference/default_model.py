"""Locate a model: the named one, or the default."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.project import project_root


@contextmanager
def located_model(uri_or_dir: str | Path | None) -> Iterator[tuple[Path, str]]:
    """Provide the folder of a model and its name for people; None: the project's champion, else its models/fusion.

    Raises:
        BadInputError: the model does not exist; or there is no project here, or it has neither.
    """
    if uri_or_dir is not None:
        with model_at(str(uri_or_dir)) as (folder, remark):
            yield folder, _named(str(uri_or_dir), remark)
        return
    try:
        root = project_root()
    except AVFusionError as error:
        raise BadInputError(f"{error}: name a model with --model") from None
    with ExitStack() as stack:
        folder, source = _default(root, stack)
        yield folder, source


def _default(root: Path, stack: ExitStack) -> tuple[Path, str]:
    from avfusion.params.params import load_params
    from avfusion.tracking.answers import NoModelError
    from avfusion.tracking.store import moved_store

    why, away = "the MLflow store was made at another path", ""
    if moved_store(root) is None:
        uri = f"models:/{load_params(root / 'params.yaml', ['register']).register.name}@champion"
        try:
            folder, remark = stack.enter_context(model_at(uri))
            return folder, _named(uri, remark)
        except NoModelError as error:
            why, away = error.away or "the registry has no champion", error.away
    fusion = root / "models" / "fusion"
    if (fusion / "config.json").is_file():
        return fusion, _named(str(fusion), why)
    raise BadInputError(
        f"{root} has no champion and no models/fusion: run `make demo`, or name a model with --model"
        + (f" ({away})" if away else "")
    )


def _named(name: str, remark: str) -> str:
    return f"{name} ({remark})" if remark else name


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
        if (answer := last_answer(uri_or_dir, root)) is not None:
            yield answer
            return
        from avfusion.tracking.download import downloaded_model

        with downloaded_model(uri_or_dir, root) as found:
            yield found
    else:
        if not Path(uri_or_dir).is_dir():
            raise BadInputError(f"there is no model folder {uri_or_dir}: a folder, models:/… or runs:/… is needed")
        yield Path(uri_or_dir), ""
