"""Reads one drawn word: finds the ink, spells it letter by letter, looks the spelling up in a lexicon."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LETTERS = "abcdefghijklmnopqrstuvwxyz"
BLANK = len(LETTERS)
NEVER = -1e4
TALL, WIDE, MARGIN = 32, 160, 2
SHORT_LIST = 32
INK = 0.35
# Width in, width out, stride down, stride across.
LAYERS = (
    (1, 24, 2, 2),
    (24, 40, 1, 1),
    (40, 64, 2, 2),
    (64, 80, 1, 1),
    (80, 112, 2, 1),
    (112, 112, 1, 1),
)
COLUMN = 160


def ink_of(pixels_B3HW: Tensor) -> Tensor:
    """How far each pixel is from the colour of the border: 0 on the ground, 1 on the strongest ink."""
    x = pixels_B3HW.float()
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], -1)
    ink = (x - border.median(-1).values[..., None, None]).abs().amax(1, keepdim=True)
    return ink / ink.amax((-2, -1), keepdim=True).clamp(min=1e-3)


def _extent(found_BN: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last true place; everything where nothing is found."""
    size = found_BN.shape[1]
    any_B = found_BN.any(1)
    first = found_BN.float().argmax(1)
    last = size - found_BN.flip(1).float().argmax(1)
    return torch.where(any_B, first, 0).float(), torch.where(any_B, last, size).float()


def line_of(pixels_B3HW: Tensor) -> Tensor:
    """The ink cut out and scaled to one line of fixed height, squeezed only if it is too long."""
    ink = ink_of(pixels_B3HW)
    marked = F.avg_pool2d(ink, 3, 1, 1)[:, 0] > INK
    top, bottom = _extent(marked.any(2))
    left, right = _extent(marked.any(1))
    step_y = (bottom - top) / (TALL - 2 * MARGIN)
    step_x = torch.maximum(step_y, (right - left) / (WIDE - 2 * MARGIN))
    height, width = ink.shape[-2:]
    columns = left[:, None] + (torch.arange(WIDE, device=ink.device) + 0.5 - MARGIN) * step_x[:, None]
    rows = top[:, None] + (torch.arange(TALL, device=ink.device) + 0.5 - MARGIN) * step_y[:, None]
    x = (2 * columns / width - 1)[:, None, :].expand(-1, TALL, -1)
    y = (2 * rows / height - 1)[:, :, None].expand(-1, -1, WIDE)
    return F.grid_sample(ink, torch.stack([x, y], -1), align_corners=False)


class WordReader(nn.Module):
    """A line of ink to letter log-probabilities, then to weights over the words of a lexicon."""

    spelling: Tensor

    def __init__(self, words: int, word_letters: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=(down, across), padding=1) for i, o, down, across in LAYERS
        )
        self.column = nn.Conv1d(LAYERS[-1][1] * TALL // 8, COLUMN, 1)
        self.context = nn.ModuleList(nn.Conv1d(COLUMN, COLUMN, 5, padding=2) for _ in range(2))
        self.letters = nn.Conv1d(COLUMN, BLANK + 1, 1)
        self.register_buffer("spelling", torch.full((words, word_letters), BLANK, dtype=torch.uint8))

    def letter_logits(self, line_B1HW: Tensor) -> Tensor:
        """Per column: 26 letters, then blank."""
        x = line_B1HW.to(self.letters.weight.dtype)
        for layer in self.layers:
            x = F.relu(layer(x))
        x = F.relu(self.column(x.flatten(1, 2)))
        for layer in self.context:
            x = x + F.relu(layer(x))
        logits: Tensor = self.letters(x).transpose(1, 2)
        return logits

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """Weights over the lexicon that sum to one."""
        log_BTL = self.letter_logits(line_of(pixels_B3HW)).float().log_softmax(-1)
        spelling = self.spelling.long()
        short_BK = self._short_list(log_BTL, spelling)
        scores_BK = spelled_log_probability(log_BTL, spelling[short_BK])
        weights = torch.zeros(len(log_BTL), len(spelling), device=log_BTL.device)
        return weights.scatter(1, short_BK, scores_BK.softmax(-1))

    def _short_list(self, log_BTL: Tensor, spelling_WL: Tensor) -> Tensor:
        """The words whose letters are all somewhere in the line and that leave few letters over."""
        seen = log_BTL.amax(1)
        count = F.one_hot(spelling_WL, BLANK + 1).float()
        count[..., BLANK] = 0
        wanted_WL = count.sum(1)
        found = seen.exp()
        found[:, BLANK] = 0
        score = seen @ wanted_WL.T - 4 * (found @ (wanted_WL == 0).float().T)
        return score.topk(min(SHORT_LIST, len(spelling_WL)), dim=1).indices


def spelled_log_probability(log_BTL: Tensor, spelling_BKL: Tensor) -> Tensor:
    """Log-probability of each spelling under connectionist temporal classification (the forward pass)."""
    batch, words, length = spelling_BKL.shape
    states = torch.full((batch, words, 2 * length + 1), BLANK, device=log_BTL.device)
    states[..., 1::2] = spelling_BKL
    skip = torch.zeros_like(states, dtype=torch.bool)
    skip[..., 3::2] = spelling_BKL[..., 1:] != spelling_BKL[..., :-1]
    ends = 2 * (spelling_BKL != BLANK).sum(-1, keepdim=True)
    emitted = log_BTL[:, :, None, :].expand(-1, -1, words, -1)
    alpha = torch.full(states.shape, NEVER, device=log_BTL.device)
    alpha[..., :2] = emitted[:, 0].gather(-1, states[..., :2])
    for t in range(1, log_BTL.shape[1]):
        one = F.pad(alpha, (1, 0), value=NEVER)[..., :-1]
        two = F.pad(alpha, (2, 0), value=NEVER)[..., :-2].masked_fill(~skip, NEVER)
        alpha = torch.stack([alpha, one, two]).logsumexp(0) + emitted[:, t].gather(-1, states)
    last = torch.cat([alpha.gather(-1, ends), alpha.gather(-1, (ends - 1).clamp(min=0))], -1)
    return last.logsumexp(-1)
