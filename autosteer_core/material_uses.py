"""Which labelled rows train, validate, set the threshold or only measure: decided once, kept in later bundles."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autosteer_core.kept_activations import content_hash
from autosteer_core.labelled import Labelled, Split
from autosteer_core.material import Material, Origin, Use
from autosteer_core.values import Item

# Of ten units of one kind, in the order in which they come: a fifth to the threshold, a tenth to validation.
_T, _V, _R = Use.THRESHOLD.value, Use.VALIDATION.value, Use.TRAIN.value
_DEALT = np.array([_R, _T, _R, _V, _R, _R, _T, _R, _R, _R])


def assigned(material: Material, seed: int) -> Material:
    """Every row with a use: rows that have one keep it, and with them every row of their unit.

    Other units are dealt out by chance, each kind (group and label) by itself, so that the parts are alike.
    """
    _, first, unit = np.unique(material.unit_N, return_index=True, return_inverse=True)
    use_U = _known(material.use_N, unit, len(first))
    open_U = np.flatnonzero(use_U == Use.NONE.value)
    kinds = np.char.add(material.group_N[first[open_U]], np.where(material.harmful_N[first[open_U]], "/1", "/0"))
    generator = np.random.default_rng(seed)
    for kind in np.unique(kinds):
        units = open_U[kinds == kind]
        use_U[generator.permutation(units)] = _DEALT[np.arange(len(units)) % len(_DEALT)]
    return replace(material, use_N=np.where(material.use_N == Use.NONE.value, use_U[unit], material.use_N))


def material_of(items: Sequence[Item], data: Labelled, rows: Split, origin: Origin, manifest_sha256: str) -> Material:
    """What a calibration read of its items at the bundle's sites, each with what it was used for."""
    name, count = manifest_sha256[:12], len(items)
    content_N, use_N = np.empty(count, object), np.full(count, Use.NONE.value, "U10")
    content_N[:] = [content_hash(item) for item in items]
    parts = (rows.train, rows.validation, rows.threshold, rows.holdout)
    for use, part in zip((Use.TRAIN, Use.VALIDATION, Use.THRESHOLD, Use.HOLDOUT), parts, strict=True):
        use_N[part] = use.value
    return Material(
        origin,
        data.side_by_side(origin.sites).cpu().float(),
        harmful_N=data.harmful_N,
        content_N=content_N,
        item_id_N=np.array([item.item_id for item in items]),
        group_N=data.group_N,
        modality_N=data.modality_N,
        language_N=np.full(count, ""),  # a manifest does not say
        source_N=np.array([item.annotation.source or "" for item in items]),
        # Two manifests may number their pairs alike.
        unit_N=np.array([f"{name}:{unit}" for unit in data.unit_N]),
        labeller_N=np.full(count, f"manifest:{name}"),
        use_N=use_N,
    )


def _known(use_N: NDArray[np.str_], unit: NDArray[np.int64], units: int) -> NDArray[np.str_]:
    """The use of each unit that has one; of several, the one that is to be touched least."""
    use_U = np.full(units, Use.NONE.value, dtype="U10")
    for use in (Use.TRAIN, Use.VALIDATION, Use.THRESHOLD, Use.HOLDOUT):
        use_U[unit[use_N == use.value]] = use.value
    return use_U


def apart_from(material: Material, holdout: Material) -> Material:
    """Without the rows that the holdout has, under whatever id, and those of its units."""
    held = set(holdout.content_N.tolist())
    known_N = np.fromiter((content in held for content in material.content_N), bool, len(material))
    return material.take(~(known_N | np.isin(material.unit_N, holdout.unit_N)))


def split_of(material: Material) -> Split:
    """The rows of each use; those of the holdout are in none."""
    return Split(*(material.rows(use) for use in (Use.TRAIN, Use.VALIDATION, Use.THRESHOLD)))
