"""What the shell offers for a value after Tab: names that are known without torch and without the raw data."""

from pathlib import Path

STAGES = ("render", "labels", "frames", "audio", "backbones", "features", "train", "robustness")  # of `avfusion vouch`


def presets(incomplete: str) -> list[str]:
    """Presets of params.yaml."""
    from avfusion.params.write_preset import preset_names

    return _beginning_with(incomplete, preset_names())


def stages(incomplete: str) -> list[str]:
    """Stages whose results `avfusion vouch` can keep."""
    return _beginning_with(incomplete, STAGES)


def devices(incomplete: str) -> list[str]:
    """Devices of `--device`; whether there is a GPU is not asked."""
    return _beginning_with(incomplete, ("auto", "cpu", "cuda"))


def fusion_model(incomplete: str) -> list[str]:
    """Registered fusion models."""
    from avfusion.fusion.catalogue import fusion_names

    return _beginning_with(incomplete, fusion_names())


def fusion_models(incomplete: str) -> list[str]:
    """Lists of fusion models with commas between them: those before the last comma stay as they are."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [f"{before}{comma}{name}" for name in fusion_model(last) if name not in given]


def model_folders(incomplete: str) -> list[str]:
    """Trained models of the project around the working directory, as paths from there."""
    found = [path.parent for pattern in ("fusion", "*/*") for path in Path("models").glob(f"{pattern}/config.json")]
    return _beginning_with(incomplete, sorted(str(folder) for folder in found))


def _beginning_with(incomplete: str, names: tuple[str, ...] | list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
