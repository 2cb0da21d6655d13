"""The concordance correlation coefficient against its definition and its laws."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import avfusion
from avfusion.scoring.ccc import ccc

series = st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=40)


def reference(x: np.ndarray, y: np.ndarray) -> float:
    n, mx, my = len(x), sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / n
    spread = sum((a - mx) ** 2 for a in x) / n + sum((b - my) ** 2 for b in y) / n + (mx - my) ** 2
    return 2 * covariance / spread


def test_equals_the_definition_on_many_cases() -> None:
    random = np.random.default_rng(0)
    for _ in range(1000):
        n = random.integers(2, 60)
        x, y = random.normal(size=n) * random.uniform(0.1, 3), random.normal(size=n) + random.normal()
        assert ccc(x, y) == pytest.approx(reference(x, y), abs=1e-10)


def test_known_value() -> None:
    # cov = var = 2/3, means 2 apart: 2 * 2/3 / (2/3 + 2/3 + 4) = 0.25
    assert ccc([1, 2, 3], [3, 4, 5]) == pytest.approx(0.25)


def test_is_the_packages_ccc() -> None:
    assert avfusion.ccc is ccc


@given(st.data())
def test_symmetric_and_bounded(data: st.DataObject) -> None:
    x = np.array(data.draw(series))
    y = np.array(data.draw(st.lists(st.floats(-1, 1, width=32), min_size=len(x), max_size=len(x))))
    value = ccc(x, y)
    assert -1 - 1e-12 <= value <= 1 + 1e-12
    assert value == pytest.approx(ccc(y, x), abs=1e-12)


@given(series)
def test_equal_series_score_one_and_mirrored_ones_minus_one(x: list[float]) -> None:
    values = np.array(x, dtype=np.float64)
    if values.std() > 1e-3:
        assert ccc(values, values) == pytest.approx(1, abs=1e-12)
        mirrored = 2 * values.mean() - values
        assert ccc(values, mirrored) == pytest.approx(-1, abs=1e-12)


@given(series, st.floats(0.1, 10), st.floats(-5, 5))
def test_what_one_side_loses_by_scale_and_shift_is_the_law(x: list[float], scale: float, shift: float) -> None:
    """Of x and a x + b, with variance v: 2 a v / (v + a² v + ((1 - a) mean - b)²)."""
    values = np.array(x, dtype=np.float64)
    if values.std() > 1e-3:
        bias = (1 - scale) * values.mean() - shift
        law = 2 * scale * values.var() / (values.var() * (1 + scale**2) + bias**2)
        assert ccc(values, scale * values + shift) == pytest.approx(law, abs=1e-9)


@given(st.data())
def test_at_most_the_correlation_and_in_its_direction(data: st.DataObject) -> None:
    x = np.array(data.draw(series))
    y = np.array(data.draw(st.lists(st.floats(-1, 1, width=32), min_size=len(x), max_size=len(x))))
    if min(x.std(), y.std()) > 1e-3:
        correlation = np.corrcoef(x, y)[0, 1]
        assert abs(ccc(x, y)) <= abs(correlation) + 1e-9
        assert ccc(x, y) * correlation >= -1e-12


@given(st.data())
def test_order_of_pairs_and_what_a_mask_hides_change_nothing(data: st.DataObject) -> None:
    x = np.array(data.draw(st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=40)))
    y, order = np.roll(x, 2) * 0.5, np.array(data.draw(st.permutations(range(len(x)))))
    mask = np.arange(len(x)) % 3 != 0
    assert ccc(x[order], y[order]) == pytest.approx(ccc(x, y), abs=1e-10)
    hidden = np.where(mask, y, data.draw(st.floats(-1e6, 1e6)))
    assert ccc(x, hidden, mask) == ccc(x[mask], y[mask])


@given(series, st.floats(0.1, 10), st.floats(-5, 5))
def test_common_shift_and_scale_change_nothing(x: list[float], scale: float, shift: float) -> None:
    x = np.array(x)
    y = np.roll(x, 1) + 0.1
    if x.std() > 1e-3:
        assert ccc(scale * x + shift, scale * y + shift) == pytest.approx(ccc(x, y), abs=1e-6)


def test_a_shift_of_one_side_lowers_it() -> None:
    x = np.sin(np.arange(100))
    values = [ccc(x, x + shift) for shift in (0, 0.2, 0.5, 1)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)


def test_mask_leaves_pairs_out() -> None:
    x, y = np.array([0.1, 0.5, np.nan, -0.3]), np.array([0.2, 0.4, 5.0, -0.1])
    mask = np.array([True, True, False, True])
    assert ccc(x, y, mask) == pytest.approx(ccc(x[mask], y[mask]))
    tensor = ccc(torch.tensor(x), torch.tensor(y), torch.tensor(mask))
    assert float(tensor) == pytest.approx(ccc(x[mask], y[mask]), abs=1e-6)


@pytest.mark.parametrize("value", [0.1, 0.3, 0.5, 0.7, -1.0])
@pytest.mark.parametrize("length", [2, 3, 1000])
def test_equal_constants_score_zero(value: float, length: int) -> None:
    """0.1 and 0.7 are no binary fractions: their mean is off by rounding."""
    assert ccc([value] * length, [value] * length) == 0
    assert abs(float(ccc(torch.full((length,), value), torch.full((length,), value)))) < 1e-3


def test_a_constant_scores_zero() -> None:
    assert ccc([0.5, 0.5], [0.1, 0.9]) == 0


def test_two_pairs_are_enough() -> None:
    # cov = 1/4, variances 1/4 and 1/4, means 1 apart: 1/2 / (1/2 + 1) = 1/3
    assert ccc([0, 1], [1, 2]) == pytest.approx(1 / 3)
    assert ccc([0, 1], [1, 0]) == pytest.approx(-1)
    assert float(ccc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))) == pytest.approx(1 / 3, abs=1e-6)


@pytest.mark.parametrize("length", [0, 1])
def test_too_few_pairs_are_nan_with_a_warning(length: int) -> None:
    with pytest.warns(RuntimeWarning, match="at least two"):
        assert np.isnan(ccc(np.zeros(length), np.zeros(length)))
    with pytest.warns(RuntimeWarning, match="at least two"):
        assert torch.isnan(ccc(torch.zeros(length), torch.zeros(length)))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"targets has shape \(3,\), predictions have \(2,\)"):
        ccc([1, 2], [1, 2, 3])


def test_torch_gradient_and_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    y, mask = torch.randn(4, 5, generator=generator, dtype=torch.float64), torch.rand(4, 5, generator=generator) < 0.7
    assert torch.autograd.gradcheck(lambda x: ccc(x, y, mask), x)
    assert ccc(x, y).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ccc(x.float().bfloat16(), y.float()).dtype == torch.float32


@pytest.mark.parametrize("length", [10_000, 100_000])
@pytest.mark.parametrize("noise", [0.05, 0.5, 5])
def test_torchmetrics_agrees_on_long_input(length: int, noise: float) -> None:
    """It divides covariance and variances by n - 1, which leaves only the shift's share different."""
    from torchmetrics.functional import concordance_corrcoef

    generator = torch.Generator().manual_seed(1)
    x = torch.randn(length, generator=generator)
    y = 0.7 * x + noise * torch.randn(length, generator=generator) + 0.1
    assert float(ccc(x, y)) == pytest.approx(float(concordance_corrcoef(x, y)), abs=1e-4)
