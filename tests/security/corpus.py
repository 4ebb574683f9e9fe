"""All cases of all kinds."""

from tests.security import address_cases, bundle_cases, manifest_cases, picture_cases, setting_cases, text_cases
from tests.security.case import Case

CASES: list[Case] = [
    *manifest_cases.CASES,
    *text_cases.CASES,
    *picture_cases.CASES,
    *bundle_cases.CASES,
    *setting_cases.CASES,
    *address_cases.CASES,
]
