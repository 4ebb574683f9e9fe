"""The only place that chooses an engine, and gives it what the settings say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from autosteer_core.backbones.base import Backbone
from autosteer_core.bundle import Bundle
from autosteer_core.encoding import Encoder
from autosteer_core.engine import Auditor, Engine, EngineOptions, silent
from autosteer_core.equal_items import EqualAudits, EqualItems
from autosteer_core.errors import UserMistake
from autosteer_core.joint_audit import JointAudit
from autosteer_core.readers import Held
from autosteer_core.sampling import Sampling
from autosteer_core.slot_engine import SlotEngine
from autosteer_core.slots.compiled_blocks import CompiledBlocks
from autosteer_core.slots.parity import check_parity
from autosteer_core.static_engine import StaticEngine
from pipelines.bundle_files import BundleReader
from pipelines.demo.model import demo_model_folder
from pipelines.kept_model import KeptModel, kept_model, on_cpu
from pipelines.load_model import load_encoder, load_model
from pipelines.settings import Settings
from pipelines.signing import trust_of
from workers.bundle_shelf import BundleShelf
from workers.encoding_pool import EncodingPool

DEMO = "demo"
_PROCESSES_BESIDE_A_GPU = 2


def load_backbone(settings: Settings) -> Backbone:
    """The base model behind its family's port; raises UserMistake as `load_model` does."""
    return load_model(model_source(settings), settings)


def model_source(settings: Settings) -> str:
    """Folder or hub id of the base model; the demo's is built where it is not there yet."""
    return str(demo_model_folder(settings.cache)) if settings.model == DEMO else settings.model


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
        compile=settings.compile,
        activations=settings.activations,
    )


def _sampling(settings: Settings) -> Sampling | None:
    if settings.temperature is None:
        return None
    return Sampling(settings.temperature, settings.top_p, settings.top_k, settings.seed)


def _encoder(settings: Settings, pulse: Callable[[], None]) -> Encoder | None:
    """On a CPU the default is none: encoding processes would take the model's cores."""
    default = 0 if on_cpu(settings) else _PROCESSES_BESIDE_A_GPU
    processes = default if settings.encoding_processes is None else settings.encoding_processes
    if processes == 0:
        return None
    build = partial(load_encoder, model_source(settings), settings)
    return EncodingPool(build, processes, settings.encoding_megabytes * 2**20, pulse)


def require_fitting_attention(settings: Settings) -> None:
    """Raise UserMistake if rows in slots cannot be computed by the chosen attention."""
    if settings.engine == "slots" and settings.attn_implementation == "flash_attention_2":
        raise UserMistake(
            "the slot engine masks every row by itself, which attn_implementation=flash_attention_2 cannot do: "
            "set attn_implementation=sdpa or engine=static"
        )


@dataclass(frozen=True, slots=True)
class Followed:
    """The bundles of a run that follows a registry: `first` serves at its start, `held` gives all."""

    first: Bundle
    held: Held

    @classmethod
    def of(cls, shelf: BundleShelf) -> "Followed":
        """Those of a shelf that serves."""
        assert shelf.serving is not None
        return cls(shelf.bundle(shelf.serving.promoted), shelf.bundle)


def build_engine(
    settings: Settings,
    compare: bool = False,
    pulse: Callable[[], None] = silent,
    bundles: BundleReader | None = None,
    followed: Followed | None = None,
) -> Engine:
    """Model, bundle and engine; a model that decodes in slots is compared with plain `generate` first.

    Equal items are computed once, unless their answers are sampled. Without `bundles` the settings and this
    machine's key say which bundles are trusted. With `followed` every item names its bundle.

    Raises:
        BundleRefused: model and bundle do not belong together.
        UserMistake: the family, or the chosen attention, cannot be decoded in slots, or not compiled.
    """
    require_fitting_attention(settings)
    bundle = _own(settings, bundles, followed)
    kept = kept_model(settings, load_backbone)
    options = _options(kept, settings, compare, pulse)
    held = followed.held if followed else None
    if settings.engine == "static":
        engine: Engine = StaticEngine(kept.backbone, bundle, options, held)
    else:
        engine = SlotEngine(kept.backbone, bundle, options, held)
        _prove(kept, bundle, settings.compile)
    # Bundles differ in which groups have words of their own: there, no group shares what another was told.
    wording = _own_words if followed else bundle.refusal_for
    return engine if options.sampling else EqualItems(engine, wording)


def _own_words(group: str) -> str:
    return group


def _own(settings: Settings, bundles: BundleReader | None, followed: Followed | None) -> Bundle:
    return followed.first if followed else (bundles or BundleReader(trust_of(settings)))(settings.bundle)


def _options(kept: KeptModel, settings: Settings, compare: bool, pulse: Callable[[], None]) -> EngineOptions:
    return replace(engine_options(settings, compare, pulse), budget=kept.budget)


def _prove(kept: KeptModel, bundle: Bundle, compiled: bool) -> None:
    if compiled not in kept.proven:
        check_parity(kept.backbone, bundle, CompiledBlocks(kept.backbone) if compiled else None)
        kept.proven.add(compiled)


def build_auditor(
    settings: Settings,
    beside: Mapping[str, str],
    pulse: Callable[[], None] = silent,
    bundles: BundleReader | None = None,
    followed: Followed | None = None,
) -> Auditor:
    """What reads risks under the settings' bundle and those `beside` it, name -> address; the others as above.

    Raises:
        BundleRefused: model and bundle do not belong together.
    """
    read = bundles or BundleReader(trust_of(settings))
    others = {name: read(address) for name, address in beside.items()}
    kept = kept_model(settings, load_backbone)
    options = _options(kept, settings, False, pulse)
    bundle = _own(settings, bundles, followed)
    return EqualAudits(JointAudit(kept.backbone, bundle, others, options, followed.held if followed else None))
