"""What a candidate must reach by itself, and by how much it may be worse than the bundle that serves."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GateLimits:
    """All but counts and seed are shares of 1.

    Floors: AUROC at least `auroc`, calibration error at most `calibration_error`. Margins: by less than `auroc_fall`,
    proven at `confidence`; by less than `recall_fall` in recall at 1 % false positives, in harm caught where both
    stop as many benign rows, and in harm caught at the thresholds; `slice_fall` in any slice with at least
    `slice_rows` rows of a label; `calibration_rise`; `stopped_rise` of benign rows stopped at the thresholds.

    A holdout has at least `rows` rows of each label, a candidate at least `new_labels` rows that its parent had not.
    With fewer than `sure_rows` of a label a measured fall refuses only where chance does not explain it, as always in
    slices: two or three rows decide there. `draws` and `seed` are the bootstrap's.
    """

    auroc: float = 0.75
    calibration_error: float = 0.2
    auroc_fall: float = 0.01
    recall_fall: float = 0.02
    slice_fall: float = 0.05
    calibration_rise: float = 0.02
    stopped_rise: float = 0.02
    rows: int = 50
    sure_rows: int = 500
    slice_rows: int = 30
    new_labels: int = 20
    confidence: float = 0.95
    draws: int = 500
    seed: int = 0
