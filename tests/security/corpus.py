"""All cases of all kinds."""

from tests.security import setting_cases
from tests.security.case import Case

CASES: list[Case] = [*setting_cases.CASES]
