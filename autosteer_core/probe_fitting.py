"""Labelled activations of one layer to a calibrated probe."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from autosteer_core.probe import Probe


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """Width of the hidden layer and how it is trained; `patience` counts epochs without a better validation loss."""

    hidden: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-1
    epochs: int = 400
    patience: int = 40
    dropout: float = 0.2


def fit_probe(
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    seed: int,
    options: ProbeOptions | None = None,
) -> Probe:
    """Plain BCE on logits, classes weighted equally, best epoch by validation loss, then a temperature.

    `train` and `validation` are activations (N, d) and labels (N,), 1 = harmful. The paper's released code
    applies cross-entropy to a softmax; that flattens gradients and calibration, so it is not copied.
    """
    options = options or ProbeOptions()
    mean, scale = train[0].mean(dim=0), train[0].std(dim=0).clamp_min(1e-6)
    inputs, held_out = (train[0] - mean) / scale, (validation[0] - mean) / scale
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _train(inputs, train[1].float(), held_out, validation[1].float(), options)
    inner: Any = net[0]
    outer: Any = net[3]
    temperature = _temperature(net(held_out).squeeze(-1).detach(), validation[1].float())
    return Probe(
        mean=mean,
        scale=scale,
        inner_weight=inner.weight.detach(),
        inner_bias=inner.bias.detach(),
        outer_weight=outer.weight.detach()[0],
        outer_bias=outer.bias.detach()[0],
        temperature=temperature,
    )


def _train(
    inputs: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor, options: ProbeOptions
) -> nn.Sequential:
    net = nn.Sequential(
        nn.Linear(inputs.shape[1], options.hidden),
        nn.ReLU(),
        nn.Dropout(options.dropout),
        nn.Linear(options.hidden, 1),
    )
    optimiser = torch.optim.AdamW(net.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    balance = (1 - labels).sum() / labels.sum()
    best, best_loss, waited = net.state_dict(), math.inf, 0
    for _ in range(options.epochs):
        net.train()
        loss = binary_cross_entropy_with_logits(net(inputs).squeeze(-1), labels, pos_weight=balance)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        net.eval()
        with torch.no_grad():
            current = binary_cross_entropy_with_logits(net(held_out).squeeze(-1), held_out_labels, pos_weight=balance)
        waited += 1
        if current < best_loss:
            best = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            best_loss, waited = float(current), 0
        if waited > options.patience:
            break
    net.load_state_dict(best)
    return net


def _temperature(logits: Tensor, labels: Tensor) -> Tensor:
    """The scalar that minimises validation loss; a grid, because the loss is one-dimensional and smooth."""
    grid = torch.logspace(-1, 1, 201)
    losses = torch.stack([binary_cross_entropy_with_logits(logits / value, labels) for value in grid])
    return grid[losses.argmin()]


def expected_calibration_error(risk: NDArray[np.float64], harmful: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean gap between stated risk and observed harm over equal-width bins, weighted by their rows."""
    place = np.minimum((risk * bins).astype(int), bins - 1)
    gaps = [
        abs(risk[place == index].mean() - harmful[place == index].mean()) * (place == index).mean()
        for index in np.unique(place)
    ]
    return float(np.sum(gaps))
