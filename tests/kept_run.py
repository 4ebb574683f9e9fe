"""A run in a folder that kept its activations, and bundles that read them: without a model."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from autosteer_core.bundle import Bundle
from autosteer_core.commit import commit_part, read_part, seal
from autosteer_core.guarantee import Guarantee
from autosteer_core.kept_activations import kept
from autosteer_core.probe import Probe
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.refusal_head import RefusalHead
from autosteer_core.run import FOLLOWING, Run, take_over
from autosteer_core.values import (
    Action,
    BundleId,
    Fingerprint,
    Flaw,
    Item,
    Lease,
    Modality,
    Part,
    Pooling,
    Site,
    Verdict,
)
from autosteer_core.verdict_stages import gated
from infra.activation_files import activations_to_parquet
from infra.column_map import ColumnMap
from infra.folder_store import FolderStore
from infra.open_manifest import open_manifest
from infra.verdict_files import verdicts_from_parquet, verdicts_to_parquet

WIDTH, MODEL = 24, "a" * 64
SITES = (Site(2, Pooling.LAST), Site(3, Pooling.MEAN))


def bundle(seed: int = 0, scale: float = 1.0, width: int = WIDTH, hidden: int = 8) -> Bundle:
    """Its probe says what the seed says; a picture alone has a threshold of its own."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    probe = Probe(
        random(width), scale * (random(width).abs() + 0.5), random(hidden, width), random(hidden), random(hidden),
        random(1)[0], torch.tensor(2.0),
    )  # fmt: skip
    middle = probe.logit(torch.randn(257, width, generator=generator)).median()
    probe = replace(probe, outer_bias=probe.outer_bias - middle * probe.temperature)  # half of all gates open
    guarantee = Guarantee(0.5, 0.1, 0.05, 60, 0, 0.05, 60, 3, 0.13)
    slices = {Modality.IMAGE: replace(guarantee, threshold=0.2)}
    head = RefusalHead(random(width // 2, 4), random(width // 2, 4), epsilon=0.1)
    return Bundle(Fingerprint(MODEL), SITES, probe, head, guarantee, "No.", "steer", {}, slices)


@dataclass
class KeptRun:
    """`rows` items in parts of `per_part`; every third is a picture alone, item 5 could not be read."""

    root: Path
    rows: int = 30
    per_part: int = 8
    follows: bool = True
    first: Bundle = field(default_factory=bundle)
    done: bool = True
    width: int = WIDTH

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        lines = "".join(f'{{"id": "item-{row}", "text": "question {row}"}}\n' for row in range(self.rows))
        (self.root / "items.jsonl").write_text(lines)
        self.out, self.store = str(self.root / "out"), FolderStore(self.root / "out")
        self.manifest = open_manifest(str(self.root / "items.jsonl"))
        self.measured_ND = torch.randn(self.rows, self.width, generator=torch.Generator().manual_seed(3))
        name = FOLLOWING if self.follows else str(self.first.bundle_id)
        settings = {"columns": asdict(ColumnMap())}
        self.run = Run("generate", str(self.root / "items.jsonl"), self.manifest.files(), BundleId(name), settings)
        take_over(self.store, self.run)
        if self.done:
            self.repeat(self.first)

    def repeat(self, bundle: Bundle, most: int | None = None) -> list[CommitRecord]:
        """As the command does it: what is not committed is judged by the bundle; sealed unless it stops early."""
        take_over(self.store, self.run)
        known = read_records(self.store)
        missing = [part for part in known.leaves(self.parts) if part.part_id not in known.commits]
        for part in missing[:most]:
            self.commit(part, bundle)
        return [] if most is not None else seal(self.store, self.parts, self.manifest.row_ids())

    @property
    def parts(self) -> list[Part]:
        return list(self.run.parts(self.per_part))

    def commit(self, part: Part, bundle: Bundle) -> None:
        under = bundle.bundle_id if self.follows else None
        risks = bundle.probe.risk(self.measured_ND[part.start : part.stop]).tolist()
        verdicts = [self._verdict(row, bundle, risk) for row, risk in enumerate(risks, part.start)]
        rows = [replace(verdict, under=under) for verdict in verdicts]
        origin = {"model_fingerprint": MODEL, "sites": ", ".join(map(str, SITES))}
        versions = {"run_id": self.run.run_id, "bundle_id": str(bundle.bundle_id), "model_fingerprint": MODEL}
        data = verdicts_to_parquet(rows, versions | {"part_id": str(part.part_id)}, part.source)
        commit_part(
            self.store, Lease(part, 1, "w", 0.0, under=under), rows, data, activations_to_parquet(rows, origin)
        )

    def _verdict(self, row: int, bundle: Bundle, risk: float) -> Verdict:
        picture = row % 3 == 0
        item = Item(f"item-{row}", "" if picture else f"question {row}", (b"picture",) * picture, row)
        if row == 5:
            return Verdict(
                item.item_id, row, Action.ERROR, float("nan"), flaw=Flaw("E_IMAGE_CORRUPT", "it is cut off")
            )
        verdict = gated(item, risk, bundle.threshold(item.modality), borderline=False)
        said = replace(verdict, answer=str(bundle.bundle_id), steered_tokens=int(bool(verdict.gate_open)))
        return replace(said, activation=kept(item, self.measured_ND[row]))

    def verdicts(self, records: Iterable[CommitRecord] | None = None) -> list[Verdict]:
        """All rows in their order."""
        found = read_records(self.store).current if records is None else records
        rows = [row for record in found for row in verdicts_from_parquet(read_part(self.store, record))]
        return sorted(rows, key=lambda row: row.row)
