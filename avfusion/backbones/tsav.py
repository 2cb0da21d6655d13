"""The published two-stream aural-visual network TSAV (arXiv 2002.03399), the backbones of arXiv 2209.09068."""

from pathlib import Path

import torch
from torch import Tensor, nn

from avfusion.backbones.audio import SpectrogramResNet
from avfusion.backbones.registry import Output
from avfusion.backbones.visual import R2Plus1D
from avfusion.runtime.errors import BadInputError
from avfusion.runtime.named_tensors import load_named, read_checkpoint, refuse_unusable

OUTPUTS = 17
VISUAL_STEM = "video_model.r2plus1d.stem.0.weight"
STEM_SHAPE = (45, 4, 1, 7, 7)
OTHER = "is it the published fusion network? `avfusion import-weights jointcam FILE` takes that one"


class TSAVHead(nn.Module):
    """TSAV's one linear layer from both streams to 7 expressions, valence, arousal and 8 action units."""

    def __init__(self, audio_dim: int, visual_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(audio_dim + visual_dim, OUTPUTS)

    def forward(self, audio: Tensor, visual: Tensor) -> Tensor:
        """Audio (B, 512), visual (B, 512) or its map (B, 512, 7, 7) → (B, 17), unbounded; 7: valence, 8: arousal."""
        if visual.ndim == 4:
            visual = visual.mean(dim=(2, 3))
        return self.linear(torch.cat([audio, visual], dim=1))


def load_tsav(path: str | Path, output: Output = "pooled") -> tuple[SpectrogramResNet, R2Plus1D, TSAVHead]:
    """Read TSAV's published checkpoint: both backbones and the head, in eval mode on the CPU.

    Its visual stem has a fourth input channel, the mask of the face. It is dropped, as in the published fusion code,
    which equals a mask of zeros.

    Args:
        path: the checkpoint, in either container of PyTorch. Nothing in it is executed.
        output: output of the visual network: `pooled` or `map`.

    Returns:
        audio: log-mel spectrograms (B, 1, 64, T) → (B, 512).
        visual: normalised RGB clips (B, 3, 8, 112, 112) → (B, 512), or the map before pooling (B, 512, 7, 7).
        head: (audio, visual) → (B, 17).

    Raises:
        BadInputError: `output` is invalid; the file is not a complete checkpoint, or names code; names or shapes differ
            from TSAV's (they are listed); values are NaN or infinite.
    """
    if output not in ("pooled", "map"):
        raise BadInputError(f"output is {output!r}: must be one of pooled, map")
    try:
        state = read_checkpoint(path, "state_dict")
    except BadInputError as error:
        if "scalar" in str(error):  # the other published file has such numbers beside its tensors
            error = BadInputError(f"{error} ({OTHER})")
        raise error from None
    if any(name.startswith("coattn.") for name in state):
        raise BadInputError(f"{path} is not TSAV's checkpoint: {OTHER}")
    stem = state.get(VISUAL_STEM)
    if stem is not None:
        if stem.shape != STEM_SHAPE:
            raise BadInputError(
                f"weights {path} do not fit: {VISUAL_STEM} is {tuple(stem.shape)}, {STEM_SHAPE} is needed"
            )
        refuse_unusable({VISUAL_STEM: stem}, str(path))
        state[VISUAL_STEM] = stem[:, :3].contiguous()
    audio, visual = SpectrogramResNet(), R2Plus1D(output=output)
    head = TSAVHead(audio.feature_dim, visual.feature_dim)
    published = nn.ModuleDict(  # under the published names
        {
            "audio_model": nn.ModuleDict({"resnet": audio}),
            "video_model": nn.ModuleDict({"r2plus1d": visual}),
            "fc": nn.ModuleDict({"1": head.linear}),
        }
    )
    load_named(published, state, str(path))
    published.eval()
    return audio, visual, head.eval()
