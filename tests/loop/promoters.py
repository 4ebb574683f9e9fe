"""Processes that change one registry at once, each writing down what it was told was done."""

import json
import multiprocessing
import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autosteer_core.errors import UserMistake
from autosteer_core.registry import Registry, State
from autosteer_core.values import BundleId
from infra.open_store import open_store
from tests.registries import registry

FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Told:
    """What a writer was answered: the state after its change, in few words."""

    number: int
    epoch: int
    serving: str | None

    @classmethod
    def of(cls, state: State) -> "Told":
        return cls(state.number, state.epoch, state.serving)


def promote_once(address: str, bundle_id: BundleId, expected: int, start: Any, answers: Any) -> None:
    """Puts the bundle's id, and None or the code of what it was refused with."""
    ours = registry(open_store(address))
    start.wait()
    try:
        ours.promote(bundle_id, "mine", str(os.getpid()), expected)
        answers.put((bundle_id, None))
    except UserMistake as mistake:
        answers.put((bundle_id, mistake.code))


def keep_changing(address: str, ids: list[BundleId], seed: int, journal: Path) -> None:
    """Until it is killed: promotions, rollbacks, shadows and canaries by chance, each answer into the journal."""
    luck, ours = random.Random(seed), registry(open_store(address))
    with journal.open("a", buffering=1) as lines:
        while True:
            try:
                told = Told.of(change(luck, ours, ids))
            except UserMistake as mistake:
                assert mistake.code in {"E_REGISTRY_STAGE", "E_REGISTRY_MOVED"}, mistake
                continue
            lines.write(json.dumps([told.number, told.epoch, told.serving]) + "\n")


def change(luck: random.Random, ours: Registry, ids: list[BundleId]) -> State:
    """One act by chance; half of them by a state that may be old."""
    one, expected = luck.choice(ids), ours.state().number if luck.random() < 0.5 else None
    match luck.randrange(5):
        case 0:
            return ours.roll_back("by chance", "chance", expected=expected)
        case 1:
            return ours.shadow(one, "by chance", expected=expected)
        case 2:
            return ours.canary(one, luck.random(), "by chance", expected=expected)
        case _:
            return ours.promote(one, "by chance", "chance", expected)
