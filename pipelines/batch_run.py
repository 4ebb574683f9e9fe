"""Run a manifest through the pool: plan, take over the output, work, seal. Shared by generate and audit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from os import cpu_count

from autosteer_core.audit_log import Deed, Head
from autosteer_core.bundle import Bundle
from autosteer_core.bundle_signature import Trust
from autosteer_core.commit import SEALED, is_sealed, read_part, seal
from autosteer_core.errors import AutosteerError
from autosteer_core.garbage import collect
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, read_records
from autosteer_core.run import FOLLOWING, Run, take_over
from autosteer_core.values import Part, QueueCounts, Verdict
from infra.column_map import ColumnMap
from infra.open_manifest import refuse_output_inside
from infra.open_store import open_store
from infra.verdict_files import verdicts_from_parquet
from pipelines.audit_heads import log_deed
from pipelines.bundle_files import BundleReader
from pipelines.candidate_watch import guarded_run
from pipelines.commit_watch import CommitWatch
from pipelines.disk_space import require_space
from pipelines.engines import require_fitting_attention
from pipelines.following import PromotedBundles, is_following
from pipelines.interrupts import asked_to_stop
from pipelines.job import Job, Kind
from pipelines.queue_files import known_queue, open_queue, require_queue
from pipelines.reading import open_items
from pipelines.settings import Settings
from pipelines.signing import trust_of
from pipelines.wiring import build_worker
from workers.local_ray import local_ray
from workers.ray_pool import Pool, PoolOptions
from workers.swap_thread import swapping

_READ_AHEAD = 13  # times the slots: rows in flight, waiting, begun, and encoded ahead of them
_OPEN_ENDS = 2  # parts that wait for one long answer


class PartsBuried(AutosteerError):
    """Some parts failed too often and were set aside; the rest is committed."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A sealed run and its rows, in manifest order; whoever iterates over them reads them from the store."""

    run: Run
    bundle: Bundle
    store: BlobStore
    resumed: bool
    records: list[CommitRecord]
    verdicts: Iterable[Verdict]
    head: Head


@dataclass(frozen=True, slots=True)
class Request:
    """What the person asked for."""

    kind: Kind
    manifest: str
    out: str
    settings: Settings
    columns: ColumnMap
    compare: bool = False
    judge: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Committed:
    """The rows of these records, a part in memory at a time."""

    store: BlobStore
    records: Sequence[CommitRecord]

    def __iter__(self) -> Iterator[Verdict]:
        for record in self.records:
            yield from verdicts_from_parquet(read_part(self.store, record))


Progress = Callable[[Run, int, QueueCounts], None]


@contextmanager
def worker_pool(settings: Settings) -> Iterator[Pool]:
    """Workers for several runs with these settings: each loads its model once."""
    threads = max(1, (cpu_count() or 1) // settings.workers)
    with local_ray(settings.workers):
        pool = Pool(PoolOptions(settings.workers, settings.gpus_per_worker, threads_per_worker=threads))
        try:
            yield pool
        finally:
            pool.stop()


def run_batch(request: Request, progress: Progress, pool: Pool | None = None) -> Finished:
    """Do, or continue, the run; `progress` hears of committed rows while it works.

    Without a `pool` the run has workers of its own.

    Raises:
        UserMistake: bad manifest, bundle, model or output folder; nothing was changed.
        PartsBuried: parts were set aside after `max_failures` failures.
        KeyboardInterrupt: a person stopped it; what is committed stays.
    """
    refuse_output_inside(request.manifest, request.out)
    manifest = open_items(request.manifest, request.columns, request.settings)
    trust = trust_of(request.settings)
    followed = _followed(request)
    bundle = followed.bundle(trust) if followed else BundleReader(trust)(request.settings.bundle)
    if followed:  # what was read is what a later bundle is compared with
        request = replace(request, settings=request.settings.model_copy(update={"activations": True}))
    if request.kind == "generate":
        require_fitting_attention(request.settings)
    job = _job(request, bundle, trust)
    bundle_id = FOLLOWING if followed else bundle.bundle_id
    run = Run(request.kind, request.manifest, manifest.files(), bundle_id, job.answer_settings)
    provenance = {"run_id": run.run_id, "model_fingerprint": bundle.fingerprint}
    if not followed:
        provenance["bundle_id"] = bundle.bundle_id
    planned = {name: digest for name, _, digest in run.files}
    job = replace(job, provenance=provenance, planned=planned)
    require_space(request.out, run.rows)
    store = open_store(request.out)
    resumed = take_over(store, run)
    about = {"run_id": run.run_id, "bundle_id": str(run.bundle_id), "rows": run.rows}
    if not is_sealed(store):
        log_deed(store, Deed.RUN_STARTED, about)
    parts = run.parts(request.settings.rows_per_part, manifest.stretches)
    with asked_to_stop() as check:

        def told(run: Run, rows_done: int, counts: QueueCounts) -> None:
            check()
            progress(run, rows_done, counts)

        _work(job, run, parts, store, told, pool)
        check()
    records = seal(store, parts, manifest.row_ids())
    sealed = sha256(store.get(SEALED)).hexdigest()
    head = log_deed(store, Deed.RUN_FINISHED, about | {"sealed_sha256": sealed}, once=True)
    with known_queue(request.out, run.run_id, request.settings.queue) as queue:
        if queue is not None:  # a server's table would grow with every run
            queue.forget()
    collect(store, named=[key for record in records for key in record.keys])
    return Finished(run, bundle, store, resumed, records, _Committed(store, records), head)


def _job(request: Request, bundle: Bundle, trust: Trust) -> Job:
    threads = max(1, (cpu_count() or 1) // request.settings.workers)
    others = {name: BundleReader(trust)(address) for name, address in request.beside.items()}
    for other in others.values():
        other.require(bundle.fingerprint)
    beside = {name: str(other.bundle_id) for name, other in others.items()}
    planned = {address: beside[name] for name, address in request.beside.items()}
    registry = request.settings.registry if _followed(request) else None
    if registry is None:
        planned[str(request.settings.bundle)] = str(bundle.bundle_id)
    return Job(
        request.kind, request.manifest, request.out, request.settings, request.columns, request.compare, {}, threads,
        request.judge, request.beside, beside, sites=bundle.sites_in_words,
        bundles=BundleReader(trust, planned), registry=registry,
    )  # fmt: skip


def _followed(request: Request) -> PromotedBundles | None:
    """A judge model reads no bundle, so there is none to follow."""
    address = request.settings.registry
    if address is None or request.judge is not None or not is_following(request.settings):
        return None
    return PromotedBundles.at(address)


def _most_parts(settings: Settings, left: int, rows_of_one: int) -> int:
    """Parts for one worker at once: what its engine reads ahead, but not more than its share of what is left."""
    ahead = -(-_READ_AHEAD * settings.slots // rows_of_one) + _OPEN_ENDS
    return max(1, min(ahead, -(-left // settings.workers)))


def _work(job: Job, run: Run, parts: Sequence[Part], store: BlobStore, progress: Progress, pool: Pool | None) -> None:
    known = read_records(store)
    parts = list(known.leaves(parts))
    done = known.commits.keys() & {part.part_id for part in parts}
    if len(done) == len(parts):
        return
    settings = job.settings
    require_queue(settings.queue)
    watch = CommitWatch(store, settings.error_budget)
    left = len(parts) - len(done)
    job = replace(job, most_parts=_most_parts(settings, left, run.rows // len(parts)))
    with (
        nullcontext(pool) if pool else worker_pool(settings) as workers,
        workers.serving(partial(open_queue, job.out, run.run_id, settings.max_failures, settings.queue)) as queue,
    ):
        queue.add(parts)
        queue.mark_done(sorted(done))
        counts = queue.counts()
        progress(run, watch.look(), counts)
        source = PromotedBundles.at(job.registry) if job.registry else None
        guard = guarded_run(store, run.run_id, job.registry, settings) if job.registry else None
        with swapping(source, workers.actors) if source else nullcontext():
            # A worker loads a whole model: there is no use in more of them than parts.
            for counts in workers.run(partial(build_worker, job), left):
                progress(run, watch.look(), counts)
                if guard:
                    guard.look()
        if guard:
            guard.finish()
    if counts.buried:
        raise PartsBuried(
            f"{counts.buried} of {len(parts)} parts failed {settings.max_failures} times and were set aside, "
            f"the rest is committed: see `autosteer status {job.out}`, then `autosteer retry {job.out}`"
        )
