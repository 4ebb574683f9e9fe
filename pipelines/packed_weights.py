"""4-bit weights on CPUs with bfloat16 instructions: bitsandbytes packs them at the first pass, if it can."""

from typing import Any

from torch import nn

_ROWS = 32  # that one pack holds side by side


def pack_only_what_fits(model: nn.Module) -> None:
    """Matrices of other shapes are computed as on any CPU; left alone, bitsandbytes ends in an assertion."""
    layer: Any
    for layer in model.modules():
        if getattr(layer, "support_avx512bf16_for_cpu", False):
            whole = layer.out_features % _ROWS == 0 and layer.in_features % layer.weight.quant_state.blocksize == 0
            layer.support_avx512bf16_for_cpu = whole
