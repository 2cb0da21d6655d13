"""`avfusion import-weights`: what it leaves, what can be done with it, and what it refuses."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from avfusion.backbones import load_tsav
from avfusion.backbones.pretrained import start_backbone, weights_start
from avfusion.backbones.weights import load_backbone
from avfusion.cli import main
from avfusion.fusion import load_jointcam
from avfusion.fusion.files import load_fusion
from avfusion.fusion.import_weights import import_jointcam, import_tsav
from avfusion.inference.predictor import Predictor
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import file_digest, folder_digest
from tests.published_checkpoints import seeded_state_dict, write_jointcam, write_tsav


@pytest.fixture(scope="module")
def states() -> dict[str, dict[str, Tensor]]:
    return {kind: seeded_state_dict(kind) for kind in ("tsav", "jointcam")}


@pytest.fixture(scope="module")
def published(states: dict[str, dict[str, Tensor]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("published")
    return {
        "tsav": write_tsav(folder / "TSAV.pth.tar", states["tsav"]),
        "jointcam": write_jointcam(folder / "jointcam.pt", states["jointcam"]),
    }


@pytest.fixture(scope="module")
def imported(published: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/imported of a project, not to be changed."""
    folder = tmp_path_factory.mktemp("project") / "models" / "imported"
    import_tsav(published["tsav"], folder / "tsav")
    import_jointcam(published["jointcam"], folder / "jointcam", tsav=folder / "tsav")
    return folder


@torch.inference_mode()
def test_backbones_are_tsavs_and_their_heads_add_up_to_its_head(imported: Path, published: dict[str, Path]) -> None:
    audio, visual, head = load_tsav(published["tsav"])
    (ours_a, record), (ours_v, _) = (load_backbone(imported / "tsav", stream) for stream in ("audio", "visual"))
    sound = torch.randn(1, 1, 64, 104, generator=torch.Generator().manual_seed(1))
    clip = torch.randn(1, 3, 8, 112, 112, generator=torch.Generator().manual_seed(2))
    assert torch.equal(ours_a(sound), audio(sound))
    assert torch.equal(ours_v(clip), visual(clip))
    both = ours_a.head(audio(sound)) + ours_v.head(visual(clip))
    torch.testing.assert_close(both, head(audio(sound), visual(clip))[:, 7:9], atol=1e-5, rtol=0)
    assert load_file(imported / "tsav" / "head.safetensors")["weight"].shape == (17, 1024)
    assert record.identity.source.startswith("TSAV, arXiv 2002.03399")


def test_provenance_says_what_it_was_made_of_and_no_date(imported: Path, published: dict[str, Path]) -> None:
    for kind, file in published.items():
        provenance = json.loads((imported / kind / "provenance.json").read_text())
        assert provenance["sha256"] == file_digest(file)
        assert provenance["file"] == file.name
        assert {"name", "file", "sha256", "source", "licence"} == set(provenance)
    assert "research purposes" in json.loads((imported / "tsav" / "provenance.json").read_text())["licence"]


def test_the_same_checkpoint_gives_the_same_bytes(imported: Path, published: dict[str, Path], tmp_path: Path) -> None:
    import_jointcam(published["jointcam"], tmp_path / "again", tsav=imported / "tsav")
    assert folder_digest(tmp_path / "again") == folder_digest(imported / "jointcam")


def test_by_name_and_by_file_they_are_a_start(imported: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(imported.parents[1])
    file = "models/imported/tsav/audio.safetensors"
    named, filed = (start_backbone("resnet18", stream="audio", weights=weights) for weights in ("tsav", file))
    expected = load_file(file)
    for backbone in (named, filed):
        assert all(torch.equal(value, expected[key]) for key, value in backbone.state_dict().items())
    for weights in ("tsav", file):
        start = weights_start(weights, "audio")
        assert start["sha256"] == file_digest(file)
        assert start["source"].startswith("TSAV, arXiv 2002.03399")
        assert start["from"]["file"] == "TSAV.pth.tar"
    with pytest.raises(BadInputError, match=r"'tsav': these weights belong to resnet18, not to narrow_resnet"):
        start_backbone("narrow_resnet", stream="audio", weights="tsav")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match=r"tsav/visual\.safetensors does not exist: `avfusion import-weights tsav"):
        start_backbone("r2plus1d_18", stream="visual", weights="tsav")


def test_the_fusion_is_a_model_folder(imported: Path, published: dict[str, Path], tmp_path: Path) -> None:
    moved = shutil.copytree(imported / "jointcam", tmp_path / "elsewhere")
    predictor = Predictor.load(moved)
    assert (predictor.name, predictor.spec.output, predictor.mode) == ("released_coattention", "map", "tile")
    ours, config = load_fusion(moved)
    theirs = load_jointcam(published["jointcam"]).state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.state_dict().items())
    assert config["start"]["name"] == "jointcam"
    assert config["geometry"]["sequence_clips"] == 16


def test_changed_backbones_are_noticed(imported: Path, published: dict[str, Path], tmp_path: Path) -> None:
    tsav = shutil.copytree(imported / "tsav", tmp_path / "tsav")
    (tsav / "audio.safetensors").write_bytes((tsav / "head.safetensors").read_bytes())
    with pytest.raises(AVFusionError, match=r"is not the file that audio\.json describes"):
        import_jointcam(published["jointcam"], tmp_path / "jointcam", tsav=tsav)
    assert not (tmp_path / "jointcam").exists()


class Payload:
    """Unpickled by a reader that trusts it, it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def bad_files(folder: Path, published: dict[str, Path], states: dict[str, dict[str, Tensor]]) -> dict[str, Path]:
    """By what the message must say, a file for each kind of fault."""
    executed = folder / "executed"
    evil = folder / "evil.pt"
    torch.save({"state_dict": {"fc.1.bias": Payload(executed)}, "net": {}}, evil)
    short = folder / "short.pt"
    short.write_bytes(published["tsav"].read_bytes()[:100_000])
    nan = states["tsav"] | {"fc.1.bias": torch.full((17,), torch.nan)}
    return {
        r"evil\.pt names \S+, which no checkpoint of tensors needs": evil,
        r"short\.pt is not a whole checkpoint": short,
        r"NaN or infinity in fc\.1\.bias": write_tsav(folder / "nan.tar", nan),
        r"other\.tar is not TSAV's checkpoint: .* `avfusion import-weights jointcam FILE` takes": write_tsav(
            folder / "other.tar", states["jointcam"]
        ),
        r"none\.pt does not exist": folder / "none.pt",
        r" is a folder, a file is needed": folder,
    }


def test_what_is_no_such_checkpoint_is_refused_and_leaves_nothing(
    published: dict[str, Path], states: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    for message, file in bad_files(tmp_path, published, states).items():
        with pytest.raises(BadInputError, match=message):
            import_tsav(file, tmp_path / "out" / "tsav")
        assert not list(tmp_path.glob("out/*"))
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "executed").exists(), "the payload works where it is let through"


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs `avfusion import-weights` in an empty project: exit status and output."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path / "project")

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["avfusion", "import-weights", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return run


def test_the_command(command: Callable[..., tuple[int, str]], published: dict[str, Path]) -> None:
    code, out = command("jointcam", published["jointcam"])
    assert code == 2
    assert "run `avfusion import-weights tsav FILE` first" in out
    code, out = command("tsav", published["tsav"])
    assert code == 0, out
    assert "backbones.visual.weights and backbones.audio.weights: tsav" in out
    assert file_digest(published["tsav"]) in out
    here = Path("models/imported/tsav")
    before = folder_digest(here)
    code, out = command("tsav", published["tsav"])
    assert (code, "replace it with --force" in out) == (2, True)
    code, out = command("tsav", published["jointcam"], "--force")
    assert (code, "`avfusion import-weights jointcam FILE` takes that one" in out) == (2, True)
    code, out = command("jointcam", published["tsav"])
    assert (code, "`avfusion import-weights tsav FILE` takes that one" in out) == (2, True)
    assert folder_digest(here) == before, "a failed import leaves the earlier one"
    assert command("tsav", published["tsav"], "--force")[0] == 0
    assert folder_digest(here) == before
    assert command("jointcam", published["jointcam"], "-o", "elsewhere", "--tsav", here)[0] == 0
    mine = Path("mine")
    mine.mkdir()
    (mine / "thesis.txt").write_text("all of it")
    code, out = command("tsav", published["tsav"], "-o", mine, "--force")
    assert (code, "holds other things (thesis.txt …): choose another -o" in out) == (2, True)
    assert (mine / "thesis.txt").read_text() == "all of it"
