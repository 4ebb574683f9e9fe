"""What a user would run without this project: continuous batching, and the released code's way, one row at a time."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from transformers import ContinuousBatchingConfig, GenerationConfig

from autosteer_core.backbones.base import Backbone
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import Item

_PAGE = 256


def continuous_batching(backbone: Backbone, items: Sequence[Item], rows: int) -> tuple[float, dict[str, list[int]]]:
    """Seconds and answers of Transformers' own continuous batching with at most `rows` requests in a batch."""
    prompts = {item.item_id: backbone.encode(item).ids for item in items}
    longest = max(len(prompts[item.item_id]) + (item.max_new_tokens or 0) for item in items)
    limits = ContinuousBatchingConfig(
        page_size=_PAGE, num_blocks=(rows + 2) * (longest // _PAGE + 1), max_batch_tokens=4096,
        max_requests_per_batch=rows, use_cuda_graph=torch.cuda.is_available(),
    )  # fmt: skip
    settings = GenerationConfig(do_sample=False, eos_token_id=-1, max_new_tokens=longest)
    manager: Any = backbone.model.init_continuous_batching(settings, limits)
    answers: dict[str, list[int]] = {}
    started = perf_counter()
    try:
        manager.start()
        for item in items:
            manager.add_request(prompts[item.item_id], item.item_id, max_new_tokens=item.max_new_tokens)
        while len(answers) < len(items):
            found = manager.get_result(timeout=120)
            assert found is not None and not found.error, f"continuous batching gave up: {found}"
            answers[found.request_id] = found.generated_tokens
        return perf_counter() - started, answers
    finally:
        manager.stop(block=True)


@torch.inference_mode()
def released_form(backbone: Backbone, item: Item, head: RefusalHead, tokens: int) -> float:
    """Seconds of one row alone, its output matrix E + eps E M made anew for every token (AutoSteer eq. 12-13)."""
    output: Any = backbone.head
    edit_DD = (head.down @ head.up.T).to(output.weight)

    def rebuilt(module: Any, args: Any, logits: Any) -> Any:
        matrix_VD = module.weight + head.epsilon * module.weight @ edit_DD.T
        return args[0] @ matrix_VD.T

    handle = output.register_forward_hook(rebuilt)
    started = perf_counter()
    try:
        backbone.model.generate(
            **backbone.collate([backbone.encode(item)]),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=backbone.tokenizer.pad_token_id,
        )
        return perf_counter() - started
    finally:
        handle.remove()
