"""All cases of all kinds."""

from tests.security import bundle_cases, setting_cases
from tests.security.case import Case

CASES: list[Case] = [*bundle_cases.CASES, *setting_cases.CASES]
