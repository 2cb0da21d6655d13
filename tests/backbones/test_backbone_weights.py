"""Weights from outside: what fits is loaded, everything else is refused and named."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18

from avfusion.backbones.pretrained import start_backbone, weights_start
from avfusion.backbones.registry import build_backbone
from avfusion.backbones.weights import read_backbone_record, save_backbone
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import file_digest


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(1)
    backbone = build_backbone("narrow_resnet", stream="audio", width=8)
    save_backbone(tmp_path, backbone)
    return backbone, tmp_path / "audio.safetensors"


def load(path, **options):
    return start_backbone("narrow_resnet", stream="audio", width=8, weights=str(path), **options)


def change(path, edit):
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


def test_a_saved_backbone_is_a_start(saved):
    backbone, path = saved
    loaded = load(path)
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in backbone.state_dict().items())


def test_the_record_says_where_they_come_from_and_whether_they_were_trained(saved, tmp_path):
    backbone, _ = saved
    start = {"weights": "x", "source": "a paper", "licence": "a note"}
    for best_epoch, source in ((0, "a paper"), (3, "a paper, then trained here")):
        save_backbone(tmp_path, backbone, provenance={"start": start, "best_epoch": best_epoch})
        identity = read_backbone_record(tmp_path, "audio").identity
        assert (identity.source, identity.licence) == (source, "a note")


def test_a_saved_floor_is_a_start_though_it_is_a_head_only(tmp_path):
    torch.manual_seed(1)
    floor = build_backbone("log_mel_statistics", stream="audio")
    save_backbone(tmp_path, floor)
    again = start_backbone("log_mel_statistics", stream="audio", weights=str(tmp_path / "audio.safetensors"))
    assert torch.equal(again.head.linear.weight, floor.head.linear.weight)


def test_a_bare_network_in_torchvisions_names_is_a_start(tmp_path):
    reference = resnet18(weights=None)
    reference.conv1 = torch.nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    save_file(reference.state_dict(), tmp_path / "bare.safetensors")
    backbone = start_backbone("resnet18", stream="audio", weights=str(tmp_path / "bare.safetensors"))
    assert torch.equal(backbone.network.layer4[1].conv2.weight, reference.layer4[1].conv2.weight)


def test_missing_unexpected_and_misshapen_tensors_are_named(saved):
    _, path = saved

    def edit(tensors):
        del tensors["network.conv1.weight"]
        tensors["network.extra.weight"] = torch.zeros(1)
        tensors["head.linear.bias"] = torch.zeros(3)

    change(path, edit)
    with pytest.raises(BadInputError) as caught:
        load(path)
    for part in ("missing network.conv1.weight", "unexpected network.extra.weight", "head.linear.bias is (3,), (2,)"):
        assert part in str(caught.value)


def test_nan_is_named(saved):
    _, path = saved
    change(path, lambda tensors: tensors["network.bn1.running_mean"].fill_(float("nan")))
    with pytest.raises(BadInputError, match=r"NaN or infinity in network\.bn1\.running_mean"):
        load(path)


def test_nan_is_not_saved(saved, tmp_path):
    backbone, _ = saved
    torch.nn.init.constant_(backbone.head.linear.bias, float("inf"))
    with pytest.raises(BadInputError, match=r"head\.linear\.bias"):
        save_backbone(tmp_path / "new", backbone)
    assert not (tmp_path / "new").exists() or not list((tmp_path / "new").iterdir())


def test_a_truncated_file_and_a_pickle_are_refused(saved, tmp_path):
    backbone, path = saved
    short = tmp_path / "short.safetensors"
    short.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInputError, match="not a whole safetensors file"):
        load(short)
    torch.save(backbone.state_dict(), tmp_path / "pickle.safetensors")
    with pytest.raises(BadInputError, match="not a whole safetensors file"):
        load(tmp_path / "pickle.safetensors")
    with pytest.raises(BadInputError, match="can run code"):
        load(tmp_path / "weights.pt")
    with pytest.raises(BadInputError, match="does not exist"):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("weights", ["imagenet", "kinetics400"])
def test_pretrained_weights_belong_to_one_network(weights):
    with pytest.raises(BadInputError, match=r"these weights belong to"):
        load(weights)


def test_offline_it_says_where_the_file_goes(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing listens there
    with pytest.raises(AVFusionError, match="cannot be downloaded") as caught:
        start_backbone("resnet18", stream="audio", weights="imagenet")
    assert str(tmp_path) in str(caught.value)
    assert "backbones.audio.weights" in str(caught.value)


@pytest.mark.parametrize("text", ['{"epochs": 3}', "[1]", "null", "no JSON", ""])
def test_a_json_of_the_users_own_beside_a_weights_file_is_left_alone(saved, text):
    """A training must not fail at its end because of it."""
    _, path = saved
    path.with_suffix(".json").write_text(text)
    start = weights_start(str(path), "audio")
    assert start == {
        "weights": str(path),
        "sha256": file_digest(path),
        "source": "a file of the user's",
        "licence": "not known here",
    }
    with pytest.raises(AVFusionError, match=r"audio\.json does not describe a backbone \(.") as caught:
        read_backbone_record(path.parent, "audio")
    assert "\n" not in str(caught.value)
