"""The only place that chooses adapters: queue, store, manifest; and puts them around an engine in a worker."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from autosteer_core.engine import in_chunks
from autosteer_core.ports import ManifestReader, PartQueue
from autosteer_core.values import Item, Lease, Part, PartId, Verdict
from infra.activation_files import activations_to_parquet
from infra.open_store import open_store
from infra.verdict_files import verdicts_to_parquet
from pipelines.engines import build_auditor, build_engine
from pipelines.hub_judges import load_judge
from pipelines.job import Job
from pipelines.kept_model import forget_model
from pipelines.reading import open_items
from workers.lifeline import Lifeline
from workers.loop import Judge, PartWorker
from workers.patience import Patience


def build_worker(job: Job, name: str, queue: PartQueue) -> PartWorker:
    """Called inside a worker process: everything it needs, made from plain values."""
    torch.set_num_threads(job.threads)
    lifeline = Lifeline(queue, job.settings.lease_seconds)
    return PartWorker(
        name=name,
        queue=queue,
        store=open_store(job.out),
        manifest=open_items(job.manifest, job.columns, job.settings, job.planned),
        judge=_judge(job, lifeline.pulse),
        encode=partial(_encode, dict(job.provenance)),
        lifeline=lifeline,
        patience=Patience(lifeline.pulse),
        most_parts=job.most_parts,
        keep=partial(activations_to_parquet, origin=_origin(job)),
        writer=ThreadPoolExecutor(1, "writer"),
    )


def _judge(job: Job, pulse: Callable[[], None]) -> Judge:
    if job.kind == "generate":
        return build_engine(job.settings, job.compare, pulse, job.bundles).stream
    if job.judge is None:
        return build_auditor(job.settings, job.beside, pulse, job.bundles).stream
    forget_model()
    return in_chunks(load_judge(job.judge, job.settings).audit, job.settings.batch_rows)


def _origin(job: Job) -> dict[str, str]:
    return {"model_fingerprint": job.provenance["model_fingerprint"], "sites": job.sites}


def _encode(provenance: dict[str, str], verdicts: Sequence[Verdict], lease: Lease) -> bytes:
    return verdicts_to_parquet(verdicts, provenance | {"part_id": str(lease.part.part_id)}, lease.part.source)


def stream(manifest: ManifestReader) -> Iterator[Item]:
    """Every item, one after the other."""
    for name, rows, _ in manifest.files():
        if not rows:  # there are no empty parts
            continue
        yield from manifest.items(Part(PartId(name), name, 0, rows))


def all_items(manifest: ManifestReader) -> list[Item]:
    """Every item of a manifest that fits in memory; for calibration sets."""
    return list(stream(manifest))
