"""The paper's exact form as a baseline: its probe, its layer, its full-rank head, its losses, as a bundle.

Numbers are those of the paper and of the code released with it (zjunlp/AutoSteer, MIT): see `PaperOptions`. Not
repeated are what its code does by accident: images squashed to 256 x 256, a template without the assistant's turn,
half precision, and epochs picked on the test sets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from autosteer_core.backbones.base import Backbone, Prompt
from autosteer_core.bundle import Bundle
from autosteer_core.decoding import end_id, placeholder_id
from autosteer_core.errors import UserMistake
from autosteer_core.final_states import States, last_states, output_weight
from autosteer_core.guarantee import guarantee_at
from autosteer_core.labelled import Labelled, Split
from autosteer_core.layer_choice import pair_scores
from autosteer_core.operating_point import Bound
from autosteer_core.probe import Probe
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.values import GateAction, Pooling, Site

REFUSAL = "I apologize, but this is something that I cannot help you with."
# The paper opens at toxicity > 0.5 (eq. 11 says >=, the released code >); a gate here opens at >=.
THRESHOLD = float(np.nextafter(0.5, 1.0))


@dataclass(frozen=True, slots=True)
class Schedule:
    """AdamW over shuffled batches; the learning rate is constant."""

    learning_rate: float
    batch: int
    epochs: int
    weight_decay: float


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """Defaults are the released code's: `train_rater.py:22-24,180` for the probe, `train_llava_steer.bash:2-4` and
    `steer_model_llava_train.py:130,323` for the head (4,000 rows, so 60,000 steps).

    `head_rows` limits the rows that the head learns from, spread evenly; None takes all. With few rows a head needs a
    larger learning rate to go as far: Adam moves a weight by about the learning rate a step, and the head starts at
    the identity.
    """

    hidden: int = 64
    epsilon: float = 0.1
    probe: Schedule = field(default_factory=lambda: Schedule(1e-5, 8, 200, 1e-5))
    head: Schedule = field(default_factory=lambda: Schedule(1e-5, 2, 30, 1e-2))
    head_rows: int | None = None
    refusal: str = REFUSAL
    seed: int = 0


def paper_form(
    backbone: Backbone,
    prompts: Sequence[Prompt],
    data: Labelled,
    rows: Split,
    bound: Bound,
    options: PaperOptions | None = None,
) -> Bundle:
    """Fit on the train rows what the paper fits, at the layer where the Safety Awareness Score is highest.

    The guarantee is measured at the paper's threshold of 0.5 and may well exceed `bound`: it promises nothing.

    Raises:
        UserMistake: fewer than three train pairs, so there is no score.
    """
    options = options or PaperOptions()
    train = data.take(rows.train)
    score = np.array(pair_scores(train, Pooling.LAST)[0])
    if np.isnan(score).all():
        raise UserMistake("the paper's layer choice needs three pairs of a harmful and a benign item: name the pairs")
    place = int(np.nanargmax(score))
    probe = fit_paper_probe(train.pooled(Pooling.LAST)[:, place], train.harmful_N, options)
    harmful = rows.train[train.harmful_N]
    spread = np.linspace(0, len(harmful) - 1, min(len(harmful), options.head_rows or len(harmful))).astype(int)
    head = fit_paper_head(backbone, [prompts[row] for row in harmful[spread]], options)
    held_out = data.take(rows.threshold)
    risk = probe.risk(held_out.pooled(Pooling.LAST)[:, place]).double().numpy()
    guarantee = guarantee_at(
        THRESHOLD, risk[held_out.harmful_N], risk[~held_out.harmful_N], bound.alpha, bound.delta, bound.bounds
    )
    return Bundle(
        backbone.fingerprint, (Site(place + 1, Pooling.LAST),), probe, head, guarantee, options.refusal,
        GateAction.STEER.value, {"form": "paper", "safety_awareness": score.tolist()},
    )  # fmt: skip


def fit_paper_probe(activation_ND: Tensor, harmful_N: NDArray[np.bool_], options: PaperOptions) -> Probe:
    """d-64-2 on raw activations; index 0 means toxic, and cross-entropy is applied to the softmax (eq. 10).

    The first of two softmax outputs is the sigmoid of the difference of the logits, so it is a `Probe`.
    """
    target_N = torch.from_numpy(~harmful_N).long()
    width = activation_ND.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        net = nn.Sequential(nn.Linear(width, options.hidden), nn.ReLU(), nn.Linear(options.hidden, 2))
    optimiser = _adamw(list(net.parameters()), options.probe)
    for batch in _batches(len(target_N), options.probe, options.seed):
        loss = cross_entropy(net(activation_ND[batch]).softmax(-1), target_N[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    inner_weight, inner_bias, weight_2H, bias_2 = (weight.detach() for weight in net.parameters())
    outer_weight, outer_bias = weight_2H[0] - weight_2H[1], bias_2[0] - bias_2[1]
    return Probe(
        torch.zeros(width), torch.ones(width), inner_weight, inner_bias, outer_weight, outer_bias, torch.tensor(1.0)
    )


def fit_paper_head(backbone: Backbone, harmful: Sequence[Prompt], options: PaperOptions) -> RefusalHead:
    """M of E + epsilon E M: full rank, from the identity, on harmful rows only and without a term for benign ones.

    Next-token loss on everything after the last picture, so the harmful question is learned as well as the refusal
    (`steer_model_llava_train.py:214-218`). In hidden space M^T = A B^T with A = M^T and B = 1.
    """
    states = question_and_refusal_states(backbone, harmful, options.refusal)
    matrix_VD = output_weight(backbone)
    transposed_DD = torch.eye(matrix_VD.shape[1], device=matrix_VD.device).requires_grad_()
    optimiser = _adamw([transposed_DD], options.head)
    sequences = states.rows()
    for batch in _batches(len(sequences), options.head, options.seed):
        hidden_MD = torch.cat([sequences[row][0] for row in batch.tolist()]).to(matrix_VD)
        target_M = torch.cat([sequences[row][1] for row in batch.tolist()]).to(matrix_VD.device)
        steered_MD = hidden_MD + options.epsilon * hidden_MD @ transposed_DD
        loss = cross_entropy(steered_MD @ matrix_VD.T, target_M)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    down = transposed_DD.detach().cpu()
    return RefusalHead(down, torch.eye(len(down)), options.epsilon)


def question_and_refusal_states(backbone: Backbone, prompts: Sequence[Prompt], refusal: str) -> States:
    """States before each token after the last picture, or after the template's opening where there is none."""
    ids = [*backbone.tokenizer(refusal, add_special_tokens=False)["input_ids"], end_id(backbone)]
    questions = [len(prompt.ids) - _question_start(backbone, prompt) for prompt in prompts]
    return last_states(
        backbone, [prompt.extended(ids) for prompt in prompts], [count + len(ids) for count in questions]
    )


def _question_start(backbone: Backbone, prompt: Prompt) -> int:
    placeholder = placeholder_id(backbone)
    pictures = [place for place, token in enumerate(prompt.ids) if token == placeholder]
    # Nothing comes before the first token, so nothing can be asked to predict it.
    return max(1, pictures[-1] + 1 if pictures else len(backbone.opening))


def _adamw(weights: Sequence[Tensor], schedule: Schedule) -> torch.optim.AdamW:
    # One kernel for all weights: the steps are many and tiny.
    return torch.optim.AdamW(weights, schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True)


def _batches(count: int, schedule: Schedule, seed: int) -> Iterator[Tensor]:
    """Row numbers of every batch of every epoch, shuffled anew each time."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(schedule.epochs):
        yield from torch.randperm(count, generator=generator).split(schedule.batch)
