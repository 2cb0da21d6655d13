"""Concordance correlation coefficient, used as measure and as loss (Lin 1989)."""

import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

EPSILON = 1e-8  # in the denominator, in float32
ROUNDING = 1e-24  # spread of two equal constants in float64, relative to their size


def ccc(predictions: Any, targets: Any, mask: Any = None) -> Any:
    """Concordance correlation coefficient of two series.

    2 cov(x, y) / (var x + var y + (mean x - mean y)²) with population moments. 1: equal; 0: unrelated, or two
    constants; -1: mirrored. Never computed in half precision.

    Args:
        predictions: array or tensor of any shape, flattened.
        targets: the same shape.
        mask: boolean, the same shape: pairs that count. None: all.

    Returns:
        A float (computed in float64) for arrays and sequences; for torch tensors a differentiable 0-d tensor in
        float32, or float64 if an input is float64. NaN, with a warning, for fewer than two valid pairs.

    Raises:
        ValueError: the shapes differ.
    """
    if _is_tensor(predictions) or _is_tensor(targets):
        return _ccc_torch(predictions, targets, mask)
    x = np.asarray(predictions, dtype=np.float64).ravel()
    y = np.asarray(targets, dtype=np.float64).ravel()
    _check_shapes(np.shape(predictions), np.shape(targets), None if mask is None else np.shape(mask))
    if mask is not None:
        keep = np.asarray(mask, dtype=bool).ravel()
        x, y = x[keep], y[keep]
    if len(x) < 2:
        return _undefined(len(x))
    dx, dy = x - x.mean(), y - y.mean()
    spread = (dx * dx).mean() + (dy * dy).mean() + (x.mean() - y.mean()) ** 2
    if spread <= ROUNDING * (1 + x.mean() ** 2):
        return 0.0  # two equal constants
    return float(2 * (dx * dy).mean() / spread)


def _ccc_torch(predictions: "torch.Tensor", targets: Any, mask: Any) -> "torch.Tensor":
    import torch

    predictions, targets = torch.as_tensor(predictions), torch.as_tensor(targets)
    _check_shapes(predictions.shape, targets.shape, None if mask is None else torch.as_tensor(mask).shape)
    kind = torch.float64 if torch.float64 in (predictions.dtype, targets.dtype) else torch.float32
    with torch.autocast(predictions.device.type, enabled=False):
        x = predictions.to(kind).reshape(-1)
        y = targets.to(kind).to(x.device).reshape(-1)
        if mask is None:
            keep = torch.ones_like(x, dtype=torch.bool)
        else:
            keep = torch.as_tensor(mask, device=x.device).reshape(-1).bool()
        # torch.where, not a product: an invalid label may be NaN. No boolean indexing: it would wait for the device.
        x, y = torch.where(keep, x, 0), torch.where(keep, y, 0)
        count = keep.sum()
        if x.device.type == "cpu" and int(count) < 2:
            return x.sum() * _undefined(int(count))
        weight = keep.to(kind) / count
        mean_x, mean_y = (x * weight).sum(), (y * weight).sum()
        dx, dy = torch.where(keep, x - mean_x, 0), torch.where(keep, y - mean_y, 0)
        spread = (dx * dx * weight).sum() + (dy * dy * weight).sum() + (mean_x - mean_y) ** 2
        return 2 * (dx * dy * weight).sum() / (spread + EPSILON)


def _is_tensor(value: object) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _check_shapes(predictions: Any, targets: Any, mask: Any) -> None:
    for name, shape in (("targets", targets), ("mask", mask)):
        if shape is not None and tuple(shape) != tuple(predictions):
            raise ValueError(f"{name} has shape {tuple(shape)}, predictions have {tuple(predictions)}")


def _undefined(pairs: int) -> float:
    warnings.warn(f"CCC of {pairs} valid pairs is undefined: at least two are needed", RuntimeWarning, stacklevel=3)
    return float("nan")
