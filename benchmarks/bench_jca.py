"""The batched joint cross-attention against a loop over samples of the same equations: one training step, batch 64.

In turn, seven rounds, the ratio of the minima: the loop, the model in float32 (what `train.amp: auto` takes on CPUs)
and under bfloat16. With one thread by CPU time, which other processes disturb less; with more of them by the clock.

python benchmarks/bench_jca.py [--threads 1]
"""

import argparse
import os
import time
from collections.abc import Callable

import torch

from avfusion.fusion import build_fusion
from avfusion.fusion.jca import JointCrossAttention
from avfusion.training.losses import ccc_loss

BATCH, LENGTH, ROUNDS, STEPS = 64, 16, 7, 5


def loop(model: JointCrossAttention, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """The model sample by sample, as published code computes it."""
    outputs = []
    for a, v in zip(audio, visual, strict=True):
        x = {"audio": model.audio_encoder.linear(a).T, "visual": model.visual_encoder.linear(v).T}
        joint = torch.cat([x["audio"], x["visual"]])
        attended = []
        for stream in ("visual", "audio"):
            weights = getattr(model, f"{stream}_attention")
            c = torch.tanh(x[stream] @ weights.joint.weight @ joint.T / joint.shape[0] ** 0.5)
            h = torch.relu(weights.correlation.weight @ c.T + weights.stream.weight @ x[stream].T)
            attended.append((weights.output.weight @ h).T + x[stream])
        outputs.append(model.heads(torch.cat(attended).T))
    return torch.stack(outputs)


def main() -> None:
    """Print the times and their ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    torch.manual_seed(0)
    model = build_fusion("jca", dropout=0.0)
    assert isinstance(model, JointCrossAttention)
    audio, visual = torch.randn(BATCH, LENGTH, 512), torch.randn(BATCH, LENGTH, 512)
    targets, valid = torch.rand(BATCH, LENGTH, 2) * 2 - 1, torch.ones(BATCH, LENGTH, dtype=torch.bool)
    torch.testing.assert_close(loop(model, audio, visual), model(audio, visual).predictions, atol=1e-5, rtol=1e-4)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)

    def step(forward: Callable[[], torch.Tensor]) -> None:
        optimiser.zero_grad()
        ccc_loss(forward(), targets, valid).backward()
        optimiser.step()

    def in_bfloat16() -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(audio, visual).predictions

    sides: dict[str, Callable[[], torch.Tensor]] = {
        "loop": lambda: loop(model, audio, visual),
        "batched": lambda: model(audio, visual).predictions,
        "batched, bfloat16": in_bfloat16,
    }
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(ROUNDS):
        for name, forward in sides.items():
            started = clock()
            for _ in range(STEPS):
                step(forward)
            best[name] = min(best[name], (clock() - started) / STEPS)
    print(f"jca training step, batch {BATCH}, threads {threads} (load {os.getloadavg()[0]:.1f})")
    for name, seconds in best.items():
        print(f"{name}: {1000 * seconds:.1f} ms, {best['loop'] / seconds:.2f} times as fast as the loop")


if __name__ == "__main__":
    main()
