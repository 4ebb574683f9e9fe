"""All cases of all kinds."""

from tests.security.case import Case

CASES: list[Case] = []
