"""What attention adds to each model, in words and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

NEUTRAL, RETRAINED = "neutral", "retrained"
SHUFFLED = {"audio_shuffled": "audio", "face_shuffled": "visual"}
"""Ablations that put a stream's clips in random order within each track."""
ABLATIONS = {
    NEUTRAL: "attention neutral at test",
    RETRAINED: "trained without attention",
    "audio_shuffled": "audio shuffled",
    "face_shuffled": "face shuffled",
}
"""How each ablation is called: in names of predictions, and in tables."""
EXPLAINED = (
    "Mean CCC of each model minus that of the same model under an ablation, with paired 95 % intervals. "
    "Attention neutral at test: correlations are 0, weights uniform, gates at their mean, and nothing else changes. "
    "Trained without attention: the control, a model of its own. Audio, face shuffled: the clips of that stream in "
    "random order within each track; a model that needs the stream in its place loses by that, whatever its attention."
)


def ablated_name(name: str, ablation: str) -> str:
    """Name of the predictions of a model under an ablation."""
    return f"{name}, {ABLATIONS[ablation]}"


def control_words(name: str, control: tuple[str, Mapping[str, Any]] | None) -> str:
    """A control from `control_of`, in words; "" where there is none."""
    if control is None:
        return ""
    other, options = control
    if other == name:
        return f"{name} trained without attention"
    return f"{other} ({', '.join(f'{key}: {value}' for key, value in options.items())})"


def attention_sentence(name: str, gain: Mapping[str, Any]) -> str | None:
    """What a model's attention adds, in one sentence; None for a model without attention.

    Args:
        gain: `neutral`: what neutral attention is, `control`: what the control is (or ""), `differences`: by ablation
            and target, each `difference` and `ci95`.
    """
    differences = gain["differences"]
    if NEUTRAL not in differences:
        return None
    at_test = shown_difference(differences[NEUTRAL]["mean"])
    text = f"{name}'s attention changes its score by {at_test} at test ({gain['neutral']})"
    if RETRAINED not in differences:
        return f"{text}."
    return f"{text}, and by {shown_difference(differences[RETRAINED]['mean'])} against its control, {gain['control']}."


def attention_rows(gains: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per model: `model`, and by ablation the entry of the mean CCC, None where the model has none."""
    return [
        {"model": name, **{key: gain["differences"].get(key, {}).get("mean") for key in ABLATIONS}}
        for name, gain in gains.items()
    ]


def attention_markdown(gains: Mapping[str, Mapping[str, Any]], note: str) -> str:
    """Sentences and a Markdown table, to stand below other tables; `note` is about the intervals, or ""."""
    sentences = [sentence for name, gain in gains.items() if (sentence := attention_sentence(name, gain))]
    lines = ["", f"What attention adds{f' ({note})' if note else ''}. {EXPLAINED}", ""]
    lines += [f"- {sentence}" for sentence in sentences] + ([""] if sentences else [])
    lines += [f"| model | {' | '.join(ABLATIONS.values())} |", f"|---|{'---|' * len(ABLATIONS)}"]
    for row in attention_rows(gains):
        cells = ["–" if row[key] is None else shown_difference(row[key]) for key in ABLATIONS]
        lines.append(f"| {' | '.join([row['model'], *cells])} |")
    return "\n".join(lines) + "\n"


def shown_difference(entry: Mapping[str, Any]) -> str:
    """A difference with its interval, where there is one."""
    if entry["difference"] is None:
        return "–"
    ends: Sequence[float] | None = entry["ci95"]
    return f"{entry['difference']:+.3f}" + (f" [{ends[0]:+.3f}, {ends[1]:+.3f}]" if ends else "")
