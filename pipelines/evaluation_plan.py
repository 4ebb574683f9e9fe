"""Which runs an evaluation needs: read every row under every bundle, decode only what the rates need."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from autosteer_core.bundle import Bundle, to_files
from autosteer_core.epsilon_sweep import STRENGTHS, sweep_rows
from autosteer_core.questions import Question, SetKind
from autosteer_core.values import GateAction, Item, Verdict
from infra.item_files import items_to_parquet
from infra.open_store import open_store
from pipelines.bundle_files import load_bundle, save_bundle
from pipelines.evaluation_items import put_same, write_rows
from pipelines.evaluation_runs import Runs, Verdicts
from pipelines.hub_judges import exchange_text
from pipelines.reading import open_items
from pipelines.signing import signer_of
from pipelines.wiring import stream

OURS = "gated"
CONTROLS = "controls/"


@dataclass(frozen=True, slots=True)
class Seen:
    """Verdicts by item id. `risks`: audits of every row by bundle name. `paired`: sampled rows, and harmless rows
    behind an open gate, with compared answers. `attacked`: the other harmful rows. `others`: sampled rows under the
    other bundles that steer differently. `swept`: by epsilon."""

    risks: dict[str, Verdicts] = field(default_factory=dict)
    paired: Verdicts = field(default_factory=dict)
    attacked: Verdicts = field(default_factory=dict)
    others: dict[str, Verdicts] = field(default_factory=dict)
    swept: dict[float, Verdicts] = field(default_factory=dict)


def controls_of(bundle: str) -> dict[str, str]:
    """The control bundles that calibration left inside the bundle's folder: name -> address."""
    store = open_store(bundle)
    cards = [key for key in store.keys(CONTROLS) if key.endswith("/card.json")]
    names = [key.removeprefix(CONTROLS).removesuffix("/card.json") for key in cards]
    return {name: f"{bundle.rstrip('/')}/{CONTROLS}{name}" for name in names}


def run_everything(
    runs: Runs, address: str, questions: Sequence[Question], bundles: Mapping[str, str], sweep: int
) -> Seen:
    """`bundles` by name, the evaluated one under `OURS`; every run continues where it stopped."""
    ours, out = bundles[OURS], runs.out
    seen = Seen(_risks(runs, address, bundles))
    opened = {item for item, verdict in seen.risks[OURS].items() if verdict.gate_open}
    sampled = {row.item_id for row in questions if row.sampled}
    harmless = {row.item_id for row in questions if row.kind is not SetKind.HARMFUL}
    paired = sampled | (opened & harmless)
    attacked = {row.item_id for row in questions} - harmless - paired
    known = [
        write_rows(out, "paired", address, paired, opened),
        write_rows(out, "attacked", address, attacked, opened),
    ]
    paired_runs = runs.generate("paired", ours, known[0], compare=True)
    seen = replace(seen, paired=paired_runs, attacked=runs.generate("attacked", ours, known[1]))
    sample = write_rows(out, "sample", address, sampled, ())
    for name, bundle in bundles.items():
        steers = runs.settings.gate_action in (None, GateAction.STEER)
        if name != OURS and not (
            steers and same_edit(load_bundle(bundle, runs.settings), load_bundle(ours, runs.settings))
        ):
            seen.others[name] = runs.generate(slug(name), bundle, sample)
    _sweep(runs, seen, address, sweep_rows(questions, sweep, runs.settings.seed) if sweep else [], ours)
    return seen


def _risks(runs: Runs, address: str, bundles: Mapping[str, str]) -> dict[str, Verdicts]:
    """What every bundle reads of every row, from one audit; a row that a bundle could not read is missing there."""
    others = {name: bundle for name, bundle in bundles.items() if name != OURS}
    audited = runs.audit(address, bundles[OURS], others)
    return {OURS: audited} | {
        name: {item: _under(verdict, name) for item, verdict in audited.items() if name in verdict.beside}
        for name in others
    }


def _under(verdict: Verdict, name: str) -> Verdict:
    """The verdict with another bundle's reading in the place of its own."""
    reading = verdict.beside[name]
    return replace(verdict, risk=reading.risk, gate_open=reading.gate_open, beside={})


def same_edit(one: Bundle, other: Bundle) -> bool:
    """Whether both steer a row in the same way: then the answers of one tell those of the other, gate by gate."""
    if one.second_look or other.second_look or {one.gate_action, other.gate_action} != {GateAction.STEER.value}:
        return False
    parts = [to_files(replace(bundle, probe=other.probe)) for bundle in (one, other)]
    alike = one.head.epsilon == other.head.epsilon and one.head.tokens == other.head.tokens
    return alike and parts[0]["weights.safetensors"] == parts[1]["weights.safetensors"]


def _sweep(runs: Runs, seen: Seen, address: str, rows: Sequence[Question], ours: str) -> None:
    manifest = write_rows(runs.out, "sweep", address, {row.item_id for row in rows}, ())
    bundle = load_bundle(ours, runs.settings)
    for strength in STRENGTHS if manifest else ():
        epsilon = bundle.head.epsilon * strength
        folder = f"{runs.out.rstrip('/')}/sweep/{epsilon:g}"
        save_bundle(_always(bundle, epsilon), folder, signer_of(runs.settings))
        seen.swept[epsilon] = runs.generate(f"epsilon-{epsilon:g}", folder, manifest, gate_action=GateAction.STEER)


def _always(bundle: Bundle, epsilon: float) -> Bundle:
    """Every gate opens, because every risk is at least 0."""
    guarantee = replace(bundle.guarantee, threshold=0.0)
    head = replace(bundle.head, epsilon=epsilon)
    return replace(bundle, head=head, guarantee=guarantee, slices={}, second_look=None)


def judge_everything(
    runs: Runs, address: str, pairs: set[tuple[str, str]], judges: Sequence[str], bundle: str
) -> dict[str, dict[tuple[str, str], float]]:
    """What each model judge says of (item id, answer); what occurs under several conditions is read once."""
    if not judges or not pairs:
        return {}
    wanted = {item for item, _ in pairs}
    texts = {item.item_id: item.text for item in stream(open_items(address)) if item.item_id in wanted}
    keys = {exchange_id(*pair): pair for pair in sorted(pairs)}
    items = [Item(key, exchange_text(texts[item], answer)) for key, (item, answer) in keys.items()]
    put_same(open_store(runs.out), "rows/judged/00000.parquet", items_to_parquet(items))
    manifest = f"{runs.out.rstrip('/')}/rows/judged"
    found = {}
    for judge in judges:
        verdicts = runs.judge(slug(judge), judge, bundle, manifest)
        found[judge] = {keys[key]: verdict.risk for key, verdict in verdicts.items() if verdict.flaw is None}
    return found


def exchange_id(item_id: str, answer: str) -> str:
    """One id for equal pairs."""
    return hashlib.sha256(f"{item_id}\0{answer}".encode()).hexdigest()[:32]


def slug(name: str) -> str:
    """A name as a folder's; two names that look alike get two folders."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in name.lower()).strip("-")[-60:]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
