"""Labelled items as arrays, and splits that keep twins and sources together."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from autosteer_core.errors import UserMistake
from autosteer_core.values import Item, Label, Pooling, Site

MIN_SOURCES = 5
FEW, MANY = 5, 10


class HoldOut(StrEnum):
    """What is held out whole: sources with their pairs, or pairs; `auto` takes sources where there are enough."""

    AUTO = "auto"
    SOURCE = "source"
    PAIR = "pair"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Activations (N, L, 2, d) of labelled items by layer 1 to L and pooling; row n of every field is one item.

    Items of one unit are never divided between splits.
    """

    activations_NLPD: Tensor
    harmful_N: NDArray[np.bool_]
    group_N: NDArray[np.str_]
    pair_N: NDArray[np.str_]
    source_N: NDArray[np.str_]
    modality_N: NDArray[np.str_]
    unit_N: NDArray[np.str_]

    def take(self, rows: NDArray[np.int64]) -> "Labelled":
        """The chosen rows, in the given order."""
        return Labelled(
            self.activations_NLPD[torch.from_numpy(rows)],
            self.harmful_N[rows],
            self.group_N[rows],
            self.pair_N[rows],
            self.source_N[rows],
            self.modality_N[rows],
            self.unit_N[rows],
        )

    @property
    def units(self) -> int:
        """How many sets of rows there are that are never divided."""
        return len(np.unique(self.unit_N))

    def pooled(self, pooling: Pooling) -> Tensor:
        """Activations under one pooling, (N, L, d)."""
        return self.activations_NLPD[:, :, pooling.place]

    def at(self, site: Site) -> Tensor:
        """Activations of one site, (N, d)."""
        return self.activations_NLPD[:, site.layer - 1, site.pooling.place]

    def side_by_side(self, sites: Sequence[Site]) -> Tensor:
        """Activations of several sites, (N, len(sites) * d): what a probe reads."""
        return torch.cat([self.at(site) for site in sites], dim=1)


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers: `train` fits, `validation` stops and calibrates, `threshold` is touched by the threshold only.

    `holdout`, where one is set apart, is touched by nothing that makes a bundle: later ones are compared on it.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    threshold: NDArray[np.int64]
    holdout: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def labelled(items: Sequence[Item], activations_NLPD: Tensor, hold_out: HoldOut = HoldOut.AUTO) -> Labelled:
    """Items without a pair stand alone, items without a source make a source with their pair.

    Raises:
        UserMistake: an item has no label, or one of the two labels does not occur.
    """
    for item in items:
        if item.annotation.label is None:
            raise UserMistake(
                f"item {item.item_id} has no label: calibration needs `harmful` or `benign` for every row"
            )
    notes = [item.annotation for item in items]
    harmful_N = np.array([note.label is Label.HARMFUL for note in notes])
    if not 0 < harmful_N.sum() < len(items):
        raise UserMistake("calibration needs harmful and benign items: the manifest holds only one of the two")
    pairs = [note.pair or f"alone:{item.item_id}" for note, item in zip(notes, items, strict=True)]
    sources = [note.source or f"pair:{pair}" for note, pair in zip(notes, pairs, strict=True)]
    by_source = hold_out is HoldOut.SOURCE or (hold_out is HoldOut.AUTO and len(set(sources)) >= MIN_SOURCES)
    return Labelled(
        activations_NLPD,
        harmful_N,
        np.array([note.group_name for note in notes]),
        np.array(pairs),
        np.array(sources),
        np.array([item.modality.value for item in items]),
        _joined(pairs, sources) if by_source else np.array(pairs),
    )


def equal_together(data: Labelled, contents: Sequence[bytes]) -> Labelled:
    """Items that show the model the same are of one unit, whatever their pairs; `contents` says what each shows."""
    return replace(data, unit_N=_joined(data.unit_N, [content.hex() for content in contents]))


def _joined(pairs: Sequence[str] | NDArray[np.str_], sources: Sequence[str]) -> NDArray[np.str_]:
    """Rows that share a pair or a source, directly or through other rows, are one unit."""
    _, pair_N = np.unique(pairs, return_inverse=True)
    _, source_N = np.unique(sources, return_inverse=True)
    nodes = pair_N.max() + source_N.max() + 2
    links = coo_array((np.ones(len(pairs)), (pair_N, pair_N.max() + 1 + source_N)), shape=(nodes, nodes))
    _, unit = connected_components(links, directed=False)
    return np.array([str(unit[place]) for place in pair_N])


def split(data: Labelled, seed: int, holdout: bool = False) -> Split:
    """A fifth to the threshold, a fifth (or with many units a tenth) to validation, the rest to train.

    A `holdout` takes a fifth of all from train; threshold and validation have the same rows with and without it.
    """
    many = data.units >= MANY
    folds = grouped_folds(data, seed, MANY if many else FEW)
    fifth, tenth = (2, 1) if many else (1, 1)
    threshold, validation, train = folds[:fifth], folds[fifth : fifth + tenth], folds[fifth + tenth :]
    train, held = (train[:-fifth], train[-fifth:]) if holdout else (train, [])
    parts = (train, validation, threshold, held)
    return Split(*(np.sort(np.concatenate([np.zeros(0, np.int64), *part])) for part in parts))


def grouped_folds(data: Labelled, seed: int, count: int = FEW) -> list[NDArray[np.int64]]:
    """Disjoint sets of row numbers that keep units whole and are alike in labels and groups.

    Raises:
        UserMistake: fewer units than folds.
    """
    if data.units < count:
        raise UserMistake(
            f"the items make {data.units} units (sources or pairs), at least {count} are needed: add items"
        )
    strata = np.array([f"{group}/{harmful}" for group, harmful in zip(data.group_N, data.harmful_N, strict=True)])
    folds = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    return [held_out for _, held_out in folds.split(strata, strata, data.unit_N)]
