"""No assertion of the suite is forgotten, none is told twice, and the page says what the cases say."""

from __future__ import annotations

from tests.serving.conformance import test_wms13
from tests.serving.conformance.suite import ASSERTIONS, CASES, DOES_NOT_APPLY, FAILS, GROUPS, PAGE, cases_of, held, page


def test_every_assertion_has_a_case_or_a_reason():
    """Each id is a group, has a case, or does not apply, and only one of these; what fails has a case."""
    assert len(set(ASSERTIONS)) == len(ASSERTIONS)
    kinds = [set(GROUPS), set(held), set(DOES_NOT_APPLY)]
    assert set.union(*kinds) == set(ASSERTIONS)
    assert sum(map(len, kinds)) == len(ASSERTIONS)
    assert set(FAILS) <= set(held)


def test_the_page_says_what_the_cases_say():
    """docs/conformance.md is what suite.py writes, from the cases that run."""
    assert test_wms13.asserts and cases_of(CASES.read_text("utf-8")) == set(held)
    assert PAGE.read_text("utf-8") == page(held), "run: python tests/serving/conformance/suite.py"
