"""The numbers of a chaos run, printed as one table after everything else."""

from collections.abc import Callable

import pytest

_NUMBERS: dict[str, str] = {}


@pytest.fixture
def report() -> Callable[[str, object], None]:
    """Call it with what was measured and how much it was."""
    return lambda name, value: _NUMBERS.__setitem__(name, str(value))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Last, so that nobody has to look for them."""
    if not _NUMBERS:
        return
    width = max(map(len, _NUMBERS))
    terminalreporter.section("chaos, in numbers")
    for name, value in _NUMBERS.items():
        terminalreporter.write_line(f"{name:<{width}}  {value}")
