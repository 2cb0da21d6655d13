"""A small project with a corpus of real media, brought up to date as the stages do it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml

from avfusion.backbones.feature_files import update_features
from avfusion.corpora.sources import scan
from avfusion.corpora.table import read_tracks, write_tracks
from avfusion.data.audio_store import update_audio
from avfusion.data.frame_store import update_frames
from avfusion.data.frames import encode_crop
from avfusion.data.label_store import update_labels
from avfusion.data.store import StoreReport
from avfusion.data.tracks import build_tracks, shared_digest
from avfusion.params.params import load_params
from avfusion.runtime.atomic import TEMPORARY_PREFIX
from avfusion.runtime.settings import ExecutionSettings

SOURCE = Path(__file__).parents[3]
OUTS = ("data/corpus", "data/labels", "data/frames", "data/audio", "data/features", "reports/faces")
SERIAL = ExecutionSettings(executor="serial", workers=1)


@dataclass(frozen=True)
class SmallProject:
    """A project folder with raw data of Aff-Wild2's shape below `raw`, params.yaml and random narrow backbones."""

    root: Path

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    def add(self, video: Path, *tracks: str, crops: int = 0, name: str = "", labels: int = 20) -> None:
        """Copy a video into the corpus, with labels for its tracks (default: one, of its name) and numbered crops."""
        name = name or video.stem
        for track in tracks or (name,):
            target = self.raw / "annotations" / "VA_Set" / "Train_Set" / f"{track}.txt"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text("valence,arousal\n" + "".join(f"{i / 50},{-i / 50}\n" for i in range(labels)))
            for number in range(1, crops + 1):
                crop = self.raw / "cropped_aligned" / track / f"{number:05d}.jpg"
                crop.parent.mkdir(parents=True, exist_ok=True)
                shade = np.full((112, 112, 3), (number * 7 + len(track)) % 256, np.uint8)
                crop.write_bytes(encode_crop(shade, 90))
        (self.raw / "videos").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(video, self.raw / "videos" / f"{name}.mp4")

    def remove(self, video: str, *tracks: str) -> None:
        (self.raw / "videos" / f"{video}.mp4").unlink()
        for track in tracks or (video,):
            (self.raw / "annotations" / "VA_Set" / "Train_Set" / f"{track}.txt").unlink()
            shutil.rmtree(self.raw / "cropped_aligned" / track, ignore_errors=True)

    def scan(self) -> None:
        """As `avfusion scan` and the stage `corpus`."""
        params = load_params(self.root / "params.yaml", ["corpus"]).corpus
        sources = self.root / "data" / "sources.txt"
        scan(self.raw, params, sources)
        cache = self.root / ".avfusion" / "corpus" / "probes.json"
        tracks = build_tracks(self.raw, params, sources, execution=SERIAL, cache=cache)
        write_tracks(self.root / "data" / "corpus" / "tracks.parquet", tracks, shared_digest(tracks, sources))

    def update(
        self, execution: ExecutionSettings = SERIAL, stages: Sequence[str] = ("labels", "frames", "audio", "features")
    ) -> dict[str, StoreReport]:
        """What the stages' scripts do, here, one after the other."""
        params = load_params(self.root / "params.yaml").replaced(execution=execution)
        data = self.root / "data"
        tracks = read_tracks(data / "corpus" / "tracks.parquet")
        faces = self.root / "reports" / "faces"
        run: dict[str, Callable[[], StoreReport]] = {
            "labels": lambda: update_labels(data / "labels", self.raw, tracks, SERIAL),
            "frames": lambda: update_frames(data / "frames", faces, self.raw, tracks, params.frames, execution),
            "audio": lambda: update_audio(data / "audio", self.raw, tracks, params.audio, execution),
            "features": lambda: update_features(self.root, tracks, params),
        }
        return {stage: run[stage]() for stage in stages}

    def start(self, stage: str, package: Path = SOURCE) -> "subprocess.Popen[str]":
        """Start a stage's script in a session of its own, as DVC would run it; its output is one stream."""
        environment = os.environ | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            [sys.executable, str(SOURCE / "pipelines" / f"{stage}.py")],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, stage: str, package: Path = SOURCE) -> str:
        """Run a stage's script to its end; gives what it printed."""
        process = self.start(stage, package)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        return output

    def contents(self, *folders: str) -> dict[str, bytes]:
        """Path to bytes of every file in the stages' outs (default: all of them)."""
        files = [path for folder in folders or OUTS for path in (self.root / folder).rglob("*") if path.is_file()]
        assert not [path for path in files if path.name.startswith(TEMPORARY_PREFIX)]
        return {path.relative_to(self.root).as_posix(): path.read_bytes() for path in files}

    def identities(self, *folders: str) -> dict[str, tuple[int, int]]:
        """Path to inode and time of last change of every finished file in the stages' outs, while one runs too."""
        found = {}
        for folder in folders or OUTS:
            for parent, _, names in os.walk(self.root / folder):  # passes over what is gone meanwhile
                for name in names:
                    if not name.startswith(TEMPORARY_PREFIX):
                        path = Path(parent, name)
                        try:
                            state = path.stat()
                        except FileNotFoundError:  # a library's own temporary file
                            continue
                        found[path.relative_to(self.root).as_posix()] = (state.st_ino, state.st_mtime_ns)
        return found


@pytest.fixture(scope="session")
def make_project(trained_models: Path) -> Callable[..., SmallProject]:
    """Makes a project without videos in a folder; keywords are params sections, with what is other there."""

    def make(root: Path, **changes: dict[str, object]) -> SmallProject:
        root.mkdir(parents=True)
        (root / "dvc.yaml").write_text("stages: {}\n")
        params = yaml.safe_load((SOURCE / "params.yaml").read_text())
        params["corpus"] |= {"name": "affwild2", "root": "raw"}
        params["features"] |= {"stride": 16, "batch_size": 4}
        for section, values in changes.items():
            params[section] |= values
        (root / "params.yaml").write_text(yaml.safe_dump(params))
        shutil.copytree(trained_models / "backbones", root / "models" / "backbones")
        return SmallProject(root)

    return make
