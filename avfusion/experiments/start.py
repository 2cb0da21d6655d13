"""`train.weights`: a fusion model on disk from which training starts, or which is used as is (`train.epochs: 0`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from avfusion.data.feature_spec import FeatureSpec
from avfusion.fusion.catalogue import find_fusion, takes_maps
from avfusion.fusion.files import WEIGHTS, load_fusion
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest
from avfusion.training.settings import TrainSettings
from avfusion.training.start import Start


def refuse_start(config: TrainSettings, who: str) -> None:
    """Refuse initial weights and zero epochs, for commands that train many models from random weights.

    Raises:
        BadInputError: `train.weights` is set, or no epoch is trained.
    """
    if config.weights is not None:
        raise BadInputError(
            f"train.weights is {config.weights!r}: must be null, since {who} trains from random weights"
        )
    if config.epochs == 0:
        raise BadInputError(f"train.epochs is 0: must be 1 or more, since {who} trains models")


def refuse_models(names: Sequence[str], output: str) -> None:
    """Refuse names in `--models` of unknown fusion models, or of models that do not take features of this `output`.

    Args:
        output: form of the visual features, `pooled` or `map`.

    Raises:
        BadInputError: a name is refused; the message names it.
    """
    for name in names:
        try:
            find_fusion(name)
        except BadInputError as error:
            raise BadInputError(f"--models has {name!r}: {error}") from None
    if output != "map" and (takers := [name for name in names if takes_maps(name)]):
        wanted = ", ".join(takers)
        raise BadInputError(
            f"--models: {wanted} takes visual maps, and the features are {output}: set backbones.output to map"
        )


def read_start(root: Path, config: TrainSettings, spec: FeatureSpec) -> Start | None:
    """The model at `train.weights`; None if that is null.

    Raises:
        BadInputError: there is no model, it is not a `train.model`, or it would be used untrained on features of other
            backbones than its own.
        AVFusionError: the model's files are damaged.
    """
    if config.weights is None:
        return None
    folder = root / config.weights
    if not folder.is_dir():
        raise BadInputError(
            f"train.weights: there is no folder {config.weights}: `avfusion import-weights jointcam FILE` makes "
            "models/imported/jointcam from the published checkpoint"
        )
    model, stored = load_fusion(folder)
    if model.name != config.model:
        raise BadInputError(f"train.weights: {config.weights} holds a {model.name}, but train.model is {config.model}")
    if config.epochs == 0:
        _check_backbones(config.weights, stored, spec)
    origin = stored.get("start") or {}
    facts = {"weights": config.weights, "sha256": file_digest(folder / WEIGHTS)}
    return Start(model.state_dict(), facts | {key: origin[key] for key in ("source", "licence") if key in origin})


def _check_backbones(weights: str, stored: dict[str, Any], spec: FeatureSpec) -> None:
    known = (stored.get("feature_spec") or {}).get("backbones") or {}
    other = [name for name, backbone in spec.backbones.items() if known.get(name, {}).get("sha256") != backbone.sha256]
    if other:
        raise BadInputError(
            f"train.weights: {weights} is used untrained (train.epochs is 0), but the {' and '.join(other)} features "
            "are not of the backbones that it was trained with: set backbones.<stream>.weights to those (tsav, for "
            "models/imported/jointcam) and backbones.<stream>.epochs to 0; if they are, the backbones were imported "
            "anew since: `avfusion import-weights jointcam FILE --force` takes the present ones"
        )
