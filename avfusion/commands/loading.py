"""Load the model of a command, and say which it is."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avfusion.inference.predictor import Predictor


def loaded_predictor(model: str | None, device: str, *, min_face: int | None = None) -> "Predictor":
    """Load a model; name it and the device that it runs on, and pass on its notes, on the error stream.

    Args:
        model, device, min_face: As for `Predictor.load`.

    Raises:
        BadInputError: as `Predictor.load`.
    """
    from avfusion.inference.predictor import Predictor
    from avfusion.runtime.devices import device_text

    predictor = Predictor.load(model, device=device, min_face=min_face)
    trained = f", trained on {predictor.corpus}," if predictor.corpus else ""
    print(f"model: {predictor.source}{trained} on {device_text(predictor.device)}", file=sys.stderr)
    for note in predictor.notes:
        print(f"note: {note}", file=sys.stderr)
    return predictor
