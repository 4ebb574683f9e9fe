"""The bundle's card: every field with its type and range; what is not listed here is refused."""

from collections.abc import Callable
from math import nextafter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from autosteer_core.errors import BundleRefused
from autosteer_core.guarantee import Bounds, Guarantee
from autosteer_core.strict_json import strict_json
from autosteer_core.values import GateAction, Modality, Pooling, Site

FORMAT = 2
MOST_BYTES = 2**20
AGAIN = "fetch the bundle again, or calibrate a new one"
_MOST_LAYERS = 1_000  # ten times the deepest model that we know of
_MOST_SITES = 16
_JUST_ABOVE_ONE = nextafter(1.0, 2.0)
_STRONGEST = (
    1_000.0  # calibration writes 0.1, an evaluation a few multiples of it; a negative one would undo refusals
)
_CODES = {"guarantee": "E_THRESHOLDS", "slices": "E_THRESHOLDS", "second_look": "E_THRESHOLDS"} | {
    "sites": "E_ARTIFACT_SHAPE"
}

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Wording = Annotated[str, Field(min_length=1, max_length=4_096)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SiteFields(_Strict):
    """Where the probe reads."""

    layer: Annotated[int, Field(ge=1, le=_MOST_LAYERS)]
    pooling: Annotated[Pooling, Field(strict=False)]


class GuaranteeFields(_Strict):
    """A threshold, and what was counted for its promise."""

    threshold: Share
    alpha: Share
    delta: Share
    harmful: Count
    missed: Count
    bound: Share
    benign: Count
    false_refusals: Count
    false_refusal_bound: Share
    bounds: Annotated[Bounds, Field(strict=False)]

    def value(self) -> Guarantee:
        return Guarantee(**self.model_dump())


class LookFields(_Strict):
    """When a growing answer is read, and what stops it: above 1, nothing, where a benign answer was read as 1."""

    threshold: Annotated[float, Field(ge=0, le=_JUST_ABOVE_ONE, allow_inf_nan=False)]
    every: Annotated[int, Field(ge=1)]


class Card(_Strict):
    """`card.json` as it is read; the report is measured values for people and programs, nothing that decides."""

    format: Literal[2]
    weights_sha256: Sha256
    fingerprint: Sha256
    sites: Annotated[list[SiteFields], Field(min_length=1, max_length=_MOST_SITES)]
    epsilon: Annotated[float, Field(ge=0, le=_STRONGEST, allow_inf_nan=False)]
    steered_tokens: Annotated[int, Field(ge=1)] | None
    guarantee: GuaranteeFields
    slices: dict[Annotated[Modality, Field(strict=False)], GuaranteeFields]
    second_look: LookFields | None
    refusal: Wording
    refusals: dict[str, Wording]
    gate_action: Annotated[GateAction, Field(strict=False)]
    report: dict[str, Any]

    def places(self) -> tuple[Site, ...]:
        """The sites as the probe knows them."""
        return tuple(Site(site.layer, site.pooling) for site in self.sites)


def read_card(data: bytes) -> Card:
    """The card; raises BundleRefused with the field's name."""
    if len(data) > MOST_BYTES:
        raise BundleRefused(
            f"card.json has {len(data):,} bytes, expected at most {MOST_BYTES:,}: {AGAIN}", "E_ARTIFACT_CORRUPT"
        )
    try:
        found = strict_json(data)
    except ValueError as error:
        raise BundleRefused(f"card.json is not readable JSON ({error}): {AGAIN}", "E_ARTIFACT_CORRUPT") from None
    version = found.get("format") if isinstance(found, dict) else None
    if version != FORMAT:
        raise BundleRefused(
            f"card.json has format {_shown(version)}, this version reads {FORMAT}: calibrate the bundle again",
            "E_ARTIFACT_FORMAT",
        )
    return _checked(lambda: Card.model_validate(found))


def _checked(read: Callable[[], Card]) -> Card:
    try:
        return read()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = [str(step) for step in problem["loc"]]
        raise BundleRefused(
            f"card.json: field {'.'.join(place)} {_complaint(problem)}: {AGAIN}",
            _CODES.get(place[0] if place else "", "E_ARTIFACT_FORMAT"),
        ) from None


def _complaint(problem: Any) -> str:
    if problem["type"] == "missing":
        return "is missing"
    if problem["type"] == "extra_forbidden":
        return "is unknown"
    return f"is {_shown(problem['input'])}, expected: {problem['msg'].removeprefix('Input should be ')}"


def _shown(value: Any) -> str:
    """A hostile value is said in few letters, and never with line ends of its own."""
    text = ascii(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
