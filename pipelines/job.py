"""What a worker process must know to do its share of a run: plain values only, so that they travel."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from infra.column_map import ColumnMap
from pipelines.bundle_files import BundleReader
from pipelines.settings import Settings

Kind = Literal["generate", "audit"]


@dataclass(frozen=True, slots=True)
class Job:
    """`provenance` is written on every row: run, bundle, model. `judge` names a model that reads answers instead.

    `beside` are further bundles of an audit, name -> address, and `beside_ids` what they hold. A worker holds at most
    `most_parts` at once. `sites` are what the bundle's probe reads, in words,
    `planned` is the SHA-256 of every file of the manifest. `bundles` is how it reads a bundle: by
    the trust of whoever started the run. With a `registry` the run follows what is promoted there: `provenance` and
    `sites` do not hold for a part that was pinned to a bundle of its own.
    """

    kind: Kind
    manifest: str
    out: str
    settings: Settings
    columns: ColumnMap
    compare: bool
    provenance: Mapping[str, str]
    threads: int
    judge: str | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    beside_ids: Mapping[str, str] = field(default_factory=dict)
    most_parts: int = 1
    sites: str = ""
    planned: Mapping[str, str] = field(default_factory=dict)
    bundles: BundleReader = field(default_factory=BundleReader)
    registry: str | None = None

    @property
    def answer_settings(self) -> dict[str, Any]:
        """The settings that change rows, and so belong to the run's identity."""
        names = ["max_prompt_tokens", "rows_per_part", "dtype", "attn_implementation"]
        names += [name for name in ("picture_roots", "fetch_hosts") if getattr(self.settings, name)]
        if self.settings.activations:
            names += ["activations"]
        if self.kind == "generate":
            names += ["max_new_tokens", "gate_action", "engine", "second_look"]
            names += ["temperature", "top_p", "top_k", "stop", "logprobs", "compile"]
            names += ["seed"] if self.settings.temperature is not None else []
        chosen = {name: self.settings.model_dump(mode="json")[name] for name in names}
        chosen["columns"] = asdict(self.columns)
        if self.judge is not None:
            chosen["judge"] = self.judge
        if self.beside_ids:
            chosen["beside"] = dict(self.beside_ids)
        return chosen | {"compare": self.compare} if self.kind == "generate" else chosen
