# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The memory of issuers: kept for 180 days after they were last seen, by whatever clock."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mailops.dane.plugins.module_utils._errors import LedgerError
from ansible_collections.mailops.dane.plugins.module_utils._issuers import KEEP_SECONDS, Issuers
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Clock, Ledger
from rollover_values import T0, record

ONE, TWO = record("one", "2 1 1"), record("two", "2 0 2")


def test_an_issuer_is_remembered_for_180_days_after_it_was_last_seen():
    seen = Issuers().noted([ONE], T0).noted([TWO], T0 + 9).noted([ONE], T0 + 10)
    assert seen.records() == {ONE, TWO} and dict(seen.seen) == {ONE: T0 + 10, TWO: T0 + 9}
    assert seen.noted([], T0 + 9 + KEEP_SECONDS - 1).records() == {ONE, TWO}
    assert seen.noted([], T0 + 9 + KEEP_SECONDS).records() == {ONE}
    assert KEEP_SECONDS == 180 * 86400


@pytest.mark.parametrize("other", [record("one"), record("one", "2 1 0"), record("one", "2 1 1")._replace(usage=0)])
def test_only_digests_of_issuers_are_remembered(other):
    """What is remembered gets published."""
    with pytest.raises(LedgerError, match="Cannot remember"):
        Issuers().noted([other], T0)
    with pytest.raises(LedgerError, match="Cannot remember"):
        Issuers.from_list([[str(other), T0]])


def test_a_jump_of_the_clock_does_not_forget():
    """A year in one step, by the wall clock alone."""
    year = 366 * 86400
    noted = Ledger(clock=Clock(T0, "boot", 100.0), issuers=Issuers().noted([ONE], T0))
    ahead = noted.at(Clock(T0 + year, "boot", 110.0))
    assert dict(ahead.issuers.seen) == {ONE: T0 + year - 10}
    back = noted.at(Clock(T0 - year, "boot", 110.0))
    assert dict(back.issuers.seen) == {ONE: T0 - year}


def test_it_comes_back_from_the_ledger_as_it_was():
    ledger = Ledger(issuers=Issuers().noted([TWO, ONE], T0))
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger


@pytest.mark.parametrize("data", [
    None, 7, "x", {"a": 1}, [["2 1 1"]], [[str(ONE), "yesterday"]], [[str(ONE), -1]], [[7, T0]], [["x", T0]],
    [[str(ONE), T0], [str(ONE).upper(), T0 + 1]],
])
def test_what_is_no_memory_of_issuers_is_refused(data):
    with pytest.raises(LedgerError, match="Cannot read the issuers"):
        Issuers.from_list(data)
