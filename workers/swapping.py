"""Bring what is promoted to all workers: check everywhere first, then switch, and repeat until all have it."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autosteer_core.errors import BundleRefused
from autosteer_core.serving import BundleSource, Serving
from autosteer_core.values import BundleId

log = logging.getLogger(__name__)

Files = Mapping[str, bytes]
Workers = Mapping[str, Any]
Ask = Callable[[Workers, str, Any], Mapping[str, Any]]


class Away(Exception):
    """A worker gave no answer: it died, or has nothing to swap yet. It is asked again at the next look."""


@dataclass(slots=True)
class Swapper:
    """Each look asks those workers that do not serve yet what is promoted now.

    `workers` are those that live now, by name; `ask` calls a method of all of them at once with one argument, and
    gives for each what it returned, or the BundleRefused or Away that it met. `share` makes a bundle's files travel
    once for all of them. What a worker serves is remembered of the process, not of its name: another one that took
    the name over is asked like any new one.
    """

    source: BundleSource
    workers: Callable[[], Workers]
    ask: Ask
    share: Callable[[Files], Any] = lambda files: files
    _served: dict[str, tuple[Any, Serving]] = field(default_factory=dict)
    _shared: dict[tuple[int, BundleId], Any] = field(default_factory=dict)
    _refused: set[tuple[int, BundleId]] = field(default_factory=set)

    def look(self) -> bool:
        """Whether every worker that lives serves what is promoted now.

        Raises:
            AutosteerError: the registry, or a bundle in it, cannot be read; everything stays as it is.
        """
        wanted, workers = self._without_refused(self.source.serving()), dict(self.workers())
        behind = {name: worker for name, worker in workers.items() if not self._serves(name, worker, wanted)}
        if behind and not self._is_refused(wanted, wanted.promoted):
            wanted = self._swap(wanted, behind)
        return all(self._serves(name, worker, wanted) for name, worker in workers.items())

    def _serves(self, name: str, worker: Any, wanted: Serving) -> bool:
        process, serving = self._served.get(name, (None, None))
        return process is worker and serving == wanted

    def _swap(self, wanted: Serving, behind: Workers) -> Serving:
        """Offered to all before any of them switches: a bundle that one of them refuses is served by none.

        Returns what they were asked to serve.
        """
        ready = dict(behind)
        for bundle_id in wanted.bundles:
            answers = self.ask(ready, "offer", self._files(wanted.epoch, bundle_id))
            if self._refusals(answers):
                self._refused.add((wanted.epoch, bundle_id))
            ready = {name: ready[name] for name, said in answers.items() if not isinstance(said, Away)}
        if self._is_refused(wanted, wanted.promoted):
            return wanted
        wanted = self._without_refused(wanted)
        answers = self.ask(ready, "serve", wanted)
        self._refusals(answers)
        for name, said in answers.items():
            if not isinstance(said, Exception):
                self._served[name] = (ready[name], wanted)
        return wanted

    def _refusals(self, answers: Mapping[str, Any]) -> bool:
        refusals = {name: said for name, said in answers.items() if isinstance(said, BundleRefused)}
        for name, said in refusals.items():
            log.error("%s refuses a bundle, and serves on what it has: %s", name, said)
        return bool(refusals)

    def _is_refused(self, wanted: Serving, bundle_id: BundleId) -> bool:
        return (wanted.epoch, bundle_id) in self._refused

    def _without_refused(self, wanted: Serving) -> Serving:
        """What is promoted is served even where its candidate is refused."""
        if wanted.candidate is None or not self._is_refused(wanted, wanted.candidate):
            return wanted
        return replace(wanted, candidate=None, canary=0.0)

    def _files(self, epoch: int, bundle_id: BundleId) -> Any:
        """Read and sent once an epoch: a promotion signs anew."""
        if (epoch, bundle_id) not in self._shared:
            self._shared = {key: files for key, files in self._shared.items() if key[0] == epoch}
            self._shared[epoch, bundle_id] = self.share(self.source.files(bundle_id))
        return self._shared[epoch, bundle_id]
