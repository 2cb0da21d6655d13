"""`avfusion export`: programs that give the networks' numbers, where there is no avfusion, too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from avfusion.backbones.catalogue import backbone_names, find_backbone
from avfusion.backbones.registry import Backbone, build_backbone
from avfusion.cli import main
from avfusion.data.feature_spec import AudioTransform, BackboneIdentity, ClipGeometry, FeatureSpec, VisualTransform
from avfusion.fusion import build_fusion
from avfusion.inference import export
from avfusion.inference.export import Network, export_model, networks
from avfusion.inference.predictor import Predictor
from avfusion.runtime.errors import AVFusionError, BadInputError
from avfusion.runtime.fingerprints import file_digest
from tests.fusion.forms import EVERY

MAPS = "released_coattention"
NETWORKS = ("log_mel", "audio", "visual", "fusion")
ELSEWHERE = """
import sys
sys.modules["avfusion"] = None  # importing it is an error
import torch
from pathlib import Path
from safetensors.torch import load_file, save_file
folder, given = Path(sys.argv[1]), load_file(sys.argv[2])
found = {}
for name in sys.argv[4:]:
    inputs = [given[key] for key in sorted(given) if key.startswith(name + " ")]
    found[name] = torch.export.load(folder / f"{name}.pt2").module()(*inputs).contiguous()
save_file(found, sys.argv[3])
"""


def parts(
    name: str = "jca", *, visual: str = "narrow_r2plus1d", audio: str = "narrow_resnet", **options: Any
) -> list[Network]:
    """The networks of a model with backbones of random weights."""
    output = "map" if name == MAPS else "pooled"
    torch.manual_seed(3)
    backbones: list[Backbone] = []
    for stream, backbone, size in (("audio", audio, 64), ("visual", visual, 112 if output == "map" else 32)):
        width = find_backbone(stream, backbone).given.get("width", 4)
        made = build_backbone(
            backbone, stream=stream, width=width, input_size=size, output=output if stream == "visual" else "pooled"
        )
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)
                nn.init.uniform_(module.running_var, 0.5, 1.5)
        backbones.append(made.eval())
    identities = {
        made.stream: BackboneIdentity(
            name=made.name, width=made.width, input_size=made.input_size, feature_dim=made.feature_dim, sha256="0"
        )
        for made in backbones
    }
    spec = FeatureSpec(
        geometry=ClipGeometry(),
        stride=8,
        audio=AudioTransform(),
        visual=VisualTransform(),
        backbones=identities,  # type: ignore[arg-type]
        output=output,
    )
    sizes = {f"{made.stream}_dim": made.feature_dim for made in backbones}
    return list(networks(build_fusion(name, length=16, **sizes, **options).eval(), backbones, spec))


@pytest.mark.slow
@pytest.mark.parametrize("form", [form for form in EVERY if form != MAPS])
def test_every_fusion_model_is_exported(form: str, tmp_path: Path) -> None:
    name, options = EVERY[form]
    network = parts(name, **options)[-1]
    entry = export._export(network, tmp_path)
    assert (entry["file"], entry["checked"]["batches"]) == ("fusion.pt2", [1, 7])
    loaded = torch.export.load(tmp_path / "fusion.pt2").module()
    for batch in (1, 2, 40):
        inputs = network.example(batch)
        torch.testing.assert_close(loaded(*inputs), network.module(*inputs), atol=1e-5, rtol=0)
        assert loaded(*inputs).shape == (batch, 16, 2)


@pytest.mark.slow
@pytest.mark.parametrize(("stream", "name"), [(s, name) for s in ("audio", "visual") for name in backbone_names(s)])
def test_every_backbone_is_exported(stream: str, name: str, tmp_path: Path) -> None:
    network = next(network for network in parts(**{stream: name}) if network.name == stream)
    assert export._export(network, tmp_path)["checked"]["largest_difference"] <= 1e-5


@pytest.mark.slow
def test_the_published_fusion_and_maps_are_exported(tmp_path: Path) -> None:
    made = parts(MAPS, visual="r2plus1d_18", audio="resnet18")
    for network in made[2:]:
        export._export(network, tmp_path)
    assert made[2].output == ("batch", 512, 7, 7)
    assert made[3].inputs["visual"] == ("batch", 16, 512, 7, 7)


def test_any_length_of_sound_is_taken(tmp_path: Path) -> None:
    sound, audio = parts()[:2]
    for network in (sound, audio):
        export._export(network, tmp_path)
    log_mel, backbone = (torch.export.load(tmp_path / f"{name}.pt2").module() for name in ("log_mel", "audio"))
    for samples in range(45_599, 45_599 + 9 * 441, 441):
        given = 0.1 * torch.randn(2, samples)
        spectrograms = sound.module(given)
        torch.testing.assert_close(log_mel(given), spectrograms, atol=1e-5, rtol=0)
        torch.testing.assert_close(backbone(spectrograms), audio.module(spectrograms), atol=1e-5, rtol=0)


def test_the_programs_run_without_avfusion_and_give_the_predictors_numbers(
    trained_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["avfusion", "export", "--model", str(trained_models / "fusion"), "-o", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert f"{out / 'fusion.pt2'}" in capsys.readouterr().out
    index = json.loads((out / "export.json").read_text())
    predictor = Predictor.load(trained_models / "fusion")
    assert index["model"]["digest"] == predictor.digest
    assert FeatureSpec.from_dict(index["feature_spec"]) == predictor.spec
    assert sorted(path.name for path in out.iterdir()) == sorted([*(f"{name}.pt2" for name in NETWORKS), "export.json"])
    for entry in index["networks"].values():
        assert file_digest(out / entry["file"]) == entry["sha256"]
    flags = [entry["dtype"] for entry in index["networks"]["fusion"]["inputs"]]
    assert flags == ["float32", "float32", "bool", "bool", "bool"]

    generator = torch.Generator().manual_seed(0)
    given, expected = {}, {}
    extractor = predictor._extractor
    for name, module in {
        "log_mel": extractor._log_mel,
        "audio": extractor._networks["audio"],
        "visual": extractor._networks["visual"],
        "fusion": predictor._model,
    }.items():
        sizes = {"batch": 5, **index["networks"][name]["smallest"]}
        inputs = []
        for number, entry in enumerate(index["networks"][name]["inputs"]):
            shape = [sizes.get(size, size) for size in entry["shape"]]
            values = torch.randn(shape, generator=generator)
            inputs.append(values > 0 if entry["dtype"] == "bool" else values)
            given[f"{name} {number}"] = inputs[-1]
        with torch.inference_mode():
            result = module(*inputs)
        expected[name] = result if isinstance(result, torch.Tensor) else result.predictions
    save_file(given, tmp_path / "given.safetensors")
    script = tmp_path / "elsewhere" / "run.py"
    script.parent.mkdir()
    script.write_text(ELSEWHERE)
    command = [sys.executable, "-I", script, out, tmp_path / "given.safetensors", tmp_path / "found.safetensors"]
    subprocess.run([str(part) for part in (*command, *NETWORKS)], check=True, cwd=script.parent, timeout=300)
    found = load_file(tmp_path / "found.safetensors")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        torch.testing.assert_close(found[name], values, atol=1e-5, rtol=0)


class _ByItsValues(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2 if values.sum() > 0 else values


class _ByItsBatch(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2


class _Twice(nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2 + 1e-4


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    inputs: dict[str, tuple[int | str, ...]] = {"values": ("batch", 3)}
    with pytest.raises(AVFusionError, match=r"^odd cannot be exported: \w+: "):
        export._export(Network("odd", _ByItsValues(), inputs, ("batch", 3)), tmp_path)
    wrong = Network("wrong", _Twice(), inputs, ("batch", 3), exportable=_ByItsBatch())
    with pytest.raises(AVFusionError, match=r"wrong gives other numbers for a batch of 1: they differ by 0\.0001"):
        export._export(wrong, tmp_path)


def test_nothing_is_written_over_other_things(trained_models: Path, tmp_path: Path) -> None:
    model, out = trained_models / "fusion", tmp_path / "out"
    out.mkdir()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(BadInputError, match=r"holds other things \(diary.txt"):
        export_model(model, out, force=True)
    (out / "diary.txt").unlink()
    (out / "export.json").write_text(json.dumps({"kind": export.KIND}))
    with pytest.raises(BadInputError, match="is exported already: replace it with --force"):
        export_model(model, out)
    with pytest.raises(BadInputError, match="there is no model folder"):
        export_model(tmp_path / "gone", out, force=True)
    assert [path.name for path in out.iterdir()] == ["export.json"]
