"""What extraction makes of a backbone, and how batches are loaded ahead of it."""

import threading

import pytest
import torch
from torch import nn

from avfusion.backbones.frozen import arithmetic, freeze, memory_format
from avfusion.backbones.load_ahead import load_ahead
from avfusion.backbones.registry import Backbone

CPU = torch.device("cpu")


def batch_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in network.modules())


@pytest.mark.parametrize("stream", ["visual", "audio"])
def test_batch_norms_are_folded_into_a_copy(models, stream):
    backbone: Backbone = getattr(models, stream)
    for norm in (module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
        norm.running_mean.uniform_(-0.5, 0.5)
    backbone.train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    frozen = freeze(backbone, CPU, torch.float32)
    assert batch_norms(backbone.network) > 5
    assert batch_norms(frozen) == 0
    assert backbone.training
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    batch = torch.randn(2, *((3, 8, 28, 28) if stream == "visual" else (1, 64, 60)))
    with torch.inference_mode():
        plain = backbone.eval()(batch)
        folded = frozen(batch.contiguous(memory_format=memory_format(stream)))
    torch.testing.assert_close(folded, plain, rtol=1e-5, atol=1e-5)


def test_weights_have_the_arithmetic_and_their_channels_last(models):
    frozen = freeze(models.visual, CPU, torch.bfloat16)
    weights = [module.weight for module in frozen.modules() if isinstance(module, nn.Conv3d)]
    assert len(weights) > 5
    for weight in weights:
        assert weight.dtype == torch.bfloat16
        assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_network_that_depends_on_its_input_stays_as_it_is(models):
    class Wayward(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.norm(self.conv(x)).mean((2, 3)) if x.sum() > 0 else self.conv(-x).mean((2, 3))

    backbone = Backbone("wayward", Wayward(), stream="audio", width=4, input_size=8, feature_shape=(4,), dropout=0.0)
    frozen = freeze(backbone, CPU, torch.float32)
    batch = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(frozen(batch), backbone.eval()(batch), rtol=1e-5, atol=1e-6)


def test_float16_is_computed_in_float32_on_a_cpu():
    assert arithmetic("float16", CPU) is torch.float32
    assert arithmetic("float16", torch.device("cuda")) is torch.float16
    for device in (CPU, torch.device("cuda")):
        assert arithmetic("bfloat16", device) is torch.bfloat16
        assert arithmetic("float32", device) is torch.float32


def test_batches_come_in_order_loaded_ahead_in_another_thread():
    loaded: list[int] = []
    second = threading.Event()

    def load(number: int) -> torch.Tensor:
        assert threading.current_thread() is not threading.main_thread()
        loaded.append(number)
        if number == 1:
            second.set()
        return torch.tensor(number * 10)

    found = []
    for number, tensor in load_ahead(load, range(6), CPU):
        if number == 0:
            assert second.wait(30), "while the first one is computed, the next is loaded"
        assert max(loaded) <= number + 3, "not the whole track"
        found.append((number, int(tensor)))
    assert found == [(n, 10 * n) for n in range(6)]
    assert loaded == list(range(6))


def test_an_error_of_loading_is_raised_at_its_turn():
    def load(number: int) -> torch.Tensor:
        if number == 2:
            raise OSError("the disk is gone")
        return torch.tensor(number)

    batches = load_ahead(load, range(5), CPU)
    assert [next(batches)[0], next(batches)[0]] == [0, 1]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert list(load_ahead(load, [], CPU)) == []
