"""The only place that chooses adapters: model family, engine, queue, store, manifest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.encoding import Encoder
from autosteer_core.engine import Auditor, Engine, EngineOptions, silent
from autosteer_core.equal_items import EqualAudits, EqualItems
from autosteer_core.joint_audit import JointAudit
from autosteer_core.ports import ManifestReader, PartQueue
from autosteer_core.sampling import Sampling
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.slots.parity import check_parity
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Item, Lease, Part, PartId, Verdict
from infra.column_map import ColumnMap
from infra.open_manifest import open_manifest
from infra.open_store import open_store
from infra.verdict_files import verdicts_to_parquet
from pipelines.bundle_files import load_bundle
from pipelines.demo.model import demo_model_folder
from pipelines.hub_judges import load_judge
from pipelines.job import Job
from pipelines.kept_model import KeptModel, forget_model, kept_model
from pipelines.load_model import load_encoder, load_model
from pipelines.settings import Settings
from workers.encoding_pool import EncodingPool
from workers.lifeline import Lifeline
from workers.loop import Judge, PartWorker, in_chunks

DEMO = "demo"
_PROCESSES_BESIDE_A_GPU = 2
AUDITED_BATCHES = 4  # at once: enough for rows of similar length to meet


def load_backbone(settings: Settings) -> Backbone:
    """The base model behind its family's port; raises UserMistake as `load_model` does."""
    return load_model(model_source(settings), settings)


def model_source(settings: Settings) -> str:
    """Folder or hub id of the base model; the demo's is built where it is not there yet."""
    return str(demo_model_folder(settings.cache)) if settings.model == DEMO else settings.model


def open_items(address: str, columns: ColumnMap | None = None) -> ManifestReader:
    """The manifest at a file, a folder or an s3:// address."""
    return open_manifest(address, columns or ColumnMap())


def engine_options(settings: Settings, compare: bool, pulse: Callable[[], None] = silent) -> EngineOptions:
    """What of the settings concerns the engine; its encoding processes, where it has any, start here."""
    return EngineOptions(
        settings.batch_rows,
        settings.max_new_tokens,
        settings.gate_action,
        compare,
        second_look=settings.second_look is not False,
        sampling=_sampling(settings),
        slots=settings.slots,
        pulse=pulse,
        stop=settings.stop,
        logprobs=settings.logprobs,
        encoder=_encoder(settings, pulse),
    )


def _sampling(settings: Settings) -> Sampling | None:
    if settings.temperature is None:
        return None
    return Sampling(settings.temperature, settings.top_p, settings.top_k, settings.seed)


def _encoder(settings: Settings, pulse: Callable[[], None]) -> Encoder | None:
    """On a CPU the default is none: encoding processes would take the model's cores."""
    on_cpu = settings.device.startswith("cpu") and settings.device_map is None
    default = 0 if on_cpu else _PROCESSES_BESIDE_A_GPU
    processes = default if settings.encoding_processes is None else settings.encoding_processes
    if processes == 0:
        return None
    build = partial(load_encoder, model_source(settings), settings)
    return EncodingPool(build, processes, settings.encoding_megabytes * 2**20, pulse)


def build_engine(settings: Settings, compare: bool = False, pulse: Callable[[], None] = silent) -> Engine:
    """Model, bundle and engine; a model that decodes in slots is compared with plain `generate` first.

    Equal items are computed once, unless their answers are sampled.

    Raises:
        BundleRefused: model and bundle do not belong together.
        UserMistake: the family cannot be decoded in slots.
    """
    bundle, kept = load_bundle(settings.bundle), kept_model(settings, load_backbone)
    options = engine_options(settings, compare, pulse)
    if settings.engine == "static":
        engine: Engine = StaticEngine(kept.backbone, bundle, options)
    else:
        engine = SlotEngine(kept.backbone, bundle, options)
        _prove(kept, bundle)
    return engine if options.sampling else EqualItems(engine, bundle.refusal_for)


def _prove(kept: KeptModel, bundle: Bundle) -> None:
    if not kept.proven:
        check_parity(kept.backbone, bundle)
        kept.proven = True


def build_auditor(settings: Settings, beside: Mapping[str, str], pulse: Callable[[], None] = silent) -> Auditor:
    """What reads risks under the settings' bundle and those `beside` it, name -> address.

    Raises:
        BundleRefused: model and bundle do not belong together.
    """
    others = {name: load_bundle(address) for name, address in beside.items()}
    backbone = kept_model(settings, load_backbone).backbone
    options = engine_options(settings, False, pulse)
    return EqualAudits(JointAudit(backbone, load_bundle(settings.bundle), others, options))


def build_worker(job: Job, name: str, queue: PartQueue) -> PartWorker:
    """Called inside a worker process: everything it needs, made from plain values."""
    torch.set_num_threads(job.threads)
    lifeline = Lifeline(queue, job.settings.lease_seconds)
    return PartWorker(
        name=name,
        queue=queue,
        store=open_store(job.out),
        manifest=open_items(job.manifest, job.columns),
        judge=_judge(job, lifeline.pulse),
        encode=partial(_encode, dict(job.provenance)),
        lifeline=lifeline,
    )


def _judge(job: Job, pulse: Callable[[], None]) -> Judge:
    """Only an engine that decodes has a stream of its own."""
    if job.kind == "generate":
        return build_engine(job.settings, job.compare, pulse).stream
    rows = job.settings.batch_rows
    if job.judge is None:
        return in_chunks(build_auditor(job.settings, job.beside, pulse).audit, AUDITED_BATCHES * rows)
    forget_model()
    return in_chunks(load_judge(job.judge, job.settings).audit, rows)


def _encode(provenance: dict[str, str], verdicts: Sequence[Verdict], lease: Lease) -> bytes:
    return verdicts_to_parquet(verdicts, provenance | {"part_id": str(lease.part.part_id)})


def stream(manifest: ManifestReader) -> Iterator[Item]:
    """Every item, one after the other."""
    for name, rows, _ in manifest.files():
        yield from manifest.items(Part(PartId(name), name, 0, rows))


def all_items(manifest: ManifestReader) -> list[Item]:
    """Every item of a manifest that fits in memory; for calibration sets."""
    return list(stream(manifest))
