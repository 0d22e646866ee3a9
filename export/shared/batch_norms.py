"""Folds batch normalisations into the convolutions before them. Needs torch only."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return the network with each (convolution, batch normalisation) pair as one convolution.

    The network itself stays as it is: a network with batch normalisations is copied.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
                convolution = child[0]
                assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
                transposed = isinstance(convolution, nn.ConvTranspose2d)
                setattr(module, name, fuse_conv_bn_eval(convolution, child[1], transpose=transposed))
    return folded
