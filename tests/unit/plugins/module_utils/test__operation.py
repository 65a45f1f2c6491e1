# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts begin a rekey or go on with one, and why."""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _operation
from ansible_collections.mailops.dane.plugins.module_utils._errors import LedgerError, PlanError
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from plan_values import BOTH, OTHER, A, B, C, D, elsewhere, host
from rollover_values import OWNER, T0, record, version


# --------------------------------------------------------------------------------------------------------------- decide


def enabled(number, operation=None):
    return host(number, ours=[record("A")], operation=operation)


def test_with_nothing_open_every_host_begins():
    assert _operation.decide([enabled(1), enabled(2)]) == {"mx1": "new", "mx2": "new"}


def test_an_open_operation_is_completed_and_none_is_begun():
    decision = _operation.decide([enabled(1), enabled(2, B)])
    assert decision["mx1"] is None and decision["mx2"]["target_spki"] == B.spki


def test_idle_hosts_may_begin_beside_an_open_operation():
    decision = _operation.decide([enabled(1), enabled(2, B)], "new")
    assert decision["mx1"] == "new" and decision["mx2"]["target_spki"] == B.spki


def test_an_open_operation_may_be_abandoned():
    assert _operation.decide([enabled(1), enabled(2, B)], "abandon") == {"mx1": "new", "mx2": "new"}


def test_a_host_that_was_never_enabled_is_named():
    with pytest.raises(PlanError, match=f"mx2.*{OWNER}.*enable.yml"):
        _operation.decide([enabled(1), host(2)])


def test_a_ledger_that_is_none_is_named():
    with pytest.raises(LedgerError):
        _operation.decide([{**enabled(1), "ledger": {"operation": None}}])


# ----------------------------------------------------------------------------------------------------------- compromise


def compromised(number, **more):
    """A host with an operation that is open because of a compromise, about key C."""
    one = enabled(number, C)
    one["ledger"]["operation"]["kind"] = "compromise"
    return {**one, **more}


def test_a_compromise_gives_up_what_was_begun_for_another_reason():
    """Its next key lies on the same host."""
    assert _operation.decide([enabled(1), enabled(2, B)], reason="compromise") == {"mx1": "new", "mx2": "new"}
    assert _operation.gives_up(enabled(1, B), "auto", "compromise")
    assert not _operation.gives_up(enabled(1, B), "auto", "routine")
    assert not _operation.gives_up(enabled(1), "auto", "compromise")
    assert _operation.gives_up(enabled(1, B), "abandon", "routine")


def test_a_compromise_that_was_begun_is_completed_with_or_without_the_option():
    for reason in ("compromise", "routine"):
        decision = _operation.decide([enabled(1), compromised(2)], reason=reason)
        assert decision["mx1"] is None and decision["mx2"]["target_spki"] == C.spki


def test_a_compromise_does_not_wait_until_keys_are_due():
    with pytest.raises(PlanError, match="without dane_rekey=due"):
        _operation.decide([aged(1, 900)], "due", T0, "compromise")


def test_whatever_lies_ready_on_a_compromised_host_is_burnt_but_not_what_is_served():
    assert _operation.burnt(enabled(1), "compromise", [A.spki, B.spki]) == [B.spki]
    assert _operation.burnt(enabled(1, C), "compromise", [A.spki, B.spki]) == sorted([B.spki, C.spki])
    # In the chain file, and presented by nobody yet.
    assert _operation.burnt({**enabled(1, C), "file_spki": C.spki}, "compromise", [A.spki, C.spki]) == []


def test_of_a_rekey_that_is_abandoned_the_key_is_burnt_and_nothing_else():
    """Else it would pass for a standby: its record is published, and it was never served."""
    assert _operation.burnt(enabled(1, C), "routine", [A.spki, B.spki, C.spki]) == [C.spki]
    assert _operation.burnt(enabled(1, A), "routine", [A.spki]) == [] == _operation.burnt(enabled(1), "routine", [B.spki])


def test_a_compromise_says_how_long_it_takes_before_it_begins():
    one = {**enabled(1), "replay_until": T0 + 14 * 86400 + 60}
    told = _operation.warning([one, enabled(2)], {"mx1": "new", "mx2": None}, "compromise")
    assert len(told) == 1 and told[0].startswith(f"mx1: key {A.spki[:16]} is compromised")
    assert "in every cache: 21 s after the last server" in told[0]
    assert "can deceive senders until 2023-11-28 22:14 UTC" in told[0]
    slow = host(1, served=[version(record("A"), ttl=3600)], ours=[record("A")])
    assert "120 min after the last server" in _operation.warning([slow], {"mx1": "new"}, "compromise")[0]
    assert "until a time that is not known" in _operation.warning([slow], {"mx1": "new"}, "compromise")[0]
    # The wait is as long as the longest of both TTLs asks.
    assert "360 min after" in _operation.warning([{**slow, "ttl": 10800}], {"mx1": "new"}, "compromise")[0]


def test_it_is_said_again_when_it_is_gone_on_with_and_never_of_another_rekey():
    hosts = [compromised(1), enabled(2, B)]
    decision = _operation.decide(hosts)
    assert [text[:4] for text in _operation.warning(hosts, decision, "routine")] == ["mx1:"]
    assert _operation.warning([enabled(1)], {"mx1": "new"}, "routine") == []


# -------------------------------------------------------------------------------------------------------------- standby


def lineage(name, key, digest512="00"):
    return {"lineage": name, "spki": key.spki, "spki512": digest512, "made": T0}


def on_key(key, mtype=1):
    return Record(3, 1, mtype, key.spki * mtype)


LINEAGES = [lineage("one", A), lineage("one-2", B)]


def test_the_standby_is_the_lineage_whose_key_is_published_and_was_never_served():
    one = host(1, ours=[on_key(A), on_key(B)])
    assert _operation.standby_lineage(LINEAGES, one) == "one-2"
    # Also when the one that is served is gone.
    assert _operation.standby_lineage(LINEAGES[1:], one) == "one-2"
    assert _operation.standby_lineage(LINEAGES[:1], one) == ""


def test_by_its_other_digest_and_at_any_name():
    by_512 = [lineage("one", A), lineage("one-2", B, B.spki * 2)]
    assert _operation.standby_lineage(by_512, host(1, ours=[on_key(B, 2)])) == "one-2"
    assert _operation.standby_lineage(LINEAGES, host(1, ours=[on_key(B, 2)])) == ""
    elsewhere = host(1, ours=[on_key(B)], owner=OTHER)
    assert _operation.standby_lineage(LINEAGES, elsewhere) == "one-2"
    assert _operation.standby_lineage(LINEAGES, {**elsewhere, "owners": [OWNER]}) == ""


def test_a_key_without_a_record_is_no_standby():
    """It may have been served before the ledger began, or been given up."""
    assert _operation.standby_lineage(LINEAGES, host(1, ours=[on_key(A)])) == ""
    foreign = Record(3, 1, 1, C.spki)
    assert _operation.standby_lineage(LINEAGES, host(1, served=[version(on_key(A), foreign)], ours=[on_key(A)])) == ""


def test_a_standby_survives_a_lost_ledger_by_its_record():
    assert _operation.standby_lineage(LINEAGES, host(1, served=[version(on_key(A), on_key(B))])) == "one-2"


@pytest.mark.parametrize("how", ["retired", "presented", "in the file"])
def test_a_key_that_was_served_is_no_standby(how):
    one = host(1, ours=[on_key(A), on_key(B)], serves=B if how == "presented" else A)
    one["file_spki"] = B.spki if how == "in the file" else A.spki
    if how == "retired":
        one["ledger"]["retired"] = [B.spki]
    assert _operation.standby_lineage(LINEAGES[1:], one) == ""


# ------------------------------------------------------------------------------------------------------------------ due

DAY = 86400
YEAR = 365 * DAY


def aged(number, days, operation=None, spread=0, **more):
    """A host whose key has been known for so many days at T0; None: nobody knows since when."""
    since = None if days is None else T0 - days * DAY
    return {**enabled(number, operation), "key_since": since, "key_max_age": YEAR, "key_spread": spread, **more}


def test_only_hosts_whose_key_is_due_begin():
    decision = _operation.decide([aged(1, 364), aged(2, 365), aged(3, 900)], "due", T0)
    assert decision == {"mx1": None, "mx2": "new", "mx3": "new"}


def test_a_key_is_due_at_its_second_and_not_before():
    one = aged(1, 0)
    assert _operation.decide([one], "due", T0 + YEAR - 1) == {"mx1": None}
    assert _operation.decide([one], "due", T0 + YEAR) == {"mx1": "new"}


def test_with_nothing_due_nobody_begins():
    assert _operation.decide([aged(1, 1), aged(2, 2)], "due", T0) == {"mx1": None, "mx2": None}


def test_what_is_open_goes_on_and_keeps_nobody_from_beginning():
    decision = _operation.decide([aged(1, 1, B), aged(2, 400), aged(3, 1)], "due", T0)
    assert decision["mx1"]["target_spki"] == B.spki
    assert (decision["mx2"], decision["mx3"]) == ("new", None)


def test_hosts_that_share_a_name_may_be_due_in_one_run():
    assert {one["owners"][0] for one in (aged(1, 400), aged(2, 400))} == {OWNER}
    assert _operation.decide([aged(1, 400), aged(2, 400)], "due", T0) == {"mx1": "new", "mx2": "new"}


def test_a_key_of_unknown_age_is_not_due_and_is_named():
    assert _operation.decide([aged(1, None)], "due", T0 + 99 * YEAR) == {"mx1": None}
    (told,) = _operation.schedule([aged(1, None)], "due", T0)
    assert told.startswith(f"mx1: key {A.spki[:16]}: no certificate says how old it is") and "-l mx1 -e dane_rekey=new" in told


def test_a_host_that_was_never_enabled_is_named_before_it_is_due():
    with pytest.raises(PlanError, match="mx1.*enable.yml"):
        _operation.decide([{**aged(1, 1), "ledger": host(1)["ledger"]}], "due", T0)


def test_the_age_matters_to_no_other_mode():
    assert _operation.decide([aged(1, 1), aged(2, 900)]) == {"mx1": "new", "mx2": "new"}
    assert _operation.schedule([aged(1, 1)], "auto", T0) == []


def test_the_spread_makes_the_life_of_a_key_shorter_by_a_part_of_the_hosts_own():
    lives = [_operation.key_lifetime(f"mx{number}.example.test", YEAR, 10) for number in range(1000)]
    assert lives == [_operation.key_lifetime(f"mx{number}.example.test", YEAR, 10) for number in range(1000)]
    assert min(lives) >= 0.9 * YEAR and max(lives) <= YEAR
    # Evenly: of a thousand hosts about 27 on each of 36.5 days.
    days = [sum(1 for life in lives if (YEAR - life) // DAY == day) for day in range(36)]
    assert min(days) >= 10 and max(days) <= 50


def test_without_a_spread_every_host_has_the_whole_time():
    assert {_operation.key_lifetime(f"mx{number}", YEAR, 0) for number in range(10)} == {YEAR}


def test_the_part_is_the_same_everywhere():
    """Not Python's own hash, which is another one in each process."""
    assert _operation.key_lifetime("mx1.example.org", YEAR, 10) == 30259878


def test_the_schedule_says_what_comes_next_the_soonest_first():
    told = _operation.schedule([aged(1, 1), aged(2, 400), aged(3, 100), aged(4, 1, B), aged(5, None)], "due", T0)
    assert [text.split(":")[0] for text in told] == ["mx4", "mx5", "mx2", "mx3", "mx1"]
    assert told[0] == "mx4: rekey 1 is open and goes on"
    assert told[2] == (f"mx2: key {A.spki[:16]}, known since {_operation.day(T0 - 400 * DAY)}, is due since "
                       f"{_operation.day(T0 - 35 * DAY)}")
    assert told[4] == (f"mx1: key {A.spki[:16]}, known since {_operation.day(T0 - DAY)}, is not due before "
                       f"{_operation.day(T0 + 364 * DAY)}, in 364 days")


def test_a_day_is_one_of_utc():
    assert (_operation.day(0), _operation.day(86399), _operation.day(86400)) == ("1970-01-01", "1970-01-01", "1970-01-02")


def test_what_was_or_is_served_is_no_standby():
    one = host(1, A, file_keys=[{"spki": C.spki, "algorithm": "ecdsa"}])
    one["ledger"]["retired"] = [D.spki]
    assert _operation.used_keys(one) == sorted([A.spki, C.spki, D.spki])


def test_it_is_fetched_until_its_record_is_published():
    kept = [elsewhere(B), elsewhere(C)]
    assert _operation.not_exported(kept, host(1, A)) == kept
    assert _operation.not_exported(kept, host(1, A, served=[BOTH])) == kept[1:], "the ledger was lost"
    assert _operation.not_exported(kept, host(1, A, ours=[record("C", "3 1 2")])) == kept[:1]
    assert _operation.not_exported([], host(1, A)) == []


def test_a_compromise_says_what_a_key_that_is_kept_elsewhere_saves():
    one = enabled(1)
    plain = _operation.warning([one], {"mx1": "new"}, "compromise")[0]
    assert "A new one is made, and it is served" in plain and "offline" not in plain
    reminded = _operation.warning([{**one, "standby_store": "offline"}], {"mx1": "new"}, "compromise")[0]
    assert "A new one is made" in reminded and "kept offline needs no wait: bring it by dane_csr_privatekey)" in reminded
    brought = _operation.warning([{**one, "standby_store": "offline", "key_given": True}], {"mx1": "new"}, "compromise")[0]
    assert "That in dane_csr_privatekey takes its place" in brought and ", or at once if it is the standby key" in brought
    given = _operation.warning([{**one, "key_given": True}], {"mx1": "new"}, "compromise")[0]
    assert "That in dane_csr_privatekey takes its place" in given and "offline" not in given


@pytest.mark.parametrize("result, expected", [
    ({"failed": True, "answer": {"yes": False, "safe_at": T0 + 1.5}}, True),
    ({"failed": True, "answer": {"yes": False, "safe_at": T0 - 1}}, True),
    ({"failed": True, "answer": {"yes": False, "safe_at": T0 + 31}}, False),
    ({"failed": True, "answer": {"yes": False, "safe_at": None}}, False),
    ({"failed": True, "msg": "postfix refuses its configuration"}, False),
    ({"failed": False, "answer": {"yes": True, "safe_at": T0 + 1}}, False),
    ({"answer": {"yes": True, "safe_at": None}}, False),
])
def test_what_is_refused_for_a_moment_is_asked_again(result, expected):
    assert _operation.soon(result, T0) is expected
