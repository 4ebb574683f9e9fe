"""How many rows of a run are committed so far, and when too many of them are errors to go on."""

from collections import Counter

from autosteer_core.errors import AutosteerError, Unreachable
from autosteer_core.ports import BlobStore
from autosteer_core.records import CommitRecord, RedoRecord, new_records
from autosteer_core.values import Action

_ENOUGH_ROWS = 100


class TooManyErrors(AutosteerError):
    """More rows than the person allowed are errors: the run stops early, what is committed stays."""


class CommitWatch:
    """Reads every commit record once; `error_budget` is the largest share of rows that may be errors."""

    def __init__(self, store: BlobStore, error_budget: float) -> None:
        self._store = store
        self._error_budget = error_budget
        self._seen: set[str] = set()
        self._replaced: set[str] = set()
        self._actions: Counter[str] = Counter()

    @property
    def rows(self) -> int:
        """Rows committed, when it last looked."""
        return self._actions.total()

    def look(self) -> int:
        """Rows committed by now; the last number where the store does not answer.

        Raises:
            TooManyErrors: of a hundred rows or more, a larger share than `error_budget` are errors.
        """
        try:
            for record in new_records(self._store, self._seen):
                if isinstance(record, RedoRecord):
                    self._replaced.add(record.part_id)
                elif isinstance(record, CommitRecord) and record.part_id not in self._replaced:
                    self._actions.update(record.actions)
        except Unreachable:
            return self.rows
        errors = self._actions[Action.ERROR]
        if self.rows >= _ENOUGH_ROWS and errors > self._error_budget * self.rows:
            raise TooManyErrors(
                f"stopped early: {errors} of {self.rows} rows are errors, error_budget allows "
                f"{self._error_budget:.0%}: read error_code and error_message in {self._store.describe()}/parts, "
                "mend the manifest or the settings, or repeat the command with a larger --set error_budget"
            )
        return self.rows
