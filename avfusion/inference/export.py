"""`avfusion export`: write a model's networks as programs of torch.export, which run without avfusion.

Each is checked before it is written: loaded again, it must give the numbers of the network that `predict` runs.
"""

import copy
import io
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import avfusion
from avfusion.backbones.frozen import freeze
from avfusion.backbones.registry import Backbone
from avfusion.backbones.weights import load_backbone
from avfusion.data.feature_spec import FeatureSpec
from avfusion.data.transforms import LogMel
from avfusion.fusion.base import FusionModel
from avfusion.fusion.files import load_fusion
from avfusion.inference.model_source import opened_model
from avfusion.runtime.atomic import atomic_path, write_json
from avfusion.runtime.errors import AVFusionError
from avfusion.runtime.fingerprints import file_digest
from avfusion.runtime.own_folder import new_folder, refuse_existing

INDEX = "export.json"
MADE = "exported"
KIND = "avfusion export"
BATCHES = (1, 7)
TOLERANCE = 1e-5
CPU = torch.device("cpu")
_AUTO, _BATCH = torch.export.Dim.AUTO, torch.export.Dim("batch", min=1)


@dataclass(frozen=True)
class Network:
    """A network to export.

    Attributes:
        inputs: sizes of its arguments by name; a word stands for a variable size.
        output: sizes of its output, likewise.
        sizes: test sizes for each word except `batch`, the smallest possible one first.
        flags: names of boolean inputs; the others are float32.
        exportable: an equivalent network that is exported instead, if `module` cannot be.
    """

    name: str
    module: nn.Module
    inputs: dict[str, tuple[int | str, ...]]
    output: tuple[int | str, ...]
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    exportable: nn.Module | None = None

    def example(self, batch: int, turn: int = 0) -> tuple[Tensor, ...]:
        """Random inputs; `turn` chooses among the test sizes."""
        generator = torch.Generator().manual_seed(batch)
        chosen = {"batch": batch} | {word: sizes[turn % len(sizes)] for word, sizes in self.sizes.items()}
        made = []
        for name, shape in self.inputs.items():
            numbers = torch.randn([chosen.get(size, size) for size in shape], generator=generator)  # type: ignore[arg-type]
            made.append(numbers > 0.5 if name in self.flags else 0.1 * numbers)
        return tuple(made)

    def varying(self) -> tuple[dict[int, Any], ...]:
        """The variable axes of each input."""
        return tuple(
            {axis: _BATCH if size == "batch" else _AUTO for axis, size in enumerate(shape) if isinstance(size, str)}
            for shape in self.inputs.values()
        )


def export_model(model: str | Path | None, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write `<network>.pt2` for log-mel, both backbones and the fusion model, and export.json, into `out`.

    Args:
        out: a new or empty folder, or with `force` an earlier export.

    Returns:
        The contents of export.json.

    Raises:
        BadInputError: the model does not exist, or `out` must not be replaced.
        AVFusionError: a network cannot be exported, or its export gives other numbers.
    """
    refuse_existing(out, force, _is_export, MADE)
    with opened_model(model) as (files, source):
        spec = FeatureSpec.from_dict(files.config["feature_spec"])
        fusion, config = load_fusion(files.fusion)
        backbones = [
            load_backbone(weights.parent, stream, output=spec.output if stream == "visual" else "pooled")[0]
            for stream, weights in files.backbones.items()
        ]
        digest = files.digest()
    index: dict[str, Any] = {
        "kind": KIND,
        "avfusion": avfusion.__version__,
        "torch": torch.__version__,
        "model": {"source": source, "name": fusion.name, "digest": digest, "notes": files.notes},
        "feature_spec": spec.to_dict(),
        "geometry": config.get("geometry"),
        "frames": config.get("frames"),
        "inference": config.get("inference", "overlap"),
        "networks": {},
    }
    with new_folder(out, force, _is_export, MADE) as folder:
        for network in networks(fusion, backbones, spec):
            index["networks"][network.name] = _export(network, folder)
        write_json(folder / INDEX, index)
    return index


def networks(fusion: FusionModel, backbones: list[Backbone], spec: FeatureSpec) -> Iterator[Network]:
    """The networks of a model for export: in float32, on the CPU."""
    transform = spec.audio
    shortest = transform.min_samples
    samples = (shortest, shortest + 10_001, 2 * shortest + 7)
    # Steps of a spectrogram: even, odd, and sizes that pooling rounds differently.
    steps = tuple(shortest // transform.hop_length + 1 + more for more in (0, 1, 21, 22))
    yield Network(
        "log_mel",
        LogMel(transform).eval(),
        {"sound": ("batch", "samples")},
        ("batch", 1, transform.n_mels, f"samples // {transform.hop_length} + 1"),
        {"samples": samples},
    )
    feature: dict[str, tuple[int, ...]] = {}
    for backbone in backbones:
        frozen = freeze(backbone, CPU, torch.float32)
        size = backbone.input_size
        feature[backbone.stream] = backbone.feature_shape
        if backbone.stream == "audio":
            inputs: dict[str, tuple[int | str, ...]] = {"spectrograms": ("batch", 1, size, "steps")}
            output: tuple[int | str, ...] = ("batch", *feature["audio"])
            yield Network("audio", frozen, inputs, output, {"steps": steps}, exportable=_poolable(frozen))
        else:
            inputs = {"clips": ("batch", 3, spec.shown.kept_frames, size, size)}
            yield Network("visual", frozen, inputs, ("batch", *feature["visual"]))
    flags = ("audio_present", "visual_present", "padding")
    inputs = {stream: ("batch", fusion.length, *feature[stream]) for stream in ("audio", "visual")}
    inputs |= dict.fromkeys(flags, ("batch", fusion.length))
    yield Network("fusion", _Predictions(fusion), inputs, ("batch", fusion.length, 2), flags=flags)


class _Predictions(nn.Module):
    """A fusion model that returns only predictions, since its own output is a class of avfusion."""

    def __init__(self, model: FusionModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, audio: Tensor, visual: Tensor, audio_present: Tensor, visual_present: Tensor, padding: Tensor
    ) -> Tensor:
        return self.model(audio, visual, audio_present, visual_present, padding).predictions


class _EverySecond(nn.Module):
    """Max pooling of stride 2, as pooling of stride 1 followed by taking every second value.

    torch.export binds a program with pooling of stride 2 to sizes that round like its example's.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(pool.kernel_size, 1, pool.padding)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.pool(pictures)[..., ::2, ::2]


def _poolable(network: nn.Module) -> nn.Module:
    network = copy.deepcopy(network)
    for name, module in network.named_children():
        if isinstance(module, nn.MaxPool2d):
            assert module.stride == 2
            setattr(network, name, _EverySecond(module))
    return network


@torch.no_grad()
def _export(network: Network, folder: Path) -> dict[str, Any]:
    """Write a network's program and compare its outputs with the network's."""
    path = folder / f"{network.name}.pt2"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's warnings to its own developers
            module = network.exportable or network.module
            program = torch.export.export(module, network.example(3), dynamic_shapes=network.varying())
            content = io.BytesIO()
            torch.export.save(program, content)  # writing to a full disk would end the process
            content.seek(0)
            loaded = torch.export.load(content).module()
    except Exception as error:  # torch raises many kinds
        reason = " ".join(str(error).split())[:300]
        raise AVFusionError(f"{network.name} cannot be exported: {type(error).__name__}: {reason}") from error
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.getbuffer())
    turns = max(map(len, network.sizes.values()), default=1)
    worst = 0.0
    for batch in BATCHES:
        for turn in range(turns):
            inputs = network.example(batch, turn)
            try:
                difference = float((loaded(*inputs) - network.module(*inputs)).abs().max())
            except (AssertionError, RuntimeError) as error:
                shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
                raise AVFusionError(f"the exported {network.name} does not take {shapes}: {error}") from error
            if not difference <= TOLERANCE:  # also for NaN
                raise AVFusionError(
                    f"the exported {network.name} gives other numbers for a batch of {batch}: they differ by "
                    f"{difference:.2g}, must be at most {TOLERANCE:g}: nothing is written"
                )
            worst = max(worst, difference)
    return {
        "file": path.name,
        "sha256": file_digest(path),
        "inputs": [
            {"name": name, "shape": list(shape), "dtype": "bool" if name in network.flags else "float32"}
            for name, shape in network.inputs.items()
        ],
        "output": {"shape": list(network.output), "dtype": "float32"},
        "smallest": {word: sizes[0] for word, sizes in network.sizes.items()},
        "checked": {"batches": list(BATCHES), "largest_difference": worst},
    }


def _is_export(folder: Path) -> bool:
    try:
        return json.loads((folder / INDEX).read_text(encoding="utf-8"))["kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError):
        return False
