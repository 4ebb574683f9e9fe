"""The nouns of the service as frozen data: item, part, lease, verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

PartId = NewType("PartId", str)
BundleId = NewType("BundleId", str)
Fingerprint = NewType("Fingerprint", str)


HALF, AGAIN = ".", "~"  # in a part's id, before each piece that it was cut to: halved, or to be done again


class Label(StrEnum):
    """What a person said about an item; never what the probe said."""

    HARMFUL = "harmful"
    BENIGN = "benign"


class Action(StrEnum):
    """What happened to an item: generate uses the first four, audit allow, flag, review and error."""

    ANSWER = "answer"
    REFUSE = "refuse"
    REVIEW = "review"
    ERROR = "error"
    ALLOW = "allow"
    FLAG = "flag"


class Modality(StrEnum):
    """What an item shows the model."""

    TEXT = "text"
    IMAGE = "image"
    TEXT_AND_IMAGE = "text+image"


class Cause(StrEnum):
    """Why a part goes back to the queue: what it met, the death of its worker, or neither."""

    FAILURE = "failure"
    CRASH = "crash"
    SHUTDOWN = "shutdown"


class Pooling(StrEnum):
    """How a layer's states become one vector a prompt: its last token, or the mean over its own tokens."""

    LAST = "last"
    MEAN = "mean"

    @property
    def place(self) -> int:
        """Where activations of this pooling lie on their axis."""
        return list(Pooling).index(self)


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """Where a probe reads: the residual stream that enters block `layer`, counted from 1, pooled over the prompt."""

    layer: int
    pooling: Pooling

    def __str__(self) -> str:
        return f"{self.layer} {self.pooling}"


class GateAction(StrEnum):
    """What an open gate does: Refusal Head alone; forced opening, then the head; fixed text without decoding."""

    STEER = "steer"
    PREFIX = "prefix"
    CANNED = "canned"


@dataclass(frozen=True, slots=True)
class Annotation:
    """What the manifest's author knows of an item: for calibration, evaluation, and a group's refusal wording."""

    label: Label | None = None
    group: str | None = None
    pair: str | None = None
    source: str | None = None

    @property
    def group_name(self) -> str:
        """The group that rates are reported under: `all` where the author named none."""
        return self.group or "all"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to judge or answer; `images` are encoded bytes (PNG, JPEG or WebP), not yet decoded.

    `flaw` is set when the row itself could not be read: such an item becomes an error row. `max_new_tokens` limits
    its answer below the run's limit. `system` is a system message before the user's turn, in place of the template's.
    `under` names the bundle that judges it, None the one that the run is pinned to.
    """

    item_id: str
    text: str
    images: tuple[bytes, ...] = ()
    row: int = 0
    annotation: Annotation = field(default_factory=Annotation)
    flaw: "Flaw | None" = None
    max_new_tokens: int | None = None
    system: str | None = None
    under: BundleId | None = None

    @property
    def modality(self) -> Modality:
        """Known without reading the images: blank text beside an image counts as image only."""
        if not self.images:
            return Modality.TEXT
        return Modality.TEXT_AND_IMAGE if self.text.strip() else Modality.IMAGE


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why an item cannot be answered: a stable code, one sentence for a person, the column where it is known."""

    code: str
    message: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [start, stop) of one manifest file: the unit of lease, retry and output file."""

    part_id: PartId
    source: str
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of rows, by position; empty parts do not exist."""
        return self.stop - self.start

    @property
    def halvings(self) -> int:
        """How often it was halved; the id tells, so that a lost queue takes nothing along."""
        return self.part_id.count(HALF)

    def halves(self) -> "tuple[Part, Part]":
        """Both halves, the first no longer than the second; a part of one row has none."""
        middle = (self.start + self.stop) // 2
        return self.piece(HALF, self.start, middle), self.piece(HALF, middle, self.stop)

    def piece(self, mark: str, start: int, stop: int) -> "Part":
        """Some of its rows as a part of their own; `mark` is HALF or AGAIN."""
        return Part(PartId(f"{self.part_id}{mark}{start}-{stop}"), self.source, start, stop)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to finish a part until `expires_at` (queue clock, seconds); `token` grows with every claim.

    `crashes` counts the workers that died, or let their lease expire, while they had this very part. `under` is the
    bundle that its worker pinned it to when it claimed it, None in a run that is pinned as a whole.
    """

    part: Part
    token: int
    worker: str
    expires_at: float
    crashes: int = 0
    under: BundleId | None = None


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How many parts are in each state; they add up to the number of parts added, halves among them."""

    ready: int = 0
    leased: int = 0
    done: int = 0
    buried: int = 0
    split: int = 0

    @property
    def unfinished(self) -> int:
        """Parts that still need a worker."""
        return self.ready + self.leased


@dataclass(frozen=True, slots=True)
class Reading:
    """What another bundle says of the same item: its risk, and whether its gate would open."""

    risk: float
    gate_open: bool


@dataclass(frozen=True, slots=True)
class Activation:
    """What a probe read of an item: `vector` is float16, little-endian, its sites side by side.

    `content` is the SHA-256 of what the model was shown, `modality` what kind of thing that was: a bundle may have a
    threshold of its own for each.
    """

    content: bytes
    vector: bytes
    modality: Modality = Modality.TEXT


@dataclass(frozen=True, slots=True)
class Verdict:
    """One item's outcome: exactly one per manifest row.

    `risk` is the calibrated probability in [0, 1] of harm, NaN only beside an error or a review; the gate opened
    at risk >= `threshold`. `gate_evaluations` and `steered_tokens` prove that the gate ran and how often its edit
    was applied; `opened_after` counts the tokens after which the second look opened a gate that was closed. `beside`
    holds the readings of other bundles, by the name that the audit gave them.
    `logprobs`, where asked for, are natural logs of the probabilities of the answer's tokens; a fixed text has none.
    `activation` is kept where that was asked for. A row equal to an earlier one shares its computation, and so its
    counts. `under` is the bundle whose probe and head made it, where its item named one.
    """

    item_id: str
    row: int
    action: Action
    risk: float
    answer: str | None = None
    flaw: Flaw | None = None
    threshold: float | None = None
    gate_open: bool | None = None
    gate_evaluations: int = 0
    opened_after: int | None = None
    steered_tokens: int = 0
    borderline: bool = False
    finish_reason: str | None = None
    annotation: Annotation = field(default_factory=Annotation)
    compared: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Reading] = field(default_factory=dict)
    logprobs: tuple[float, ...] | None = None
    activation: Activation | None = None
    under: BundleId | None = None
