"""Small real things that tests of several rooms share: a trained model's files, an MLflow store, videos."""

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from avfusion.runtime.project import disable_telemetry
from tests.planted_corpus import write_planted_corpus
from tests.small_disk import disk  # noqa: F401 (a fixture)

CLIP_FPS = 25
OUTSIDE = (
    "AVFUSION_MEDIA_ROOT",
    "DVC_EXP_BASELINE_REV",
    "DVC_EXP_NAME",
    "DVC_ROOT",
    "DVC_STAGE",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_URI",
)

disable_telemetry()
# A busy machine is no fault of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.fixture
def few_videos_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small corpora have intervals, too, for tests of where these go."""
    monkeypatch.setattr("avfusion.scoring.intervals.TOO_FEW_GROUPS", 2)


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of downloaded models of all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _no_outside_project(monkeypatch: pytest.MonkeyPatch, model_cache: Path) -> None:
    """Tests see neither the MLflow store nor the DVC project nor the cached models of whoever runs them."""
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AVFUSION_CACHE", str(model_cache))


def write_model(
    models: Path,
    *,
    seed: int = 0,
    name: str = "jca",
    corpus: dict[str, object] | None = None,
    layout: str = "clips",
    length: int = 16,
) -> Path:
    """Random narrow backbones and a fusion model on them, as training leaves them; returns `models`/fusion.

    Args:
        length: rows of a sequence; with the layout `frames`, windows start every half of them.
    """
    import torch

    from avfusion.backbones.registry import build_backbone
    from avfusion.backbones.weights import save_backbone
    from avfusion.data.feature_spec import AudioTransform, ClipGeometry, FeatureSpec, VisualTransform
    from avfusion.fusion import build_fusion
    from avfusion.fusion.files import save_fusion

    torch.manual_seed(seed)
    records = {}
    for stream, backbone, size in (("visual", "narrow_r2plus1d", 32), ("audio", "narrow_resnet", 64)):
        network = build_backbone(backbone, stream=stream, width=4, input_size=size)
        records[stream] = save_backbone(models / "backbones", network)
    identities = {stream: record.identity for stream, record in records.items()}
    spec = FeatureSpec(
        geometry=ClipGeometry(fps=25.0),
        stride=8,
        layout=layout,
        audio=AudioTransform(),
        visual=VisualTransform(input_size=32),
        backbones=identities,
    )
    model = build_fusion(
        name, audio_dim=identities["audio"].feature_dim, visual_dim=identities["visual"].feature_dim, length=length
    )
    geometry = {"clip_frames": 32, "kept_frames": 8, "sequence_clips": 16, "fps": 25.0, "target_offset": 0}
    windows = {"window_frames": 8 * length, "window_hop": 8 * (length // 2)}
    facts = {
        "feature_spec": spec.to_dict(),
        "geometry": geometry | (windows if layout == "frames" else {}),
        "inference": "overlap",
        "corpus": corpus or {"name": "demo", "validation_digest": "v" * 32},
    }
    save_fusion(models / "fusion", model, facts)
    return models / "fusion"


@pytest.fixture(scope="session")
def trained_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `models` folder with `fusion` and `backbones`; not to be changed."""
    models = tmp_path_factory.mktemp("trained") / "models"
    write_model(models)
    return models


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, its tables made once (that takes seconds); tests copy it."""
    from mlflow import MlflowClient

    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()
    return database


@pytest.fixture
def project(tmp_path: Path, migrated_store: Path, trained_models: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project folder with an empty store, a trained model and its scores; the working directory."""
    root = tmp_path / "project"
    (root / "mlruns").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    shutil.copyfile(migrated_store, root / "mlruns" / "mlflow.db")
    shutil.copytree(trained_models, root / "models")
    shutil.copyfile(Path(__file__).parents[1] / "params.yaml", root / "params.yaml")
    write_scores(root, 0.5)
    write_sums(root, 0.5)
    monkeypatch.chdir(root)
    return root


def write_scores(root: Path, mean: float, name: str = "jca") -> Path:
    """A `reports/evaluate/metrics.json` with one model's validation scores."""
    path = root / "reports" / "evaluate" / "metrics.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    scores = {"ccc_valence": mean - 0.1, "ccc_arousal": mean + 0.1, "ccc_mean": mean}
    path.write_text(json.dumps({"val": {name: scores}, "test": {name: scores}}))
    return path


def write_sums(root: Path, quality: float, groups: int = 12) -> Path:
    """A `reports/evaluate/video_sums.json` of the project's model: a higher quality in [0, 1] is better in each."""
    from avfusion.fusion.model_folder import ModelFolder
    from avfusion.scoring.kept_sums import KeptSums
    from avfusion.scoring.metrics import target_sums

    labels, noise = 0.3 * np.random.default_rng(0).normal(size=(2, groups * 40, 2))
    sums = target_sums(quality * labels + 0.3 * noise, labels, np.repeat(np.arange(groups), 40))
    names = tuple(f"video{group:02d}" for group in range(groups))
    path = root / "reports" / "evaluate" / "video_sums.json"
    path.write_text(json.dumps(KeptSums(ModelFolder.open(root / "models" / "fusion").digest(), names, sums).content()))
    return path


@pytest.fixture
def score(project: Path) -> Callable[[float], Path]:
    """Writes the project's validation score, and sums per video in which a higher score is better in each."""

    def write(mean: float) -> Path:
        write_sums(project, mean)
        return write_scores(project, mean)

    return write


@pytest.fixture
def retrain(project: Path) -> Callable[..., Path]:
    """Replaces the project's model by one with other weights."""

    def again(seed: int, **options: object) -> Path:
        shutil.rmtree(project / "models")
        return write_model(project / "models", seed=seed, **options)  # type: ignore[arg-type]

    return again


def write_video(
    path: Path, *, face: bool = True, sound: bool = True, sound_s: float | None = None, seconds: float = 2.6
) -> Path:
    """A real MP4 (H.264, AAC): a photograph that moves a little, or grey noise; and a tone that changes."""
    import av
    from skimage.data import astronaut

    frames, size = round(seconds * CLIP_FPS), 256
    picture = astronaut()[:size, 64 : 64 + size] if face else None
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=CLIP_FPS, options={"preset": "ultrafast", "crf": "18"})
        video.width = video.height = size
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for index in range(frames):
            if picture is not None:
                image = np.roll(picture, int(6 * np.sin(index / 6)), axis=1)
            else:
                image = noise.integers(100, 140, (size, size, 3)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio is not None:
            time_s = np.arange(round((sound_s or seconds) * 44100)) / 44100
            tone = 0.3 * np.sin(2 * np.pi * (180 + 60 * np.sin(2 * np.pi * 0.7 * time_s)) * time_s)
            for start in range(0, len(tone), 1024):
                piece = av.AudioFrame.from_ndarray(
                    tone[None, start : start + 1024].astype(np.float32), format="fltp", layout="mono"
                )
                piece.sample_rate, piece.pts = 44100, start
                container.mux(audio.encode(piece))
            container.mux(audio.encode())
    return path


@pytest.fixture(scope="session")
def face_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """65 frames of a face, with sound."""
    return write_video(tmp_path_factory.mktemp("videos") / "face.mp4")


@pytest.fixture(scope="session")
def silent_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face, without an audio stream."""
    return write_video(tmp_path_factory.mktemp("videos") / "silent.mp4", sound=False)


@pytest.fixture(scope="session")
def faceless_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise to see, a tone to hear."""
    return write_video(tmp_path_factory.mktemp("videos") / "faceless.mp4", face=False)


@pytest.fixture(scope="session")
def empty_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Neither a face nor an audio stream."""
    return write_video(tmp_path_factory.mktemp("videos") / "empty.mp4", face=False, sound=False)


@pytest.fixture(scope="session")
def plant_at() -> Callable[..., list[str]]:
    """`write_planted_corpus`, for fixtures that many tests share."""
    return write_planted_corpus


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., Path]:
    """Writes a planted corpus (`write_planted_corpus`'s arguments); gives its project root."""

    def write(**arguments: object) -> Path:
        root = tmp_path / "planted"
        write_planted_corpus(root, **arguments)  # type: ignore[arg-type]
        return root

    return write


@pytest.fixture(scope="session")
def half_heard_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face for 2.6 s, with sound in the first second only."""
    return write_video(tmp_path_factory.mktemp("videos") / "half.mp4", sound_s=1.0)


@pytest.fixture(scope="session")
def undecodable_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face, and an audio stream whose packets are damaged."""
    from tests.media.damage import overwrite_sound

    path = write_video(tmp_path_factory.mktemp("videos") / "undecodable.mp4")
    overwrite_sound(path)
    return path


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of a face, with sound."""
    return write_video(tmp_path_factory.mktemp("videos") / "short.mp4", seconds=1.6)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This process's folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder
