"""Read, check and freeze the settings once: flags, then environment, then one TOML or YAML file, then defaults."""

import json
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from autosteer_core.bundle_signature import MOST_EPOCH
from autosteer_core.errors import UserMistake
from autosteer_core.guarantee import Bounds
from autosteer_core.labelled import HoldOut
from autosteer_core.sampling import COLDEST, HOTTEST
from autosteer_core.values import GateAction
from pipelines.settings_file import read_settings_file

PREFIX = "AUTOSTEER_"
Attention = Literal["sdpa", "eager", "flash_attention_2"]
_NOT_SETTINGS = {"AUTOSTEER_DEBUG"}
SHORTEST_LEASE, LONGEST_LEASE = 3.0, 86_400.0


def _listed(value: Any) -> Any:
    """One text, or a JSON list of texts: flags and variables have no lists of their own."""
    if not isinstance(value, str):
        return value
    if not value.startswith("["):
        return [value]
    try:
        return json.loads(value)
    except ValueError:
        raise PydanticCustomError(
            "texts", 'a text that begins with [ must stand in a JSON list, for example ["[END]"]'
        ) from None


StopString = Annotated[str, Field(min_length=1, max_length=256)]
KeyText = Annotated[str, Field(min_length=1, max_length=4096)]
Keys = Annotated[tuple[KeyText, ...], NoDecode, BeforeValidator(_listed), Field(max_length=64)]
Texts = Annotated[tuple[StopString, ...], NoDecode, BeforeValidator(_listed), Field(max_length=16)]
Places = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=2048)], ...],
    NoDecode,
    BeforeValidator(_listed),
    Field(max_length=64),
]


class Settings(BaseSettings):
    """Every setting with its default; a flag of the same name wins over AUTOSTEER_NAME, that over the file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, protected_namespaces=())

    model: str = Field("demo", description="model folder or hub id; `demo` is the model of `make demo`")
    bundle: str | None = Field(None, description="folder or s3:// address of a calibrated bundle")
    device: str = Field("cpu", description="torch device of each worker, for example cpu or cuda")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="dtype of the base model")
    quantization: Literal["none", "8bit", "4bit"] = Field("none", description="width of the base model's weights")
    device_map: str | None = Field(None, description="spread one model over devices, e.g. auto; wins over device")
    workers: int = Field(2, ge=1, le=1024, description="number of Ray actors, each with one model")
    gpus_per_worker: float = Field(0.0, ge=0, description="GPUs that Ray gives each worker")
    rows_per_part: int = Field(64, ge=1, description="rows per part: the unit of lease, retry and output file")
    batch_rows: int = Field(16, ge=1, description="rows that plain generate decodes at once")
    engine: Literal["slots", "static"] = Field("slots", description="how answers are decoded; static: plain generate")
    slots: int = Field(16, ge=1, le=1024, description="rows that the slot engine decodes at once")
    lease_seconds: float = Field(300.0, description="a worker that does not renew in time loses its part")
    max_failures: int = Field(5, ge=1, description="failures after which a part is set aside")
    queue: str | None = Field(
        None, repr=False, description="postgresql:// address of the queue's server; default: a file of its own"
    )
    error_budget: float = Field(
        0.5, ge=0, le=1, description="a run stops early where a larger share of its rows are errors"
    )
    max_new_tokens: int = Field(48, ge=1, le=8192, description="longest answer")
    max_prompt_tokens: int = Field(8192, ge=16, description="longer prompts become error rows")
    gate_action: GateAction | None = Field(None, description="steer, prefix or canned; default: the bundle's own")
    alpha: float = Field(0.1, gt=0, lt=1, description="largest share of errors that the threshold allows, see bounds")
    delta: float = Field(0.05, gt=0, lt=1, description="1 - confidence of that bound")
    bounds: Bounds = Field(Bounds.MISSES, description="the error that alpha limits: misses or false-refusals")
    hold_out: HoldOut = Field(HoldOut.AUTO, description="what splits keep whole: source, pair, or auto")
    probe_sites: int = Field(4, ge=1, le=16, description="most sites (layer and pooling) that the probe reads")
    paper_form: bool = Field(False, description="calibrate: also fit the paper's exact form, to compare with")
    second_look: bool | None = Field(
        None, description="read answers as they grow: calibrate fits it, generate uses it"
    )
    refusal_languages: str = Field("en", description="languages of the refusals, for example en,de,fr")
    label_noise: float = Field(0.0, ge=0, lt=0.5, description="share of calibration labels believed to be wrong")
    seed: int = Field(0, ge=0, description="seed of splits, training and drawn tokens")
    cache: Path | None = Field(None, description="where the demo model is kept; default ~/.cache/autosteer")
    batch_tokens: int | None = Field(
        None, ge=1, description="prompt tokens of one pass; default: 1024 on cpu, else 8192"
    )
    batch_pixels: int = Field(4_194_304, ge=1, description="pixels of one forward pass, as the vision tower has them")
    attn_implementation: Attention | None = Field(
        None, description="of sdpa, eager, flash_attention_2; default: the model's"
    )
    encoding_processes: int | None = Field(
        None,
        ge=0,
        le=64,
        description="processes a worker that encode items ahead of the model; default 2, on a CPU 0",
    )
    encoding_megabytes: int = Field(256, ge=1, description="size of a worker's items that are encoded ahead")
    temperature: float | None = Field(
        None, ge=COLDEST, le=HOTTEST, description="draw tokens, by seed and item id; unset: take the likeliest"
    )
    top_p: float = Field(1.0, gt=0, le=1, description="draw among the likeliest tokens that sum to this share")
    top_k: int | None = Field(None, ge=1, description="draw among so many of the likeliest tokens")
    stop: Texts = Field((), description="an answer ends before this text, or before any of a JSON list of texts")
    logprobs: bool = Field(False, description="write the log of the probability of every token of an answer")
    activations: bool = Field(False, description="keep what the probe read of every row, for other probes to read")
    compile: bool = Field(False, description="compile the steps of the slot engine: measure before use")
    picture_roots: Places = Field(
        (), description="folders and s3:// prefixes that pictures may lie below; default: where the manifest lies"
    )
    fetch_hosts: Places = Field((), description="hosts that pictures are fetched from, for example img.example.com")

    trusted_keys: Keys = Field(
        (), description="whose bundles are served: a public key, a file of them, or a JSON list of both"
    )
    allow_unsigned: bool = Field(False, description="serve bundles that no trusted key has signed")
    epoch: int | None = Field(None, ge=0, le=MOST_EPOCH, description="of new signatures; default: least_epoch")
    registry: str | None = Field(None, description="folder or s3:// address that bundles are published to")
    require_sign_off: bool = Field(True, description="only a person's `promote` promotes; retraining never does")
    guard_opened: float = Field(0.25, gt=0, lt=1, description="share of rows whose gate a tried bundle may open")
    guard_closed: float = Field(0.05, gt=0, lt=1, description="share of rows whose gate a tried bundle may close")
    least_epoch: int = Field(0, ge=0, le=MOST_EPOCH, description="bundles with an older signature are refused")

    @model_validator(mode="after")
    def _can_sample(self) -> "Settings":
        """Refuse settings of sampling that would change nothing, or that the engine would refuse later."""
        if self.temperature is None and (self.top_p != 1 or self.top_k is not None):
            raise PydanticCustomError("sampling", "top_p and top_k need a temperature: set it too, or leave them out")
        if self.temperature is not None and self.engine == "static":
            raise PydanticCustomError(
                "sampling", "engine=static takes the likeliest token: leave out temperature, or use engine=slots"
            )
        return self

    @model_validator(mode="after")
    def _can_renew(self) -> "Settings":
        """Refuse a lease that one step of the model could outlast."""
        if not SHORTEST_LEASE <= self.lease_seconds <= LONGEST_LEASE:
            raise PydanticCustomError(
                "lease",
                "lease_seconds is {given}, expected {least} to {most}: a worker renews its lease three times in that "
                "time, between two steps of the model, and a step may take a second",
                {"given": self.lease_seconds, "least": SHORTEST_LEASE, "most": LONGEST_LEASE},
            )
        return self

    @model_validator(mode="after")
    def _can_compile(self) -> "Settings":
        """Refuse to compile where nothing would be."""
        if self.compile and self.engine == "static":
            raise PydanticCustomError(
                "compile", "engine=static cannot compile its steps: leave out compile, or use engine=slots"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags and the file are merged in `load_settings`; only the environment is a source of its own."""
        return init_settings, env_settings


def load_settings(file: Path | None = None, **flags: Any) -> Settings:
    """Settings from all sources; a flag that is None was not given.

    Raises:
        UserMistake: unknown key or variable, value out of range, unreadable file.
    """
    _refuse_unknown_variables()
    given = {name: value for name, value in flags.items() if value is not None}
    read = read_settings_file(file) if file else {}
    from_file = {name: value for name, value in read.items() if name not in given and not _in_environment(name)}
    try:
        return Settings(**from_file | given)
    except ValidationError as error:
        raise _mistake(error, file) from error


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _NOT_SETTINGS
    for name in os.environ:
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise UserMistake(f"environment variable {name} is no setting: {_nearest(name, known)}", "E_SETTING")


def _in_environment(name: str) -> bool:
    return any(variable.upper() == PREFIX + name.upper() for variable in os.environ)


def _mistake(error: ValidationError, file: Path | None) -> UserMistake:
    """Of several mistakes the first; the value of a setting that may hold a secret is not told."""
    problem = error.errors(include_url=False)[0]
    kind, names = problem["type"], [str(place) for place in problem["loc"]]
    if kind == "lease":
        return UserMistake(problem["msg"], "E_CONFIG_LEASE")
    if kind in {"sampling", "compile"}:
        return UserMistake(problem["msg"], "E_SETTING")
    if kind == "extra_forbidden":
        where = f" in {file}" if file else ""
        return UserMistake(
            f"unknown setting `{names[0]}`{where}: {_nearest(names[0], Settings.model_fields)}", "E_SETTING"
        )
    field = Settings.model_fields.get(names[0])
    value = "given" if field is None or not field.repr else f"{problem.get('input')!r:.80}"
    return UserMistake(f"setting `{'.'.join(names)}` is {value}: {problem['msg']}", "E_SETTING")


def _nearest(name: str, known: Iterable[str]) -> str:
    """What was meant, where it can be guessed, and everything that there is."""
    names = sorted(known)
    meant = get_close_matches(name, names, n=1)
    return f"{f'did you mean {meant[0]}? ' if meant else ''}expected one of {', '.join(names)}"
