"""Statistics of batch normalisation while a backbone trains."""

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from avfusion.runtime.errors import BadInputError
from avfusion.training.processes import Processes


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """All layers of batch normalisation."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]


def freeze_statistics(network: nn.Module) -> None:
    """Let a network in training mode normalise by its stored statistics without updating them.

    Scales and shifts are still trained. A clip's output then does not depend on its batch, as in feature extraction;
    the small batches of fine-tuning would give poor statistics.
    """
    for module in batch_norms(network):
        module.eval()


def synchronise_statistics(network: nn.Module, processes: Processes) -> None:
    """Let the processes normalise by the statistics of their common batch; a single process needs no change.

    Raises:
        BadInputError: there are several processes without a GPU, which torch does not support.
    """
    if processes.count == 1 or not batch_norms(network):
        return
    if processes.device == "cpu":
        raise BadInputError(
            f"backbones.batch_norm is train: statistics of a batch that {processes.count} processes share are "
            "synchronised on GPUs only. On a CPU, set it to frozen, or train in one process"
        )
    nn.SyncBatchNorm.convert_sync_batchnorm(network)  # replaces inner layers in place
