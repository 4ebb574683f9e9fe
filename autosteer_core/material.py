"""Labelled activations: all that a probe, its threshold and its guarantee are made of, without the model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from autosteer_core.errors import UserMistake
from autosteer_core.values import Fingerprint, Pooling, Site

Texts = NDArray[np.str_]
_SITE = re.compile(r"([1-9][0-9]{0,3}) (last|mean)")


class Use(StrEnum):
    """What a row is for. A row that threshold or holdout have is never trained on, in no later bundle either."""

    TRAIN = "train"
    VALIDATION = "validation"
    THRESHOLD = "threshold"
    HOLDOUT = "holdout"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """What activations are of: the model, and the sites that lie side by side in every row."""

    fingerprint: Fingerprint
    sites: tuple[Site, ...]

    @property
    def sites_text(self) -> str:
        """As files of activations say it: `2 last, 3 mean`."""
        return ", ".join(map(str, self.sites))

    @classmethod
    def parsed(cls, fingerprint: str, sites_text: str) -> "Origin":
        """Inverse of the two texts; raises UserMistake for sites that are none."""
        found = [_SITE.fullmatch(text) for text in sites_text.split(", ")]
        if not all(found):
            raise UserMistake(
                f"activations say that they are of the sites {sites_text[:80]!a}, expected for example "
                "'2 last, 3 mean': name files that this version wrote",
                "E_MATERIAL",
            )
        return cls(Fingerprint(fingerprint), tuple(Site(int(one[1]), Pooling(one[2])) for one in found if one))


@dataclass(frozen=True, slots=True)
class Material:
    """Activations (N, sites * d), float32; row n of every other field tells of item n.

    `content_N` holds the SHA-256 of what the model was shown, 32 bytes each. Rows of one unit are never divided
    between uses: twins, and items of one source where sources are held out whole.
    """

    origin: Origin
    activation_ND: Tensor
    harmful_N: NDArray[np.bool_]
    content_N: NDArray[np.object_]
    item_id_N: Texts
    group_N: Texts
    modality_N: Texts
    language_N: Texts
    source_N: Texts
    unit_N: Texts
    labeller_N: Texts
    use_N: Texts

    def __post_init__(self) -> None:
        """Refuse columns of different lengths: the rows would be of different items."""
        lengths = {name: len(column) for name, column in self.columns().items()} | {"": len(self.activation_ND)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns of different lengths: {lengths}")

    def __len__(self) -> int:
        return len(self.harmful_N)

    def columns(self) -> dict[str, NDArray[Any]]:
        """Everything but the activations and their origin, by field name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name.endswith("_N")}

    def take(self, rows: NDArray[Any]) -> "Material":
        """The chosen rows, by number or by a mask."""
        chosen = torch.from_numpy(np.ascontiguousarray(rows))
        return Material(
            self.origin, self.activation_ND[chosen], **{name: each[rows] for name, each in self.columns().items()}
        )

    def rows(self, use: Use) -> NDArray[np.int64]:
        """Numbers of the rows with this use, in order."""
        return np.flatnonzero(self.use_N == use.value)

    @staticmethod
    def joined(materials: "Sequence[Material]") -> "Material":
        """One after the other.

        Raises:
            UserMistake: they are of different models or sites.
        """
        first = materials[0]
        for other in materials[1:]:
            require_origin(other.origin, first.origin)
        columns = {name: np.concatenate([each.columns()[name] for each in materials]) for name in first.columns()}
        return Material(first.origin, torch.cat([each.activation_ND for each in materials]), **columns)


def require_origin(found: Origin, expected: Origin) -> None:
    """Raise UserMistake unless activations are of this model and these sites."""
    if found != expected:
        raise UserMistake(
            f"activations are of model {found.fingerprint[:12]} at sites {found.sites_text}, expected model "
            f"{expected.fingerprint[:12]} at sites {expected.sites_text}: name runs of a bundle with those sites, or "
            "calibrate anew",
            "E_MATERIAL_ORIGIN",
        )
