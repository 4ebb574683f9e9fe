"""EfficientNet-Lite0 as plain convolutions: normalisation folded in, nothing to download."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

# Repeats, kernel, stride, expansion, width out.
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FEATURES = 1280


class SameConv(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding, which the pretrained weights expect."""

    def __init__(self, in_width: int, out_width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(in_width, out_width, kernel, stride=stride, groups=groups, bias=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pad bottom and right first, as TensorFlow does for even sizes."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        gaps = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x_BCHW.shape[-2:]]
        if any(gaps):
            tall, wide = gaps
            x_BCHW = F.pad(x_BCHW, (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2))
        return super().forward(x_BCHW)


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel, shrink; batch normalisation is already folded in."""

    def __init__(self, in_width: int, out_width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_width * expansion
        self.expand = SameConv(in_width, inner, 1) if expansion > 1 else nn.Identity()
        self.filter = SameConv(inner, inner, kernel, stride, groups=inner)
        self.shrink = SameConv(inner, out_width, 1)
        self.skips = stride == 1 and in_width == out_width
        self.expands = expansion > 1

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Residual only where shapes allow."""
        inner = F.relu6(self.expand(x_BCHW)) if self.expands else x_BCHW
        out: Tensor = self.shrink(F.relu6(self.filter(inner)))
        return x_BCHW + out if self.skips else out


class Trunk(nn.Module):
    """EfficientNet-Lite0 without its classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(3, 32, 3, 2)
        blocks, width = [], 32
        for repeats, kernel, stride, expansion, out_width in BLOCKS:
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                blocks.append(InvertedBottleneck(width, out_width, kernel, step, expansion))
                width = out_width
        self.blocks = nn.ModuleList(blocks)
        self.head = SameConv(width, FEATURES, 1)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """Mean over positions of the last feature map."""
        x = F.relu6(self.stem(x_B3HW))
        for block in self.blocks:
            x = block(x)
        features: Tensor = F.relu6(self.head(x)).mean((-2, -1))
        return features
