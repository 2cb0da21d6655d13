"""The rendered demo as a corpus: when it is whole, and that the truth is one of its sources."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from avfusion.cli import app
from avfusion.corpora.demo.render import is_rendered, leave_unrendered, render_demo
from avfusion.corpora.settings import CorpusSettings, RenderSettings
from avfusion.corpora.sources import read_sources, scan
from avfusion.corpora.table import write_tracks
from avfusion.data.tracks import build_tracks, shared_digest
from avfusion.runtime.settings import ExecutionSettings

ROOT = Path(__file__).parents[2]
TINY = RenderSettings(seed=6, train=1, val=1, test=1, min_seconds=1, max_seconds=1.2, size=96)
SERIAL = ExecutionSettings(executor="serial", workers=1)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered")
    render_demo(root, TINY, SERIAL)
    return root


@pytest.fixture
def demo(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "data" / "raw" / "demo"))


@pytest.fixture
def scan_command(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`avfusion scan` in a project whose parameters are those of the rendered corpus."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["render"] = json.loads(TINY.model_dump_json())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    return lambda: app(["scan"], standalone_mode=False)


def test_whole_means_every_video_by_the_present_parameters(demo: Path) -> None:
    assert is_rendered(demo, TINY)
    assert not is_rendered(demo, TINY.model_copy(update={"seed": 7}))
    assert not is_rendered(demo, TINY.model_copy(update={"val": 2}))
    shutil.rmtree(next((demo / "cropped_aligned").iterdir()))
    assert not is_rendered(demo, TINY)


def test_where_the_demo_is_not_rendered_a_file_says_so_until_it_is(demo: Path, tmp_path: Path) -> None:
    leave_unrendered(demo)
    before = sorted(demo.iterdir())
    leave_unrendered(tmp_path / "other")
    (note,) = (tmp_path / "other").iterdir()
    assert note.read_text() == "The demo corpus is rendered here where corpus.name is demo.\n"
    shutil.copy(note, demo)
    render_demo(demo, TINY, SERIAL)
    assert sorted(demo.iterdir()) == before


def test_only_a_whole_demo_is_scanned(
    demo: Path, tmp_path: Path, scan_command: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    scan_command()
    assert capsys.readouterr().out.startswith("data/raw/demo: 3 tracks, ")
    before = (tmp_path / "data/sources.txt").read_bytes()
    shutil.rmtree(demo / "annotations")
    scan_command()
    assert capsys.readouterr().out == "the demo corpus is not rendered yet: `dvc repro` does it\n"
    assert (tmp_path / "data/sources.txt").read_bytes() == before


def test_truth_alone_changes_the_table_that_later_stages_depend_on(demo: Path, tmp_path: Path) -> None:
    params, sources, path = CorpusSettings(name="demo"), tmp_path / "sources.txt", tmp_path / "tracks.parquet"

    def table() -> bytes:
        scan(demo, params, sources)
        tracks = build_tracks(demo, params, sources, execution=SERIAL)
        write_tracks(path, tracks, shared_digest(tracks, sources))
        return path.read_bytes()

    first = table()
    truth = sorted((demo / "truth").glob("*.parquet"))
    assert len(truth) == 3
    assert {f"truth/{one.name}" for one in truth} <= read_sources(sources).keys()
    assert table() == first
    pq.write_table(pq.read_table(truth[-1]).slice(1), truth[-1])
    assert table() != first
    scan(demo, CorpusSettings(name="affwild2"), sources)
    assert not any(name.startswith("truth/") for name in read_sources(sources))
