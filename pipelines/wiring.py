"""The only place that chooses adapters: queue, store, manifest; and puts them around an engine in a worker."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import torch

from autosteer_core.engine import in_chunks
from autosteer_core.ports import ManifestReader, PartQueue
from autosteer_core.values import Item, Lease, Part, PartId, Verdict
from infra.activation_files import activations_to_parquet
from infra.open_store import open_store
from infra.verdict_files import verdicts_to_parquet
from pipelines.engines import Followed, build_auditor, build_engine
from pipelines.following import followed_shelf
from pipelines.hub_judges import load_judge
from pipelines.job import Job
from pipelines.kept_model import forget_model
from pipelines.reading import open_items
from workers.bundle_shelf import BundleShelf
from workers.lifeline import Lifeline
from workers.loop import Judge, PartWorker, PinnedRun
from workers.patience import Patience


def build_worker(job: Job, name: str, queue: PartQueue) -> PartWorker:
    """Called inside a worker process: everything it needs, made from plain values."""
    torch.set_num_threads(job.threads)
    lifeline = Lifeline(queue, job.settings.lease_seconds)
    shelf = followed_shelf(job.registry, job.settings, job.bundles.trust) if job.registry else None
    return PartWorker(
        name=name,
        queue=queue,
        store=open_store(job.out),
        manifest=open_items(job.manifest, job.columns, job.settings, job.planned),
        judge=_judge(job, lifeline, shelf),
        encode=partial(_encode, dict(job.provenance)),
        lifeline=lifeline,
        patience=Patience(lifeline.pulse),
        most_parts=job.most_parts,
        keep=partial(_keep, job, shelf),
        writer=ThreadPoolExecutor(1, "writer"),
        pins=shelf or PinnedRun(),
    )


def _judge(job: Job, lifeline: Lifeline, shelf: BundleShelf | None) -> Judge:
    followed = Followed.of(shelf) if shelf else None
    if job.kind == "generate":
        return build_engine(job.settings, job.compare, lifeline.pulse, job.bundles, followed).stream
    if job.judge is None:
        return build_auditor(job.settings, job.beside, lifeline.pulse, job.bundles, followed).stream
    forget_model()
    return in_chunks(load_judge(job.judge, job.settings).audit, job.settings.batch_rows)


def _keep(job: Job, shelf: BundleShelf | None, verdicts: Sequence[Verdict], lease: Lease) -> bytes | None:
    sites = job.sites
    if shelf is not None and lease.under is not None:  # bundles may read elsewhere
        sites = shelf.bundle(lease.under).sites_in_words
    origin = {"model_fingerprint": job.provenance["model_fingerprint"], "sites": sites}
    return activations_to_parquet(verdicts, origin)


def _encode(provenance: dict[str, str], verdicts: Sequence[Verdict], lease: Lease) -> bytes:
    own = {"part_id": str(lease.part.part_id)} | ({} if lease.under is None else {"bundle_id": str(lease.under)})
    return verdicts_to_parquet(verdicts, provenance | own, lease.part.source)


def stream(manifest: ManifestReader) -> Iterator[Item]:
    """Every item, one after the other."""
    for name, rows, _ in manifest.files():
        if not rows:  # there are no empty parts
            continue
        yield from manifest.items(Part(PartId(name), name, 0, rows))


def all_items(manifest: ManifestReader) -> list[Item]:
    """Every item of a manifest that fits in memory; for calibration sets."""
    return list(stream(manifest))
