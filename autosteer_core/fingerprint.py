"""The identity of base weights, tokenizer, template, picture processing and dtype that a bundle belongs to."""

import hashlib
import json
from typing import Any

import torch
from torch import nn

from autosteer_core.values import Fingerprint


def fingerprint(model: nn.Module, processor: Any) -> Fingerprint:
    """SHA-256 over every parameter's and buffer's bytes in memory, tokenizer, template and image processor.

    What is hashed is what will run, so a folder changed after loading, a different dtype or quantised weights
    cannot pass. A text-only family has its tokenizer in place of a processor.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().contiguous().cpu().flatten().view(torch.uint8).numpy())
    tokenizer = getattr(processor, "tokenizer", processor)
    digest.update(tokenizer.backend_tokenizer.to_str().encode())
    template = getattr(processor, "chat_template", None) or tokenizer.chat_template
    digest.update(json.dumps(template, sort_keys=True).encode())
    image_processor = getattr(processor, "image_processor", None)
    digest.update(json.dumps(image_processor and image_processor.to_dict(), sort_keys=True, default=str).encode())
    return Fingerprint(digest.hexdigest())
