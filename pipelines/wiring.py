"""The only place that chooses adapters: model family, engine, queue, store, manifest."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

import autosteer_core.backbones.picture_tower  # noqa: F401  (registers the demo model's vision tower)
from autosteer_core.backbones.llava_onevision import LlavaOnevision
from autosteer_core.backbones.llava_onevision_processor import load_processor
from autosteer_core.engine import Engine, EngineOptions
from autosteer_core.errors import UserMistake
from autosteer_core.ports import ManifestReader, PartQueue
from autosteer_core.static_engine import StaticEngine
from autosteer_core.values import Item, Lease, Part, PartId, Verdict
from infra.column_map import ColumnMap
from infra.open_manifest import open_manifest
from infra.open_store import open_store
from infra.verdict_files import verdicts_to_parquet
from pipelines.bundle_files import load_bundle
from pipelines.demo.model import demo_model_folder
from pipelines.job import Job
from pipelines.settings import Settings
from workers.loop import Judge, PartWorker, WorkerOptions

DEMO = "demo"


def load_backbone(settings: Settings) -> LlavaOnevision:
    """The base model behind its family's port, on the chosen device and dtype.

    Raises:
        UserMistake: no such model, or a family that is not supported.
    """
    folder = str(demo_model_folder(settings.cache)) if settings.model == DEMO else settings.model
    try:
        family = AutoConfig.from_pretrained(folder).model_type
    except (OSError, ValueError) as error:
        raise UserMistake(f"model {settings.model} cannot be read: check --model ({_first_line(error)})") from error
    if family != "llava_onevision":
        raise UserMistake(f"model {settings.model} is of family {family}, supported: llava_onevision")
    dtype = getattr(torch, settings.dtype)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).to(settings.device)
    return LlavaOnevision(model, load_processor(Path(folder)), settings.max_prompt_tokens)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def open_items(address: str, columns: ColumnMap | None = None) -> ManifestReader:
    """The manifest at a file, a folder or an s3:// address."""
    return open_manifest(address, columns or ColumnMap())


def engine_options(settings: Settings, compare: bool) -> EngineOptions:
    """What of the settings concerns the engine."""
    return EngineOptions(settings.batch_rows, settings.max_new_tokens, settings.gate_action, compare)


def build_engine(settings: Settings, compare: bool = False) -> Engine:
    """Model, bundle and engine; raises BundleRefused when the two do not belong together."""
    bundle = load_bundle(settings.bundle)
    return StaticEngine(load_backbone(settings), bundle, engine_options(settings, compare))


def build_worker(job: Job, name: str, queue: PartQueue) -> PartWorker:
    """Called inside a worker process: everything it needs, made from plain values."""
    torch.set_num_threads(job.threads)
    engine = build_engine(job.settings, job.compare)
    judge: Judge = engine.audit if job.kind == "audit" else engine.generate
    return PartWorker(
        name=name,
        queue=queue,
        store=open_store(job.out),
        manifest=open_items(job.manifest, job.columns),
        judge=judge,
        encode=partial(_encode, dict(job.provenance)),
        options=WorkerOptions(job.settings.lease_seconds, job.settings.batch_rows),
    )


def _encode(provenance: dict[str, str], verdicts: Sequence[Verdict], lease: Lease) -> bytes:
    return verdicts_to_parquet(verdicts, provenance | {"part_id": str(lease.part.part_id)})


def all_items(manifest: ManifestReader) -> list[Item]:
    """Every item of a manifest that fits in memory; for calibration sets."""
    return [item for name, rows, _ in manifest.files() for item in manifest.items(Part(PartId(name), name, 0, rows))]
