"""Labelled items as arrays, and splits that keep twins and sources together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from autosteer_core.errors import UserMistake
from autosteer_core.values import Item, Label

MIN_SOURCES = 5
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Labelled:
    """Activations (N, L, d) of labelled items; row n of every field is the same item."""

    activations_NLD: Tensor
    harmful_N: NDArray[np.bool_]
    group_N: NDArray[np.str_]
    pair_N: NDArray[np.str_]
    source_N: NDArray[np.str_]

    def take(self, rows: NDArray[np.int64]) -> "Labelled":
        """The chosen rows, in the given order."""
        return Labelled(
            self.activations_NLD[torch.from_numpy(rows)],
            self.harmful_N[rows],
            self.group_N[rows],
            self.pair_N[rows],
            self.source_N[rows],
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers: `train` fits, `validation` stops and calibrates, `threshold` is touched by the threshold only."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    threshold: NDArray[np.int64]


def labelled(items: Sequence[Item], activations_NLD: Tensor) -> Labelled:
    """Items without a pair stand alone, items without a source share the source of their pair.

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
    return Labelled(
        activations_NLD,
        harmful_N,
        np.array([note.group_name for note in notes]),
        np.array(pairs),
        np.array([note.source or f"pair:{pair}" for note, pair in zip(notes, pairs, strict=True)]),
    )


def keep_together(data: Labelled) -> NDArray[np.str_]:
    """What may not be divided between splits: the source where there are enough of them, else the pair."""
    return data.source_N if len(np.unique(data.source_N)) >= MIN_SOURCES else data.pair_N


def split(data: Labelled, seed: int) -> Split:
    """Three fifths to train, one to validation, one to the threshold, alike in labels and groups."""
    folds = grouped_folds(data, seed)
    return Split(
        train=np.sort(np.concatenate(folds[1:4])),
        validation=np.sort(folds[4]),
        threshold=np.sort(folds[0]),
    )


def grouped_folds(data: Labelled, seed: int) -> list[NDArray[np.int64]]:
    """Five disjoint sets of row numbers that keep sources (or pairs) whole."""
    strata = np.array([f"{group}/{harmful}" for group, harmful in zip(data.group_N, data.harmful_N, strict=True)])
    folds = StratifiedGroupKFold(n_splits=FOLDS, shuffle=True, random_state=seed)
    return [held_out for _, held_out in folds.split(strata, strata, keep_together(data))]
