"""One answer to give: the prompt, how long it may be, and what makes its sampling its own."""

from dataclasses import dataclass

from autosteer_core.backbones.base import Prompt
from autosteer_core.backbones.context import check_context
from autosteer_core.engine import EngineOptions
from autosteer_core.errors import BadItem
from autosteer_core.values import Item


@dataclass(frozen=True, slots=True)
class Request:
    """`group` finds the wording of its refusal; equal seeds give equal samples, whatever is decoded beside.

    The answer ends before the first of the strings in `stop`; with `logprobs` each token tells how likely it was.
    """

    prompt: Prompt
    max_new_tokens: int
    group: str = ""
    seed: int = 0
    stop: tuple[str, ...] = ()
    logprobs: bool = False


def request_of(
    item: Item, prompt: Prompt | BadItem, options: EngineOptions, context_tokens: int | None
) -> Request | BadItem:
    """The item's own limit counts where it is lower than the run's; what is bad, or too long to answer, stays bad."""
    if isinstance(prompt, BadItem):
        return prompt
    longest = min(options.max_new_tokens, item.max_new_tokens or options.max_new_tokens)
    try:
        check_context(len(prompt.ids), longest, context_tokens)
    except BadItem as error:
        return error
    seed = options.sampling.seed(item.item_id) if options.sampling else 0
    return Request(prompt, longest, item.annotation.group_name, seed, options.stop, options.logprobs)
