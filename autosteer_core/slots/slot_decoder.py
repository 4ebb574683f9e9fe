"""Decode in slots: one token a step for all rows in flight, and a finished row's slot is filled again at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from autosteer_core.activations import Recorded, recorded
from autosteer_core.backbones.base import Backbone
from autosteer_core.budget import Budget, fitting
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import Answer, stop_ids
from autosteer_core.engine import in_order, silent
from autosteer_core.finite_logits import NO_LOGITS
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.request import Request
from autosteer_core.sampling import Sampling
from autosteer_core.slots.admission import Admission, Ended, Waiting
from autosteer_core.slots.agenda import Agenda
from autosteer_core.slots.compiled_blocks import CompiledBlocks
from autosteer_core.slots.row_masks import RowMasks
from autosteer_core.slots.slot import Slot
from autosteer_core.slots.slot_cache import SlotCache
from autosteer_core.slots.token_choice import TokenChoice
from autosteer_core.steering import steered
from autosteer_core.stopping import Endings
from autosteer_core.work import Course, Work, single

T = TypeVar("T")


class SlotDecoder:
    """Answers requests of any bundles side by side; all state belongs to a row, none to the model.

    `whole` decodes an answer to its end even where the second look has already opened its gate.

    Raises:
        UserMistake: the model's layers or generation settings are none that rows in slots can have.
    """

    def __init__(
        self,
        backbone: Backbone,
        slots: int,
        sampling: Sampling | None = None,
        pulse: Callable[[], None] = silent,
        *,
        whole: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self.backbone = backbone
        self._slots = slots
        self._sampling = sampling
        self._pulse = pulse
        self._whole = whole
        self._masks = RowMasks(backbone.model.config, backbone.model.dtype)
        self._pad: int = backbone.tokenizer.pad_token_id
        self._choice = TokenChoice(backbone, sampling)
        self._endings = Endings(backbone.tokenizer, stop_ids(backbone))
        self._compiled: CompiledBlocks | None = None
        self._cache = SlotCache(slots, len(backbone.blocks))
        self._budget = budget or Budget()
        self._admission = Admission(backbone, self._cache, slots, self._budget, pulse)
        self._busy = False

    def through(self, compiled: CompiledBlocks | None) -> "SlotDecoder":
        """This decoder, before its first use: its steps run through `compiled` blocks, or None, as the model is.

        A borderline row, which is decoded alone, never does: its slot's shapes would have to be compiled for it.
        """
        self._compiled = compiled
        self._cache.few_shapes = compiled is not None
        return self

    def decode(
        self, bundle: Bundle, requests: Sequence[Request], gates: Sequence[bool], *, look: bool
    ) -> list[Answer]:
        """One answer per request, in order, under gates that are decided; with `look` closed rows are read."""
        second = bundle.second_look if look else None
        works = [Work(request, bundle, gate, second) for request, gate in zip(requests, gates, strict=True)]
        answers = self.run(works)
        assert None not in answers, "a gate that is decided turns nothing away"
        return [answer for answer in answers if answer is not None]

    def run(self, works: Iterable[Work]) -> list[Answer | None]:
        """One answer per piece of work, in order; None where its gate turned it away."""
        return in_order(self.drive(map(single, works)))

    def drive(self, courses: Iterable[Course[T]]) -> Iterator[tuple[int, T]]:
        """The result of every course with its place, as it ends; `courses` may be endless, few are begun ahead.

        Raises:
            RuntimeError: another call has not ended yet, and its rows are in the slots.
        """
        if self._busy:
            raise RuntimeError("these slots are in use: end the stream that was begun before")
        self._busy = True
        try:
            yield from self._driven(Agenda(courses, self._slots))
        finally:
            self._busy = False

    def _driven(self, agenda: Agenda[T]) -> Iterator[tuple[int, T]]:
        live: list[Slot] = []
        while not agenda.done:
            self._pulse()
            agenda.read_ahead()
            for place, answer in self._turn(agenda, live):
                agenda.answer(place, answer)
            yield from agenda.ended()

    @torch.inference_mode()
    def _turn(self, agenda: Agenda[T], live: list[Slot]) -> list[Ended]:
        """One step for all rows, after free slots are filled; answers that ended, and work that was turned away."""
        ended = list(self._alone(agenda.alone, live))
        if not (agenda.alone and live):
            ended += self._admission.refill(agenda.waiting, live)
        if live and not fitting(partial(self._step, live)):
            ended += self._admission.give_way(agenda.waiting, live)
        return ended + [(slot.number, self._answer(slot)) for slot in self._cleared(live)]

    def _alone(self, works: Waiting, live: Sequence[Slot]) -> Iterator[Ended]:
        """A row that is borderline is decoded in a slot of its own, while the others wait: it is rare.

        Where memory does not suffice beside them, it waits until they have ended.
        """
        while works:
            place, work = works[0]
            decoder = SlotDecoder(
                self.backbone, 1, self._sampling, self._pulse, whole=self._whole, budget=self._budget
            )
            with self.backbone.features.ignored():
                answer = decoder.run([work])[0]
            if answer is not None and answer.flaw is not None and live:
                return
            works.popleft()
            yield place, answer

    def _step(self, live: Sequence[Slot]) -> None:
        device = self.backbone.model.device
        places_N, seen = self._cache.aim([slot.place for slot in live], device)
        idle = [0] * self._cache.idle(len(live))
        shifts_N = torch.tensor([slot.shift for slot in live] + idle, device=device)
        feeds_N = torch.tensor([slot.feed for slot in live] + [self._pad for _ in idle], device=device)
        layers = sorted({layer for slot in live if slot.due for layer in slot.work.bundle.layers})
        with ExitStack() as hooks:
            for head, gate_N in self._edits(live):
                hooks.enter_context(steered(self.backbone.head, head, gate_N))
            read = hooks.enter_context(recorded(self.backbone.blocks, layers))
            hooks.enter_context(self._compiled.installed(self._cache) if self._compiled else nullcontext())
            logits_N1V = self.backbone.model(
                input_ids=feeds_N[:, None],
                position_ids=(places_N + shifts_N)[:, None],
                attention_mask=self._masks.build(places_N, seen),
                past_key_values=self._cache,
                use_cache=True,
            ).logits
        self._look(live, read)
        logits_NV = logits_N1V[: len(live), -1]
        for slot, (token, logprob) in zip(live, self._choice.choose(logits_NV, live), strict=True):
            if token is None:
                slot.finish_reason = "error"
            elif slot.finish_reason is None:
                slot.take(token, self._endings, logprob)

    def _edits(self, live: Sequence[Slot]) -> Iterator[tuple[RefusalHead, Tensor]]:
        """Every head in flight with the rows that it edits in this step, (N,) bool."""
        heads = {id(slot.work.bundle.head): slot.work.bundle.head for slot in live if slot.edited}
        for key, head in heads.items():
            gates = [slot.edited and id(slot.work.bundle.head) == key for slot in live]
            idle = [False] * self._cache.idle(len(live))
            yield head, torch.tensor(gates + idle, device=head.down.device)

    def _look(self, live: Sequence[Slot], read: Recorded) -> None:
        """Second looks whose turn it is; a row that opens late ends here, because its answer will be withdrawn."""
        for row, slot in enumerate(live):
            probe, look = slot.due, slot.work.look
            if probe is None or look is None:
                continue
            seen = [read[layer][row].to(probe.mean.device) for layer in slot.work.bundle.layers]
            slot.risks += probe.risk(torch.cat(seen)[None]).tolist()
            if look.opens_after(slot.risks[-1:]) is not None and not self._whole:
                slot.finish_reason = "length"

    def _cleared(self, live: list[Slot]) -> list[Slot]:
        """Take finished rows out; the last row in flight moves into each gap."""
        finished = [slot for slot in live if slot.finish_reason is not None]
        for slot in finished:
            gap, last = live.index(slot), live.pop()
            if last is not slot:
                self._cache.move(len(live), gap)
                live[gap] = last
        return finished

    def _answer(self, slot: Slot) -> Answer:
        if slot.finish_reason == "error":
            return Answer.missing(NO_LOGITS)
        text = self._endings.text(slot.ids) if slot.text is None else slot.text
        reason = slot.finish_reason or "length"
        logprobs = tuple(slot.logprobs) if slot.work.request.logprobs else None
        return Answer(text, tuple(slot.ids), reason, slot.steered_tokens, tuple(slot.risks), logprobs)
