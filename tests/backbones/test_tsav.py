"""The published backbones, tensor by tensor, and checkpoints that are not theirs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from avfusion.backbones import load_tsav
from avfusion.runtime.errors import BadInputError
from tests.published_checkpoints import DATA, seeded_state_dict, write_jointcam, write_tsav


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return seeded_state_dict("tsav")


@pytest.fixture(scope="module")
def path(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tsav(tmp_path_factory.mktemp("tsav") / "TSAV.pth.tar", state)


@torch.inference_mode()
def test_agrees_with_the_published_code(path: Path) -> None:
    expected = load_file(DATA / "tsav_expected.safetensors")
    audio, visual, head = load_tsav(path, output="map")
    assert not any(part.training for module in (audio, visual, head) for part in module.modules())
    features = audio(expected["spectrogram"])
    visual_map = visual(torch.randn(1, 3, 8, 112, 112, generator=torch.Generator().manual_seed(7)))
    assert visual_map.shape == (1, 512, 7, 7)
    for ours, name in (
        (features, "audio_features"),
        (visual_map[:, ::8], "visual_map_of_seeded_clip"),
        (head(features, expected["visual_features"]), "tsav_output"),
    ):
        assert (ours - expected[name]).abs().max() < 1e-5, name
        assert expected[name].abs().max() > 0.01, name
    pooled = expected["visual_features_of_seeded_clip"]
    torch.testing.assert_close(head(features, visual_map), head(features, pooled), atol=1e-5, rtol=0)
    _, visual, _ = load_tsav(path)
    assert visual.output == "pooled"


def edited(state: dict[str, Tensor], path: Path, edit: Callable[[dict[str, Tensor]], object]) -> Path:
    changed = dict(state)
    edit(changed)
    return write_tsav(path, changed)


def test_prefix_of_data_parallel_and_uncounted_batches(state: dict[str, Tensor], tmp_path: Path) -> None:
    early = {f"module.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    audio, visual, head = load_tsav(write_tsav(tmp_path / "early.tar", early))
    assert torch.equal(audio.layer4[1].conv2.weight, state["audio_model.resnet.layer4.1.conv2.weight"])
    assert torch.equal(visual.stem[0].weight, state["video_model.r2plus1d.stem.0.weight"][:, :3])
    assert torch.equal(head.linear.bias, state["fc.1.bias"])


def test_missing_unexpected_and_misshapen_tensors_are_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    def edit(tensors: dict[str, Tensor]) -> None:
        tensors["fc.2.weight"] = tensors.pop("fc.1.weight")
        tensors["fc.1.bias"] = torch.zeros(3)

    with pytest.raises(BadInputError) as caught:
        load_tsav(edited(state, tmp_path / "odd.tar", edit))
    for part in ("odd.tar", "missing fc.1.weight", "unexpected fc.2.weight", "fc.1.bias is (3,), (17,) is needed"):
        assert part in str(caught.value)


def test_a_visual_stem_without_the_mask_channel_is_another_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    name = "video_model.r2plus1d.stem.0.weight"
    rgb = edited(state, tmp_path / "rgb.tar", lambda tensors: tensors.update({name: tensors[name][:, :3]}))
    with pytest.raises(BadInputError, match=r"stem\.0\.weight is \(45, 3, 1, 7, 7\), \(45, 4, 1, 7, 7\) is needed"):
        load_tsav(rgb)


def test_nan_is_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    name = "audio_model.resnet.bn1.running_mean"
    path = edited(state, tmp_path / "nan.tar", lambda tensors: tensors.update({name: torch.full((64,), torch.nan)}))
    with pytest.raises(BadInputError, match=r"NaN or infinity in audio_model\.resnet\.bn1\.running_mean"):
        load_tsav(path)


def test_a_negative_variance_is_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    name = "audio_model.resnet.bn1.running_var"
    below = state[name].clone()
    below[3] = -1e-3
    with pytest.raises(BadInputError, match=r"hold negative variances in audio_model\.resnet\.bn1\.running_var"):
        load_tsav(edited(state, tmp_path / "negative.tar", lambda tensors: tensors.update({name: below})))


def test_nan_in_the_channel_that_is_dropped_is_named(state: dict[str, Tensor], tmp_path: Path) -> None:
    name = "video_model.r2plus1d.stem.0.weight"
    broken = state[name].clone()
    broken[0, 3] = torch.nan
    with pytest.raises(BadInputError, match=r"NaN or infinity in video_model\.r2plus1d\.stem\.0\.weight"):
        load_tsav(edited(state, tmp_path / "nan.tar", lambda tensors: tensors.update({name: broken})))


@pytest.mark.parametrize("change", [Tensor.to_sparse, lambda bias: bias.to(torch.complex64)])
def test_tensors_of_no_ordinary_numbers_are_refused(
    state: dict[str, Tensor], tmp_path: Path, change: Callable[[Tensor], Tensor]
) -> None:
    bias = {"fc.1.bias": change(state["fc.1.bias"])}
    with pytest.raises(BadInputError, match=r"are unusable in fc\.1\.bias \(.*dense numbers of 16 to 64 bits"):
        load_tsav(edited(state, tmp_path / "odd.tar", lambda tensors: tensors.update(bias)))


def test_the_other_published_file_is_recognised(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"is it the published fusion network\? `avfusion import-weights jointcam"):
        load_tsav(write_jointcam(tmp_path / "jointcam.pt", {"linear.weight": torch.zeros(2)}))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_payload_is_refused_and_not_executed(tmp_path: Path, legacy: bool) -> None:
    class Payload:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    path = tmp_path / "evil.tar"
    torch.save({"state_dict": {"fc.1.bias": Payload()}}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BadInputError, match=r"evil\.tar names \S+, which no checkpoint of tensors needs"):
        load_tsav(path)
    assert not (tmp_path / "executed").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "executed").exists(), "the payload works where it is let through"


def test_truncated_missing_and_foreign_files_are_refused(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for size in (0, 10, 5000, len(whole) - 1000):
        (tmp_path / "short.tar").write_bytes(whole[:size])
        with pytest.raises(BadInputError, match=r"short\.tar is not a whole checkpoint"):
            load_tsav(tmp_path / "short.tar")
    (tmp_path / "text.tar").write_text("not a checkpoint " * 100)
    with pytest.raises(BadInputError, match=r"text\.tar is not a whole checkpoint"):
        load_tsav(tmp_path / "text.tar")
    with pytest.raises(BadInputError, match=r"none\.tar does not exist"):
        load_tsav(tmp_path / "none.tar")
    torch.save({"state_dict": [1, 2]}, tmp_path / "list.tar")
    with pytest.raises(BadInputError, match="holds no mapping of names to tensors"):
        load_tsav(tmp_path / "list.tar")


def test_unknown_output_is_refused(path: Path) -> None:
    with pytest.raises(BadInputError, match="output is 'both': must be one of pooled, map"):
        load_tsav(path, output="both")
