"""A bundle and labelled activations to the next bundle: probe, thresholds and guarantee anew, no forward pass.

Everything that concerns answers stays the parent's: Refusal Head, wordings, gate action, second look.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch

from autosteer_core.bundle import Bundle
from autosteer_core.errors import UserMistake
from autosteer_core.golden_rows import with_golden
from autosteer_core.labelled import Split
from autosteer_core.material import Material, Origin, Use, require_origin
from autosteer_core.material_uses import assigned, split_of
from autosteer_core.operating_point import Bound, PointOptions, Readings, Rows, operating_point
from autosteer_core.probe_fitting import ProbeOptions


@dataclass(frozen=True, slots=True)
class RetrainOptions:
    """Without a `bound` the parent's promise is kept; `material_sha256` is of the snapshot's file, for the card."""

    seed: int = 0
    bound: Bound | None = None
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    material_sha256: str | None = None


def retrain(parent: Bundle, material: Material, options: RetrainOptions, promised: Rows | None = None) -> Bundle:
    """The same parent, material and options give the same bundle, to the bit.

    Rows without a use get one; rows of the holdout are not touched. What the parent promised on its threshold rows
    holds on those by themselves too: the `promised` ones, or all that are for the threshold already.

    Raises:
        UserMistake: activations of another model or other sites, one label only, too few rows for the bound.
    """
    require_origin(material.origin, Origin(parent.fingerprint, parent.sites))
    promised = material.rows(Use.THRESHOLD) if promised is None else promised
    material = assigned(material, options.seed)
    rows = split_of(material)
    _refuse_one_label(material, rows)
    readings = Readings(material.activation_ND, material.harmful_N, material.group_N, material.modality_N)
    with _one_thread():
        point = operating_point(readings, rows, len(parent.sites), _point_options(parent, options), promised=promised)
    told = {
        "parent": str(parent.bundle_id),
        "material_sha256": options.material_sha256,
        "seed": options.seed,
        "rows": {str(use): len(part) for use, part in _named(rows).items()},
    }
    report = parent.report | {"probe": point.measured, "retraining": told}
    made = replace(parent, probe=point.probe, guarantee=point.guarantee, slices=point.slices, report=report)
    return with_golden(made)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over threads differ in their last digits by how many there are: another machine, another bundle id."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _point_options(parent: Bundle, options: RetrainOptions) -> PointOptions:
    promised = parent.guarantee
    bound = options.bound or Bound(promised.alpha, promised.delta, promised.bounds)
    return PointOptions(bound, options.probe, options.seed)


def _refuse_one_label(material: Material, rows: Split) -> None:
    for use, part in _named(rows).items():
        harmful = int(material.harmful_N[part].sum())
        if not 0 < harmful < len(part):
            raise UserMistake(
                f"the rows for {use} are {harmful} harmful and {len(part) - harmful} benign ones, both are needed: "
                "label more items",
                "E_MATERIAL",
            )


def _named(rows: Split) -> dict[Use, Rows]:
    return {Use.TRAIN: rows.train, Use.VALIDATION: rows.validation, Use.THRESHOLD: rows.threshold}
