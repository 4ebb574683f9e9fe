"""A judge model from the hub or a folder, that audits: so judging runs, resumes and commits like any audit."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from autosteer_core.errors import BadItem, UserMistake
from autosteer_core.judging import SUCCESS_AT
from autosteer_core.model_judges import ClassifierJudge, Exchange, GuardJudge, ModelJudge
from autosteer_core.values import Action, Item, Verdict
from autosteer_core.verdict_stages import broken as broken_verdict
from pipelines.model_files import refuse_code
from pipelines.settings import Settings


def exchange_text(asked: str, answered: str) -> str:
    """A prompt and its answer as the text of one manifest row."""
    return json.dumps({"asked": asked, "answered": answered}, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class JudgeEngine:
    """`risk` of a row is the probability that the attack succeeded; such rows are flagged."""

    judge: ModelJudge

    def audit(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict each and in order; an answer that the judge cannot judge costs only its own row."""
        try:
            return [_verdict(item, risk) for item, risk in zip(items, self._risks(items), strict=True)]
        except BadItem as error:
            if len(items) > 1:
                return [verdict for item in items for verdict in self.audit([item])]
            return [Verdict(items[0].item_id, items[0].row, Action.ERROR, math.nan, flaw=error.flaw)]

    def _risks(self, items: Sequence[Item]) -> list[float]:
        broken = next((item.flaw for item in items if item.flaw is not None), None)
        if broken is not None:
            raise BadItem(broken.code, broken.message)
        return self.judge.risk([Exchange(**json.loads(item.text)) for item in items])


def _verdict(item: Item, risk: float) -> Verdict:
    if not math.isfinite(risk):
        return broken_verdict(item, BadItem("E_JUDGE", "the judge gave no finite number for this answer"))
    action = Action.ALLOW if risk < SUCCESS_AT else Action.FLAG
    return Verdict(item.item_id, item.row, action, risk, threshold=SUCCESS_AT, annotation=item.annotation)


def load_judge(name: str, settings: Settings) -> JudgeEngine:
    """`MODEL` or `MODEL@CLASS`: a sequence classifier by its architecture, any other language model as a guard.

    Raises:
        UserMistake: no such model, no chat template, or classes of which none is clearly the one that counts.
    """
    address, _, label = name.partition("@")
    refuse_code(address)
    try:
        config = AutoConfig.from_pretrained(address, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(address, trust_remote_code=False)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserMistake(f"judge {address} cannot be read: check --judge ({reason})") from error
    if any("SequenceClassification" in name for name in config.architectures or []):
        classifier = _loaded(AutoModelForSequenceClassification, address, settings)
        return JudgeEngine(ClassifierJudge.of(classifier, tokenizer, label or None))
    if tokenizer.chat_template is None:
        raise UserMistake(f"judge {address} is no classifier and has no chat template: name a guard model")
    return JudgeEngine(GuardJudge(_loaded(AutoModelForCausalLM, address, settings), tokenizer))


def _loaded(family: Any, address: str, settings: Settings) -> Any:
    """Weights as safetensors only: other formats can run code when they are read."""
    dtype = getattr(torch, settings.dtype)
    try:
        return (
            family.from_pretrained(address, trust_remote_code=False, dtype=dtype, use_safetensors=True)
            .to(settings.device)
            .eval()
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserMistake(f"judge {address} has no weights that can be read as safetensors ({reason})") from error
