"""Errors named by what the caller does next; every message says what, where, expected and what to do."""

from autosteer_core.values import Flaw


class AutosteerError(Exception):
    """Base of every error that we raise on purpose; its text is one sentence for a person."""


class UserMistake(AutosteerError):
    """The request cannot be served as given: print the sentence and exit with code 2."""


class BadItem(AutosteerError):
    """This item cannot be answered: write an error row and go on with the part."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.flaw = Flaw(code, message)

    def __reduce__(self) -> tuple[type["BadItem"], tuple[str, str]]:
        """Two arguments make one text, so the default cannot bring the error back across processes."""
        return type(self), (self.flaw.code, self.flaw.message)


class TryAgain(AutosteerError):
    """The part may succeed later: release it to the queue."""


class Unreachable(TryAgain):
    """What all parts depend on does not answer: wait for it, and count that against nobody."""


class LeaseLost(AutosteerError):
    """Another worker owns the part now, or it is finished: drop it and write nothing."""


class BundleRefused(UserMistake):
    """The bundle is damaged or belongs to another model: keep what is loaded, or do not start."""


class Interrupted(AutosteerError):
    """A person stopped the command: what is committed stays, exit with code 130."""


class StopWorker(AutosteerError):
    """This process can no longer be trusted: exit and be replaced."""


def first_line(error: Exception) -> str:
    """What a library says of its own error, short enough for a sentence of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip()
