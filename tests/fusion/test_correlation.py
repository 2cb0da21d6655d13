"""The correlation of joint cross-attention, made in parts, against the plain equations."""

import pytest
import torch

from avfusion.fusion import correlation
from avfusion.fusion.correlation import correlate

B, L, D_M, D, K = 5, 3, 4, 6, 2


def inputs(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((B, L, D_M), (B, L, D), (K, D))
    keys, joint, weight = (torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes)
    return keys, joint, weight


@pytest.mark.parametrize("sequences", [1, 2, 5])
@pytest.mark.parametrize("used", [(True, False), (False, True), (True, True)])
def test_values_and_gradients_are_those_of_the_equations(
    sequences: int, used: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlation, "CACHED_BYTES", sequences * D_M * D * 4)
    factors = [torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((B, K, D_M), (B, D_M, D))]
    given = inputs(torch.float32)
    found = correlate(*given)
    c = torch.tanh(given[0].transpose(1, 2) @ given[1])
    expected = given[2] @ c.transpose(1, 2), c
    for value, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(value, plain, atol=1e-6, rtol=1e-5)

    def gradients(values: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        terms = [(v * f).sum() for v, f, wanted in zip(values, factors, used, strict=True) if wanted]
        return torch.autograd.grad(torch.stack(terms).sum(), given, allow_unused=True)

    for gradient, plain in zip(gradients(found), gradients(expected), strict=True):
        plain = torch.zeros_like(gradient) if plain is None else plain
        torch.testing.assert_close(gradient, plain, atol=1e-5, rtol=1e-5)


def test_gradients_agree_with_differences() -> None:
    assert torch.autograd.gradcheck(correlate, inputs(torch.float64))


def test_float32s_tanh_is_good_to_the_last_digits() -> None:
    values = torch.arange(-50_000, 50_001) * 6e-4
    found = values.clone()
    correlation._tanh_(found)
    assert (found.double() - values.double().tanh()).abs().max() < 3e-7
    assert found[[0, 50_000, -1]].tolist() == [-1.0, 0.0, 1.0]


def test_no_sequence_has_no_correlation() -> None:
    keys, joint, weight = inputs(torch.float32)
    hidden, c = correlate(keys[:0], joint[:0], weight)
    assert hidden.shape == (0, K, D_M)
    assert c.shape == (0, D_M, D)
