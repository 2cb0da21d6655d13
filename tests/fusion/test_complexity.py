"""Parameters and multiply-adds, against counts by hand."""

import pytest

from avfusion.fusion import build_fusion, fusion_names
from avfusion.fusion.complexity import complexity

D, W, K, H, L = 512, 128, 32, 128, 16
ENCODERS = 2 * (D * W + W + W)  # with biases and tokens
HEADS = 2 * (2 * W * H + H + H + 1)
ENCODING, REGRESSION = 2 * L * D * W, L * 2 * (2 * W * H + H)


def test_concat() -> None:
    found = complexity(build_fusion("concat"))
    assert (found.parameters, found.multiply_adds) == (ENCODERS + HEADS, ENCODING + REGRESSION)


def test_joint_cross_attention() -> None:
    found = complexity(build_fusion("jca"))
    assert found.parameters == ENCODERS + HEADS + 2 * (L * L + K * 2 * W + K * L + K * L)
    attention = W * L * L + W * L * 2 * W + W * 2 * W * K + W * L * K + W * K * L
    assert found.multiply_adds == ENCODING + REGRESSION + 2 * attention


def test_recurrent_layers_are_counted() -> None:
    plain = complexity(build_fusion("jca"))
    recursive = complexity(build_fusion("recursive_jca", iterations=1))
    half = W // 2
    weights = 2 * (2 * 4 * half * (W + half)) + 2 * 4 * W * (2 * W + W)
    assert recursive.parameters - plain.parameters == weights
    assert recursive.multiply_adds - plain.multiply_adds == weights * L


def test_iterations_cost_products_and_parameters_only_where_not_shared() -> None:
    one, two, own = (
        complexity(build_fusion("recursive_jca", **options))
        for options in ({"iterations": 1}, {"iterations": 2}, {"iterations": 2, "shared": False})
    )
    assert one.parameters == two.parameters < own.parameters
    assert one.multiply_adds < two.multiply_adds == own.multiply_adds


@pytest.mark.parametrize("name", fusion_names())
def test_counting_leaves_the_model_alone(name: str) -> None:
    model = build_fusion(name)
    assert complexity(model).parameters == sum(parameter.numel() for parameter in model.parameters())
    assert all(parameter.device.type == "cpu" and parameter.requires_grad for parameter in model.parameters())
