"""Mixed precision: choose the arithmetic of the forward pass by the device's abilities."""

from dataclasses import dataclass

import torch

MAX_SKIPPED_STEPS = 20
"""Greatest number of consecutive float16 steps with overflowing gradients; beyond it the loss scale is not at fault."""


@dataclass(frozen=True)
class Precision:
    """The resolved arithmetic of the forward pass."""

    name: str
    dtype: torch.dtype | None
    reason: str

    @property
    def scales_loss(self) -> bool:
        """Whether to scale the loss: float16 gradients underflow without it; bfloat16 has float32's range."""
        return self.dtype is torch.float16

    def tags(self) -> dict[str, str]:
        """Tags for the experiment tracker."""
        return {"amp": self.name, "amp.reason": self.reason}


def resolve_precision(amp: str, device: str) -> Precision:
    """Turn `train.amp` (auto, off, float16, bfloat16) into arithmetic for `device`.

    `auto` chooses bfloat16 on GPUs that have it in hardware (compute capability 8 and above), float16 on older GPUs,
    and off on a CPU, where speed and bits would depend on the CPU's model.
    """
    if amp == "off":
        return Precision("off", None, "switched off")
    if amp != "auto":
        return Precision(amp, getattr(torch, amp), "asked for")
    if torch.device(device).type != "cuda":
        return Precision("off", None, "auto: on a CPU float32 is the arithmetic that gives the same bits everywhere")
    major, minor = torch.cuda.get_device_capability(device)
    if major >= 8:
        return Precision("bfloat16", torch.bfloat16, f"auto: GPU of compute capability {major}.{minor} has it")
    return Precision("float16", torch.float16, f"auto: GPU of compute capability {major}.{minor} lacks bfloat16")
