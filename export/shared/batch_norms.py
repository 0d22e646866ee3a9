"""Batch normalisations made part of the convolutions before them. Needs torch alone."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return a copy whose batch normalisations are part of the convolutions before them."""
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Sequential) and len(child) == 2 and isinstance(child[1], nn.BatchNorm2d):
                convolution = child[0]
                assert isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d)
                transposed = isinstance(convolution, nn.ConvTranspose2d)
                setattr(module, name, fuse_conv_bn_eval(convolution, child[1], transpose=transposed))
    return folded
