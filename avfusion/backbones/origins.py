"""Origin and terms of weights: facts that travel with everything made from them."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Origin:
    """Origin of weights."""

    source: str
    licence: str

    def to_dict(self) -> dict[str, str]:
        """JSON-able form."""
        return asdict(self)


_TORCHVISION = "torchvision gives its weights no terms of its own: those of the data they were trained on may apply"
ORIGINS = {
    "random": Origin("random initial weights", ""),
    "kinetics400": Origin("torchvision, R2Plus1D_18_Weights.KINETICS400_V1", f"{_TORCHVISION} (Kinetics-400)"),
    "imagenet": Origin(
        "torchvision, ResNet18_Weights.IMAGENET1K_V1", f"{_TORCHVISION} (ImageNet: non-commercial research)"
    ),
    "tsav": Origin(
        "TSAV, arXiv 2002.03399, github.com/kuhnkeF/ABAW2020TNT",
        "its authors restrict the model to research purposes; trained on Aff-Wild2, possibly on videos that are in "
        "today's validation split",
    ),
    "jointcam": Origin(
        "fusion network published with the code of arXiv 2209.09068",
        "published without a licence; trained on Aff-Wild2, whose licence allows non-commercial research",
    ),
}
OWN_FILE = Origin("a file of the user's", "not known here")
