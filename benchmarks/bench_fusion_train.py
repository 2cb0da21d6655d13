"""Fusion models in training against a plain batched form of the same equations: no masks, no tokens, no maps.

Both have the same weights and no dropout, give the same predictions, and take the same step (CCC loss, Adam). In turn,
seven rounds, the ratio of the minima, by CPU time of one thread, which other processes disturb less.

    python benchmarks/bench_fusion_train.py [--models grjca,tagf]
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from avfusion.fusion import build_fusion
from avfusion.training.losses import ccc_loss

BATCH, LENGTH, DIM, ROUNDS, STEPS = 64, 16, 512, 7, 3
Model = Any  # models are read by the names of their parts


def tcn(part: Model, rows: torch.Tensor) -> torch.Tensor:
    """BN(TCN(X)), (B, L, d) → (B, L, d)."""
    x = rows.transpose(1, 2)
    for block in part.tcn.blocks:
        hidden = x
        for conv in (block.first, block.second):
            norm = conv.direction.flatten(1).norm(dim=1)[:, None, None]
            reach = (conv.direction.shape[-1] - 1) * conv.dilation
            hidden = F.conv1d(
                F.pad(hidden, (reach, 0)), conv.gain * conv.direction / norm, conv.bias, dilation=conv.dilation
            )
            hidden = F.leaky_relu(hidden)
        x = F.leaky_relu(hidden + block.residual(x))
    return batch_norm(part.norm, x.transpose(1, 2))


def batch_norm(part: Model, rows: torch.Tensor) -> torch.Tensor:
    """Batch normalisation over all clips."""
    return part.norm(rows.flatten(0, 1)).view_as(rows)


def head(part: Model, rows: torch.Tensor) -> torch.Tensor:
    """tanh(Linear(LeakyReLU(BN(Linear(c)))))."""
    return torch.tanh(part.output(F.leaky_relu(batch_norm(part.norm, part.hidden(rows)))))


def encoded(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both streams behind encoder and TCN, visual first."""
    return (
        tcn(model.visual_temporal, model.visual_encoder.linear(visual)),
        tcn(model.audio_temporal, model.audio_encoder.linear(audio)),
    )


def temporal_concat(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Plain `temporal_concat`."""
    return head(model.heads, torch.cat(encoded(model, audio, visual), dim=-1))


def bilstm_concat(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Plain `temporal_concat` with `temporal: bilstm`."""
    x_v, _ = model.visual_temporal.lstm(model.visual_encoder.linear(visual))
    x_a, _ = model.audio_temporal.lstm(model.audio_encoder.linear(audio))
    return head(model.heads, model.joint_lstm.lstm(torch.cat([x_v, x_a], dim=-1))[0])


def recursion(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> list[list[torch.Tensor]]:
    """The states X⁰ … X^T of both streams, visual first."""
    states = [[F.normalize(x, dim=-1)] for x in encoded(model, audio, visual)]
    for step in model.attention.steps:
        query = step.query(torch.cat([states[0][-1], states[1][-1]], dim=-1))
        for x, part in zip(states, (step.visual, step.audio), strict=True):
            similarity = torch.tanh(part.key(x[-1].transpose(1, 2)) @ query / query.shape[-1] ** 0.5)
            weighted = F.relu(torch.tanh(part.value(x[-1]) @ similarity))
            x.append(x[-1] + F.relu(part.output(weighted)))
    return states


def mix(part: Model, states: list[torch.Tensor], by: torch.Tensor) -> torch.Tensor:
    """ReLU(Σ g_t X^t)."""
    gates = (part.linear(by) / part.temperature).softmax(dim=-1)
    return F.relu(sum(gates[..., t : t + 1] * state for t, state in enumerate(states)))


def grjca(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Plain `grjca`."""
    gates = (model.visual_gate.gate, model.audio_gate.gate)
    fused = [mix(gate, x, x[-1]) for gate, x in zip(gates, recursion(model, audio, visual), strict=True)]
    return head(model.heads, torch.cat(fused, dim=-1))


def hgrjca(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Plain `grjca` with `hierarchical`."""
    fused = []
    for gate, x in zip((model.visual_gate, model.audio_gate), recursion(model, audio, visual), strict=True):
        mixes = [mix(level, x[: t + 1], x[t]) for t, level in enumerate(gate.levels, start=1)]
        fused.append(mix(gate.last, mixes, x[-1]))
    return head(model.heads, torch.cat(fused, dim=-1))


def tagf(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Plain `tagf`."""
    fused = []
    for gate, x in zip((model.visual_gate, model.audio_gate), recursion(model, audio, visual), strict=True):
        states = torch.stack(x, dim=2)
        rows = states.flatten(0, 1)
        start = gate.start[:, None].repeat(1, rows.shape[0], 1)
        recurrent, _ = gate.lstm(rows, (start[:2], start[2:]))
        scores = F.normalize(gate.linear(torch.cat([rows, recurrent], dim=-1)), dim=-1).mean(dim=-1)
        weights = (scores / gate.temperature).softmax(dim=-1).view(*states.shape[:3], 1)
        fused.append((weights * states).sum(dim=2))
    return head(model.heads, torch.cat(fused, dim=-1))


def raav(model: Model, audio: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    """Plain `raav`, its attention through PyTorch's fused function."""
    frames = model.visual_encoder.linear(visual) + model.place
    sound = model.audio_encoder(audio) + model.place
    scorers, priors = model.gate.scorers, model.gate.log_priors
    alpha = (torch.cat([scorers[0](sound), scorers[1](frames)], dim=-1) + priors).softmax(dim=-1)
    frames = alpha[..., :1] * sound + alpha[..., 1:] * frames
    part = model.audio_latents
    start = part.latents.expand(len(frames), -1, -1)
    latents = part.latent_norm(start + part.listen(start, sound, sound, need_weights=False)[0])
    frames = part.frame_norm(frames + part.look(part.query_norm(frames), latents, latents, need_weights=False)[0])
    for layer in model.layers:
        projected = layer.projections(layer.attention_norm(frames)).unflatten(-1, (3, layer.heads, -1))
        attended = F.scaled_dot_product_attention(*projected.permute(2, 0, 3, 1, 4).unbind())
        frames = frames + layer.output(attended.transpose(1, 2).flatten(2))
        frames = frames + layer.mlp(layer.mlp_norm(frames))
    return model.head(frames)


FORMS: dict[str, tuple[str, dict[str, Any], Callable[[Model, torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "temporal_concat": ("temporal_concat", {"temporal_dropout": 0.0}, temporal_concat),
    "temporal_concat, bilstm": ("temporal_concat", {"temporal": "bilstm"}, bilstm_concat),
    "grjca": ("grjca", {"temporal_dropout": 0.0}, grjca),
    "grjca, hierarchical": ("grjca", {"temporal_dropout": 0.0, "hierarchical": True}, hgrjca),
    "tagf": ("tagf", {"temporal_dropout": 0.0, "gate_dropout": 0.0}, tagf),
    "raav": ("raav", {"attention_dropout": 0.0}, raav),
}


def measure(title: str) -> None:
    """Print the times of one model and their ratio."""
    name, options, plain = FORMS[title]
    torch.manual_seed(0)
    model: Model = build_fusion(name, audio_dim=DIM, visual_dim=DIM, length=LENGTH, dropout=0.0, **options)
    audio, visual = torch.randn(BATCH, LENGTH, DIM), torch.randn(BATCH, LENGTH, DIM)
    targets, valid = torch.rand(BATCH, LENGTH, 2) * 2 - 1, torch.ones(BATCH, LENGTH, dtype=torch.bool)

    def plainly() -> torch.Tensor:
        standardised = (audio - model.audio_mean) * model.audio_scale, (visual - model.visual_mean) * model.visual_scale
        return plain(model, *standardised)

    torch.testing.assert_close(plainly(), model(audio, visual).predictions, atol=1e-5, rtol=1e-4)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    sides: dict[str, Callable[[], torch.Tensor]] = {
        "plain": plainly,
        "avfusion": lambda: model(audio, visual).predictions,
    }
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(ROUNDS):
        for side, forward in sides.items():
            started = time.process_time()
            for _ in range(STEPS):
                optimiser.zero_grad()
                ccc_loss(forward(), targets, valid).backward()
                optimiser.step()
            best[side] = min(best[side], (time.process_time() - started) / STEPS)
    print(
        f"{title:<24} plain {1000 * best['plain']:6.1f} ms, avfusion {1000 * best['avfusion']:6.1f} ms: "
        f"{best['avfusion'] / best['plain']:.2f} times the plain form (load {os.getloadavg()[0]:.1f})"
    )


def main() -> None:
    """Print a line per model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=None, help="comma-separated names or titles; default: all")
    wanted = parser.parse_args().models
    torch.set_num_threads(1)
    print(f"one training step, batch {BATCH}, {LENGTH} clips, one thread")
    for title, (name, _, _) in FORMS.items():
        if wanted is None or {title, name} & set(wanted.split(",")):
            measure(title)


if __name__ == "__main__":
    main()
