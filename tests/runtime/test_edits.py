"""Edits of a copy of the package: which results become stale, and which do not.

The table says for each edit what is computed by the edited line, as a reader of the package would say it.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import avfusion

PACKAGE = Path(avfusion.__file__).parent

# Results by name: the unit, and the modules of the networks that it is computed by.
RESULTS = {
    **{unit: (unit,) for unit in ("demo", "probes", "labels", "crops", "faces", "sheets", "audio")},
    "features": ("features", "avfusion.backbones.audio", "avfusion.backbones.visual"),
    "audio backbone": ("audio_backbone", "avfusion.backbones.audio"),
    "visual backbone": ("visual_backbone", "avfusion.backbones.visual"),
    "jca": ("fusion", "avfusion.fusion.jca"),
    "concat": ("fusion", "avfusion.fusion.concat"),
    "evaluation": ("evaluation", "avfusion.fusion.concat", "avfusion.fusion.jca"),
    "robustness": ("robustness", "avfusion.fusion.concat", "avfusion.fusion.jca"),
    "prediction": (*("prediction", "avfusion.backbones.audio", "avfusion.backbones.visual", "avfusion.fusion.jca"),),
}
BACKBONES = {"audio backbone", "visual backbone"}
TRAININGS = {"jca", "concat"}
SCORED = {"evaluation", "robustness"}
MODELS_USED = {*SCORED, "prediction"}
VIDEOS_READ = {"probes", "labels", "crops", "faces", "audio", "prediction"}
# Whoever reads frame tables: pictures, or the times of frames.
FRAMES_READ = {"features", *BACKBONES, *TRAININGS, *MODELS_USED}
SOUND_READ = {"features", "audio backbone", *MODELS_USED}  # `evaluate` looks at the length alone

NUMERIC = {  # (module, line, edited line): results that it decides
    ("scoring/ccc", "EPSILON = 1e-8", "EPSILON = 1e-7"): {*TRAININGS, *BACKBONES, *SCORED},
    ("scoring/smoothing", "len(predictions) == 0", "len(predictions) == 1"): SCORED,
    ("scoring/intervals", "FEW_GROUPS = 20", "FEW_GROUPS = 21"): SCORED,
    ("media/faces", "_PYRAMID_STEP = 0.709", "_PYRAMID_STEP = 0.7"): {"faces", "prediction"},
    ("media/audio", "JUMP_S = 0.015", "JUMP_S = 0.016"): {"audio", "prediction"},
    ("media/timestamps", "RESET_S = 1.0", "RESET_S = 2.0"): VIDEOS_READ,
    ("media/wav", "np.float32(32768.0)", "np.float32(32767.0)"): {"audio", *SOUND_READ},
    ("media/contact_sheet", "COLUMNS = 10", "COLUMNS = 12"): {"sheets"},
    ("corpora/demo/voice", "CONTROL_HZ = 100.0", "CONTROL_HZ = 50.0"): {"demo"},
    ("corpora/crops", "if number < 1:", "if number < 2:"): {"crops"},
    ("corpora/csv_table", "rows[first + 1 :]", "rows[first + 2 :]"): {"labels"},
    ("data/annotations", "NOT_ANNOTATED = -5.0", "NOT_ANNOTATED = -6.0"): {"labels"},
    ("data/label_times", "SAME_S = 1e-3", "SAME_S = 1e-2"): {"labels"},
    ("data/geometry", "fps + 1e-3", "fps + 1e-2"): FRAMES_READ,
    ("data/transforms", "crops.float() / 255", "crops.float() / 256"): {"features", *BACKBONES, "prediction"},
    ("data/clips/sound", "np.float32(32768)", "np.float32(32767)"): {"audio backbone"},
    ("data/clips/visual", "self.shape_of = np.zeros(", "self.shape_of = np.ones("): {"visual backbone"},
    ("data/frames", "CROP_SIZE = 112", "CROP_SIZE = 111"): {"crops", "faces", "sheets", *FRAMES_READ},
    ("data/source_crops", "image // 257", "image // 256"): {"crops"},
    ("backbones/audio", "correction=0", "correction=1"): {"features", "audio backbone", "prediction"},
    ("backbones/visual", "map_stride = 16", "map_stride = 32"): {"features", "visual backbone", "prediction"},
    ("backbones/extraction", "PCM_SCALE = np.float32(32768)", "PCM_SCALE = np.float32(1)"): {"features", "prediction"},
    ("fusion/jca", "math.sqrt(joint.shape[-1])", "math.sqrt(joint.shape[-2])"): {"jca", *MODELS_USED},
    ("fusion/inference", "BATCH, MAP_BATCH = 64, 32", "BATCH, MAP_BATCH = 32, 32"): {*TRAININGS, *MODELS_USED},
    ("fusion/files", ".detach().cpu()", ".detach().half().cpu()"): {*TRAININGS, *MODELS_USED},
    ("experiments/train_unit", "unit.fold.validation", "unit.fold.train"): TRAININGS,
    ("experiments/robustness/scores", "[::ratio]", "[ratio - 1 :: ratio]"): {"robustness"},
    ("experiments/robustness/disturbed_files", "{track}/present", "{track}/features"): {"robustness"},
    ("training/sequences", "STATISTICS_ROWS = 2048", "STATISTICS_ROWS = 1024"): TRAININGS,
    ("training/determinism", "benchmark = False", "benchmark = True"): {*TRAININGS, *BACKBONES, *SCORED},
    ("training/losses", "(1 - scores[0])", "(2 - scores[0])"): {*TRAININGS, *BACKBONES},
    ("training/schedule", "PLATEAU_FACTOR = 0.5", "PLATEAU_FACTOR = 0.1"): TRAININGS,
    ("training/visual_backbone", "input_size // 28", "input_size // 14"): {"visual backbone"},
    ("training/train_backbone", "BackboneTraining([], 0)", "BackboneTraining([], 1)"): BACKBONES,
    ("reports/report", "DIGITS = 6", "DIGITS = 4"): SCORED,
    ("experiments/evaluate", '"clipped_to": [-1, 1]', '"clipped_to": [-1, 2]'): SCORED,
    ("inference/streams", "FaceCrop(index + 1,", "FaceCrop(index + 2,"): {"prediction"},
    ("presentation/tables", "_DECIMALS = 6", "_DECIMALS = 5"): {"prediction"},
    ("challenge/submission_rows", "np.arange(1, len(values) + 1)", "np.arange(2, len(values) + 2)"): set(),
    ("doctor/costs", "/ 3600", "/ 3601"): set(),
}
HARMLESS = [  # (module, text, edited text)
    ("scoring/ccc", '"""', '"""Put otherwise. '),
    ("scoring/ccc", "EPSILON = 1e-8  #", "EPSILON = 1e-8  # small,"),
    ("scoring/intervals", '"""', '"""Put otherwise. '),
    ("media/opener", "is a folder, a media file is needed", "is a folder: name a file"),
    ("media/timestamps", "filled in", "guessed"),
    ("media/faces", "_PYRAMID_STEP = 0.709  #", "_PYRAMID_STEP = 0.709  # or so:"),
    ("media/video", "cannot be decoded", "are damaged"),
    ("corpora/demo/voice", '"""', '"""Put otherwise. '),
    ("corpora/csv_table", "so this is not text, or", "so it is binary, or"),
    ("data/annotations", "the file is missing", "there is no such file"),
    ("data/detected_crops", "frames.min_face to look for", "frames.min_face, to look for"),
    ("data/features", "is NaN or infinite in", "is not finite in"),
    ("data/frames", "run the stage `frames`", "run `dvc repro frames`"),
    ("data/frames", "def read_warnings(path: str | Path) -> list[str]:", "def read_warnings(path: Path) -> object:"),
    ("data/geometry", "time_s: np.ndarray, fps: float | None", "time_s: object, fps: object"),
    ("data/geometry", "import numpy as np\n", "import json\n\nimport numpy as np\n"),
    ("backbones/weights", "is missing: run the backbones stage", "is missing: run `dvc repro backbones`"),
    ("backbones/extraction", '"""', '"""Put otherwise. '),
    ("fusion/jca", '"""', '"""Put otherwise. '),
    ("training/loop", "no training batch has two valid clips", "no batch has two valid clips"),
    ("training/loop", "resumed at epoch", "goes on at epoch"),
    ("training/backbones", "resumed after epoch", "goes on after epoch"),
    ("training/train_backbone", "so it", "so that it"),
    ("presentation/tables", '"""', '"""Put otherwise. '),
    ("runtime/errors", "exit_code = 2", "exit_code = 3"),
    ("runtime/progress", '"""', 'LIMIT = 4\n"""'),
]

SCRIPT = """
import json, sys
from pathlib import Path
from avfusion.runtime import units

package, results, edits = Path(units.__file__).parents[1], *json.load(sys.stdin)


def digests():
    units.unit_digest.cache_clear()
    return {name: units.unit_digest(*unit) for name, unit in results.items()}


before, stale = digests(), []
for module, old, new in edits:
    path = package / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    if old not in text:
        stale.append(None)
        continue
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    after = digests()
    stale.append(sorted(name for name in results if after[name] != before[name]))
    path.write_text(text, encoding="utf-8")
assert digests() == before
json.dump(stale, sys.stdout)
"""


@pytest.fixture(scope="module")
def stale(tmp_path_factory) -> dict[tuple[str, str, str], list[str] | None]:
    """What becomes stale by each edit of a copy of the package; None: there is no such line."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "avfusion", ignore=shutil.ignore_patterns("__pycache__"))
    edits = [*NUMERIC, *HARMLESS]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps([RESULTS, edits]),
        capture_output=True,
        text=True,
        env=environment,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(edits, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("edit", NUMERIC, ids=lambda edit: edit[0])
def test_an_edit_that_changes_numbers_makes_stale_what_it_decides_and_nothing_else(edit, stale):
    assert stale[edit] is not None, "there is no such line any more: choose another one"
    assert set(stale[edit]) == NUMERIC[edit]


@pytest.mark.parametrize("edit", HARMLESS, ids=lambda edit: f"{edit[0]}: {edit[2]}")
def test_words_make_nothing_stale(edit, stale):
    assert stale[edit] == []


def test_the_edits_are_of_every_room_that_decides_numbers():
    rooms = {module.partition("/")[0] for module, _, _ in NUMERIC}
    assert rooms >= {"scoring", "media", "corpora", "data", "backbones", "fusion", "training", "reports", "inference"}
    assert len({module for module, _, _ in NUMERIC}) >= 20
    assert len(HARMLESS) >= 20
