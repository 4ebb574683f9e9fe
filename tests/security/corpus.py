"""All cases of all kinds."""

from tests.security import address_cases, setting_cases
from tests.security.case import Case

CASES: list[Case] = [*address_cases.CASES, *setting_cases.CASES]
