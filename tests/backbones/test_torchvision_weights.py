"""torchvision's files: read from where it keeps them without executing anything, and known for what they are."""

from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

from avfusion.backbones import pretrained
from avfusion.backbones.pretrained import start_backbone, weights_digest, weights_start
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.fingerprints import file_digest


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torchvision's file of resnet18 belongs; its folder is there."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder / "resnet18-f37072fd.pth"


def load() -> torch.nn.Module:
    return start_backbone("resnet18", stream="audio", weights="imagenet").network


def test_a_placed_file_is_read_with_its_colours_summed(place: Path) -> None:
    torch.manual_seed(0)
    reference = resnet18(weights=None)
    torch.save(reference.state_dict(), place)
    network = load()
    assert torch.equal(network.conv1.weight, reference.conv1.weight.sum(dim=1, keepdim=True))
    assert torch.equal(network.layer4[1].conv2.weight, reference.layer4[1].conv2.weight)


def test_a_payload_in_its_place_is_refused_and_not_executed(place: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)

    torch.save({"conv1.weight": Payload()}, place)
    with pytest.raises(BadInputError, match=r"resnet18-f37072fd\.pth names \S+, which no checkpoint of tensors needs"):
        load()
    assert not (tmp_path / "executed").exists()
    torch.load(place, weights_only=False)
    assert (tmp_path / "executed").exists(), "the payload works where it is let through"


def test_a_cut_and_another_file_are_refused(place: Path) -> None:
    torch.save(resnet18(weights=None).state_dict(), place)
    place.write_bytes(place.read_bytes()[:50_000])
    with pytest.raises(BadInputError, match=r"resnet18-f37072fd\.pth is not a whole checkpoint"):
        load()
    torch.save({"something.weight": torch.zeros(2)}, place)
    with pytest.raises(
        BadInputError, match=r"weights imagenet do not fit: missing bn1\.bias, .*; unexpected something"
    ):
        load()


def test_what_is_not_torchvisions_is_recorded_as_that(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights_digest("imagenet", "audio") == {"weights": "imagenet"}
    place.write_bytes(b"another file")
    assert weights_digest("imagenet", "audio") == {"weights": "imagenet", "sha256": file_digest(place)}
    start = weights_start("imagenet", "audio")
    assert start["source"].startswith("a file in the place of torchvision, ResNet18_Weights.IMAGENET1K_V1")
    assert start["licence"] == "not known here"
    monkeypatch.setattr(pretrained, "_hash_prefix", lambda path: file_digest(place)[:8])
    assert weights_digest("imagenet", "audio") == {"weights": "imagenet"}, "its name says what it holds"
    assert weights_start("imagenet", "audio")["source"] == "torchvision, ResNet18_Weights.IMAGENET1K_V1"
    assert "ImageNet" in weights_start("imagenet", "audio")["licence"]
    assert weights_start("random", "audio") == {"weights": "random", "source": "random initial weights", "licence": ""}
