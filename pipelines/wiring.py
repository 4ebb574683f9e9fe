"""The only place that chooses adapters: model family, engine, queue, store, manifest."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch

from autosteer_core.backbones.base import Backbone
from autosteer_core.budget import Budget
from autosteer_core.engine import Engine, EngineOptions, silent
from autosteer_core.errors import UserMistake
from autosteer_core.ports import ManifestReader, PartQueue
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
from pipelines.load_model import load_model
from pipelines.settings import Settings
from workers.lifeline import Lifeline
from workers.loop import Judge, PartWorker

DEMO = "demo"
_CPU_TOKENS, _GPU_TOKENS = 1024, 8192
CHUNK_ROWS = 256  # many times the slots, so that they are seldom empty; the pictures of so many rows fit in memory


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
    """What of the settings concerns the engine."""
    return EngineOptions(
        settings.batch_rows,
        settings.max_new_tokens,
        settings.gate_action,
        compare,
        second_look=settings.second_look is not False,
        slots=settings.slots,
        budget=budget_of(settings),
        pulse=pulse,
    )


def budget_of(settings: Settings) -> Budget:
    """What one forward pass may hold; a CPU is fastest while a pass stays near its caches."""
    on_cpu = settings.device == "cpu" and settings.device_map is None
    return Budget(settings.batch_tokens or (_CPU_TOKENS if on_cpu else _GPU_TOKENS), settings.batch_pixels)


def build_engine(
    settings: Settings, compare: bool = False, decodes: bool = True, pulse: Callable[[], None] = silent
) -> Engine:
    """Model, bundle and engine; an engine that `decodes` in slots is compared with plain `generate` first.

    Raises:
        BundleRefused: model and bundle do not belong together.
        UserMistake: the family, or the chosen attention, cannot be decoded in slots.
    """
    if settings.engine == "slots" and decodes and settings.attn_implementation == "flash_attention_2":
        raise UserMistake(
            "the slot engine masks every row by itself, which attn_implementation=flash_attention_2 cannot do: "
            "set attn_implementation=sdpa or engine=static"
        )
    bundle = load_bundle(settings.bundle)
    backbone, options = load_backbone(settings), engine_options(settings, compare, pulse)
    if settings.engine == "static" or not decodes:
        return StaticEngine(backbone, bundle, options)
    engine = SlotEngine(backbone, bundle, options)
    check_parity(backbone, bundle)
    return engine


def build_worker(job: Job, name: str, queue: PartQueue) -> PartWorker:
    """Called inside a worker process: everything it needs, made from plain values."""
    torch.set_num_threads(job.threads)
    decodes = job.kind == "generate"
    lifeline = Lifeline(queue, job.settings.lease_seconds)
    if job.judge is None:
        engine = build_engine(job.settings, job.compare, decodes, lifeline.pulse)
    else:
        engine = load_judge(job.judge, job.settings)
    judge: Judge = engine.generate if decodes else engine.audit
    return PartWorker(
        name=name,
        queue=queue,
        store=open_store(job.out),
        manifest=open_items(job.manifest, job.columns),
        judge=judge,
        encode=partial(_encode, dict(job.provenance)),
        lifeline=lifeline,
        chunk_rows=CHUNK_ROWS if job.judge is None else job.settings.batch_rows,
    )


def _encode(provenance: dict[str, str], verdicts: Sequence[Verdict], lease: Lease) -> bytes:
    return verdicts_to_parquet(verdicts, provenance | {"part_id": str(lease.part.part_id)})


def stream(manifest: ManifestReader) -> Iterator[Item]:
    """Every item, one after the other."""
    for name, rows, _ in manifest.files():
        yield from manifest.items(Part(PartId(name), name, 0, rows))


def all_items(manifest: ManifestReader) -> list[Item]:
    """Every item of a manifest that fits in memory; for calibration sets."""
    return list(stream(manifest))
