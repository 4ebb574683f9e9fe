"""All cases of all kinds."""

from tests.security import picture_cases, setting_cases
from tests.security.case import Case

CASES: list[Case] = [*picture_cases.CASES, *setting_cases.CASES]
