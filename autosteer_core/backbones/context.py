"""The model's context: prompt and answer together must fit, because beyond it positions were never trained."""

from autosteer_core.errors import BadItem


def check_context(prompt_tokens: int, answer_tokens: int, context_tokens: int | None) -> None:
    """Nothing, where there is room or the model states no limit.

    Raises:
        BadItem: E_CONTEXT.
    """
    if context_tokens is not None and prompt_tokens + answer_tokens > context_tokens:
        raise BadItem(
            "E_CONTEXT",
            f"the prompt has {prompt_tokens} tokens and the answer up to {answer_tokens}, the model's context holds "
            f"{context_tokens}: shorten the item, lower max_new_tokens, or choose a model with a longer context",
        )
