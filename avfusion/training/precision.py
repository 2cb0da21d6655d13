"""Mixed precision: which arithmetic the forward pass uses, decided by what the device can do."""

from dataclasses import dataclass

import torch

MAX_SKIPPED_STEPS = 20
"""Float16 steps in a row whose gradients may overflow; after more of them, the loss scale cannot be the reason."""


@dataclass(frozen=True)
class Precision:
    """The resolved arithmetic of the forward pass.

    Attributes:
        name: off, float16 or bfloat16.
        dtype: what autocast uses; None: no autocast.
        reason: why, in words.
    """

    name: str
    dtype: torch.dtype | None
    reason: str

    @property
    def scales_loss(self) -> bool:
        """Gradients of float16 underflow without loss scaling; bfloat16 has float32's range."""
        return self.dtype is torch.float16

    def tags(self) -> dict[str, str]:
        """Words for the experiment tracker."""
        return {"amp": self.name, "amp.reason": self.reason}


def resolve_precision(amp: str, device: str) -> Precision:
    """Turn `train.amp` (auto, off, float16, bfloat16) into arithmetic for `device`.

    `auto` takes bfloat16 where the GPU has it in hardware (compute capability 8 and above), float16 on older GPUs, and
    nothing on a CPU, where it would be slower or not, and other bits, from one model of CPU to the next.
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
