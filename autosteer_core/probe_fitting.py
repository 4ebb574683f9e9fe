"""Labelled activations to a calibrated probe."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from autosteer_core.probe import Probe


@dataclass(frozen=True, slots=True)
class Examples:
    """Activations (N, d), labels (N,) with 1 = harmful, and a weight per row, (N,)."""

    activation_ND: Tensor
    harmful_N: Tensor
    weight_N: Tensor

    @classmethod
    def of(cls, activation_ND: Tensor, harmful_N: Tensor) -> "Examples":
        """Equally weighted rows."""
        return cls(activation_ND, harmful_N.float(), torch.ones(len(harmful_N)))


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """`hidden` 0 fits a linear probe; `patience` counts epochs without a better validation loss.

    `label_noise` is the share of labels believed to be wrong: the loss is corrected for it. More than `large` rows
    are trained on in mini-batches of `batch`, at most `passes` times over, until `calm` passes brought nothing.
    """

    hidden: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-1
    epochs: int = 400
    patience: int = 40
    dropout: float = 0.2
    label_noise: float = 0.0
    large: int = 16_384
    batch: int = 1024
    passes: int = 6
    calm: int = 1


def fit_probe(train: Examples, validation: Examples, seed: int, options: ProbeOptions | None = None) -> Probe:
    """BCE on logits, classes weighted equally, best epoch by validation loss, then temperature and bias.

    The paper's released code applies cross-entropy to a softmax; that flattens gradients and calibration, so it is
    not copied. Wrong labels are met by forward correction (Patrini et al., 2017): the probe's risk is passed through
    the noise before it is compared with the label, so that the risk itself stays clean.
    """
    options = options or ProbeOptions()
    mean, scale = train.activation_ND.mean(dim=0), train.activation_ND.std(dim=0).clamp_min(1e-6)
    standard = [replace(rows, activation_ND=(rows.activation_ND - mean) / scale) for rows in (train, validation)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _train(standard[0], standard[1], options)
    logit_N = net(standard[1].activation_ND).squeeze(-1).detach()
    return _calibrated(_probe(net, mean, scale), logit_N, validation, options)


def fit_site_probes(
    train: Examples, validation: Examples, sites: int, seed: int, options: ProbeOptions | None = None
) -> Probe:
    """One probe a site, each on its share of the columns; their mean logit, calibrated again, is one wider probe.

    A single probe over all columns fits the training sources more closely and unseen ones less well.
    """
    options = options or ProbeOptions()
    width = train.activation_ND.shape[1] // sites
    if sites == 1:
        return fit_probe(train, validation, seed, options)
    probes = [
        fit_probe(_columns(train, start, width), _columns(validation, start, width), seed, options)
        for start in range(0, sites * width, width)
    ]
    mean = _mean_of(probes)
    return _calibrated(mean, mean.logit(validation.activation_ND), validation, options)


def _columns(rows: Examples, start: int, width: int) -> Examples:
    return replace(rows, activation_ND=rows.activation_ND[:, start : start + width])


def _mean_of(probes: Sequence[Probe]) -> Probe:
    """Block-diagonal inner weights: every probe reads its own columns."""
    share = [1 / (probe.temperature * len(probes)) for probe in probes]
    return Probe(
        mean=torch.cat([probe.mean for probe in probes]),
        scale=torch.cat([probe.scale for probe in probes]),
        inner_weight=torch.block_diag(*(probe.inner_weight for probe in probes)),
        inner_bias=torch.cat([probe.inner_bias for probe in probes]),
        outer_weight=torch.cat([probe.outer_weight * part for probe, part in zip(probes, share, strict=True)]),
        outer_bias=torch.stack([probe.outer_bias * part for probe, part in zip(probes, share, strict=True)]).sum(),
        temperature=torch.tensor(1.0),
    )


def _train(train: Examples, validation: Examples, options: ProbeOptions) -> nn.Sequential:
    net = _network(train.activation_ND.shape[1], options)
    optimiser = torch.optim.AdamW(net.parameters(), options.learning_rate, weight_decay=options.weight_decay)
    best, best_loss, waited = net.state_dict(), math.inf, 0
    large = len(train.harmful_N) > options.large
    epochs, patience = (options.passes, options.calm - 1) if large else (options.epochs, options.patience)
    for _ in range(epochs):
        net.train()
        for loss in _mini_batches(net, train, options) if large else _whole(net, train, options):
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        net.eval()
        with torch.no_grad():
            current = float(_loss(net(validation.activation_ND).squeeze(-1), validation, options))
        waited += 1
        if current < best_loss:
            best = {name: tensor.clone() for name, tensor in net.state_dict().items()}
            best_loss, waited = current, 0
        if waited > patience:
            break
    net.load_state_dict(best)
    return net


def _whole(net: nn.Module, train: Examples, options: ProbeOptions) -> Iterator[Tensor]:
    yield _loss(net(train.activation_ND).squeeze(-1), train, options)


def _mini_batches(net: nn.Module, train: Examples, options: ProbeOptions) -> Iterator[Tensor]:
    """The loss of every batch of a new order: on average that of the whole, with the same balance of the labels."""
    weight_N = _balanced(train) * len(train.harmful_N)
    for rows_B in torch.randperm(len(train.harmful_N)).split(options.batch):
        logit_B = net(train.activation_ND[rows_B]).squeeze(-1)
        yield _cross_entropy(logit_B, train.harmful_N[rows_B], weight_N[rows_B] / len(rows_B), options)


def _network(width: int, options: ProbeOptions) -> nn.Sequential:
    if options.hidden == 0:
        return nn.Sequential(nn.Linear(width, 1))
    inner = nn.Linear(width, options.hidden)
    return nn.Sequential(inner, nn.ReLU(), nn.Dropout(options.dropout), nn.Linear(options.hidden, 1))


def _loss(logit_N: Tensor, rows: Examples, options: ProbeOptions) -> Tensor:
    return _cross_entropy(logit_N, rows.harmful_N, _balanced(rows), options)


def _balanced(rows: Examples) -> Tensor:
    """Both labels carry the same total weight, whatever their numbers."""
    harmful_N, weight_N = rows.harmful_N, rows.weight_N
    half_harmful, half_benign = 0.5 / (weight_N * harmful_N).sum(), 0.5 / (weight_N * (1 - harmful_N)).sum()
    return weight_N * torch.where(harmful_N == 1, half_harmful, half_benign)


def _cross_entropy(logit_N: Tensor, harmful_N: Tensor, weight_N: Tensor, options: ProbeOptions) -> Tensor:
    if options.label_noise == 0:
        return binary_cross_entropy_with_logits(logit_N, harmful_N, weight_N, reduction="sum")
    noisy_N = options.label_noise + (1 - 2 * options.label_noise) * torch.sigmoid(logit_N)
    return binary_cross_entropy(noisy_N, harmful_N, weight_N, reduction="sum")


def _probe(net: nn.Sequential, mean: Tensor, scale: Tensor) -> Probe:
    layers: list[Any] = [module for module in net if isinstance(module, nn.Linear)]
    first, last = layers[0], layers[-1]
    if first is last:
        # ReLU(x) - ReLU(-x) = x: a linear probe in the same form.
        inner_weight, inner_bias = torch.cat([first.weight, -first.weight]), torch.cat([first.bias, -first.bias])
        outer_weight, outer_bias = torch.tensor([1.0, -1.0]), torch.tensor(0.0)
    else:
        inner_weight, inner_bias = first.weight, first.bias
        outer_weight, outer_bias = last.weight[0], last.bias[0]
    tensors = (mean, scale, inner_weight, inner_bias, outer_weight, outer_bias, torch.tensor(1.0))
    return Probe(*(tensor.detach() for tensor in tensors))


def _calibrated(probe: Probe, logit_N: Tensor, rows: Examples, options: ProbeOptions) -> Probe:
    """Platt scaling on the validation rows at their own share of harm, which training had balanced away."""
    log_temperature, bias = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature, bias], max_iter=100, line_search_fn="strong_wolfe")
    weight_N = rows.weight_N / rows.weight_N.sum()

    def closure() -> Tensor:
        optimiser.zero_grad()
        scaled_N = logit_N / log_temperature.clamp(-3, 3).exp() + bias
        loss = _cross_entropy(scaled_N, rows.harmful_N, weight_N, options) + 1e-4 * bias.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    temperature = log_temperature.detach().clamp(-3, 3).exp()[0]
    return replace(probe, outer_bias=probe.outer_bias + bias.detach()[0] * temperature, temperature=temperature)


def validation_loss(probe: Probe, rows: Examples, options: ProbeOptions) -> float:
    """The loss that stopped the training, of the finished probe: smaller is better between probes."""
    return float(_loss(probe.logit(rows.activation_ND), rows, options))


def expected_calibration_error(risk: NDArray[np.float64], harmful: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean gap between stated risk and observed harm over equal-width bins, weighted by their rows."""
    place = np.minimum((risk * bins).astype(int), bins - 1)
    gaps = [
        abs(risk[place == index].mean() - harmful[place == index].mean()) * (place == index).mean()
        for index in np.unique(place)
    ]
    return float(np.sum(gaps))
