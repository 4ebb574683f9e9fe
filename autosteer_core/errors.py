"""Errors named by what the caller does next; every message says what, where, expected and what to do."""

from autosteer_core.values import Flaw


class AutosteerError(Exception):
    """Base of every error that we raise on purpose: one sentence for a person, a stable code for a program."""

    code = "E_FAILED"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code


class UserMistake(AutosteerError):
    """The request cannot be served as given: print the sentence and exit with code 2."""

    code = "E_REQUEST"


class BadItem(AutosteerError):
    """This item cannot be answered: write an error row and go on with the part.

    `column` is the manifest's column, by our name, that holds what is wrong: `image`, `images[2]`.
    """

    def __init__(self, code: str, message: str, column: str | None = None) -> None:
        super().__init__(f"{code}: {message}", code)
        self.flaw = Flaw(code, message, column)

    def __reduce__(self) -> tuple[type["BadItem"], tuple[str, str, str | None]]:
        """Two arguments make one text, so the default cannot bring the error back across processes."""
        return type(self), (self.flaw.code, self.flaw.message, self.flaw.column)


class TryAgain(AutosteerError):
    """The part may succeed later: release it to the queue."""


class Unreachable(TryAgain):
    """What all parts depend on does not answer: wait for it, and count that against nobody."""


class LeaseLost(AutosteerError):
    """Another worker owns the part now, or it is finished: drop it and write nothing."""


class BundleRefused(UserMistake):
    """The bundle is damaged or belongs to another model: keep what is loaded, or do not start."""

    code = "E_ARTIFACT"


class Interrupted(AutosteerError):
    """A person stopped the command: what is committed stays, exit with code 130."""

    code = "E_INTERRUPTED"


class StopWorker(AutosteerError):
    """This process can no longer be trusted: exit and be replaced."""


def first_line(error: Exception) -> str:
    """What a library says of its own error, short enough for a sentence of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip()
