# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two questions and the memory that they are asked of, rule by rule: each rule has a test that fails without it."""

from __future__ import annotations

import json

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _rollover
from ansible_collections.mailops.dane.plugins.module_utils._errors import LedgerError
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Clock, Ledger, Operation
from ansible_collections.mailops.dane.plugins.module_utils._memory import (
    Chains,
    Name,
    SeenChain,
    SeenVersion,
    Source,
    left_endpoints,
)
from ansible_collections.mailops.dane.plugins.module_utils._rollover import (
    Timing,
    Version,
    all_of,
    fine,
    matched,
    may_deploy,
    may_publish,
    unmatched,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from rollover_values import OWNER, T0, TIMING, chain, endpoint, look, outcome, record, seen, version

A, B, C = (chain(key) for key in "ABC")
V_A = version(record("A"))
V_AB = version(record("A"), record("B"))
V_B = version(record("B"))
EMPTY = version(ttl=60)


def deploy(name, at, new=B, replaced=(A,), timing=TIMING, **more):
    return may_deploy((new,), name, replaced, at, timing, **more)


def codes(answer):
    return sorted({reason["code"] for reason in answer.reasons})


# ------------------------------------------------------------------------------------------------- what suits what


def test_every_combination_has_to_match_not_just_any():
    both = version(record("A", "3 1 1"), record("A", "3 1 2"), record("B", "3 1 1"))
    assert {str(one) for one in matched(B, both)} == {"3 1 1"}
    assert {str(one) for one in unmatched(B, both)} == {"3 1 2"}
    assert fine(A, both) and not fine(B, both)


def test_one_record_that_matches_is_enough_within_a_combination():
    assert fine(A, V_AB) and fine(B, V_AB)


def test_records_that_senders_ignore_neither_match_nor_mismatch():
    odd = version(record("A"), record("A", "3 1 1")._replace(usage=1), record("x")._replace(data="00"))
    assert fine(A, odd) and not unmatched(A, odd)
    assert not version(record("A")._replace(usage=1)).usable


def test_without_usable_records_it_is_fine_only_while_enabling_or_retiring():
    assert not fine(A, EMPTY) and fine(A, EMPTY, empty_is_fine=True)
    only_odd = version(record("A")._replace(usage=0))
    assert not fine(A, only_odd) and fine(A, only_odd, empty_is_fine=True)


def test_full_data_is_compared_by_its_digest():
    raw = record("A")._replace(mtype=0, data="abcd")
    assert Version.from_dict({"records": [str(raw)], "ttl": 1}).records == {raw.brief()}
    assert raw.brief().data.startswith("sha256:")


# ------------------------------------------------------------------------------------------------------- lifetime


@pytest.mark.parametrize(("timing", "ttl", "seconds"), [
    (Timing(), 3600, 2 * 3600 + 120),
    (Timing(), 10, 900 + 120),
    (Timing(factor=3, floor=0, slack=0), 10, 30),
    (Timing(factor=2, floor=25, slack=3), 10, 28),
])
def test_lifetime(timing, ttl, seconds):
    assert timing.lifetime(ttl) == seconds


def test_the_wait_is_factor_times_the_ttl_of_the_version_that_went():
    """RFC 7671 section 8.1. The TTL of the new version is of no matter here."""
    slow = version(record("A"), ttl=10)
    name = seen(look(T0, slow), look(T0 + 5, version(record("A"), record("B"), ttl=1000)))
    assert not deploy(name, T0 + 5 + 20.9).yes
    assert deploy(name, T0 + 5 + 21).verdict == "yes"
    assert deploy(name, T0 + 6).safe_at == T0 + 5 + 21


def test_each_version_has_its_own_ttl():
    long, short = version(record("A"), ttl=25), version(record("A"), ttl=1)
    name = seen(look(T0, long), look(T0 + 1, short), look(T0 + 2, V_AB))
    answer = deploy(name, T0 + 2)
    assert answer.safe_at == T0 + 1 + 51
    assert not deploy(name, T0 + 51.9).yes
    assert deploy(name, T0 + 52).yes


def test_the_ttls_along_a_path_of_aliases_add_up():
    alias = Version.from_dict({"records": [str(record("A"))], "ttl": 25, "path": [OWNER, "tlsa.example.test."]})
    name = seen(look(T0, alias), look(T0 + 1, V_AB))
    assert deploy(name, T0 + 1).safe_at == T0 + 1 + 51


def test_the_defaults_are_those_of_the_design():
    assert Timing() == (2, 900, 120, 300, 86400, 60, 7 * 86400, 3, 600)


# ------------------------------------------------------------------------------------------------------ gone since


def test_the_clock_starts_at_the_first_complete_look_not_at_publication():
    """Published at T0+1, looked at only at T0+20: until then somebody may have handed out the old version."""
    name = seen(look(T0, V_A)).intend(version(record("A"), record("B"), path=()), T0, TIMING)
    name = name.observe(look(T0 + 20, V_AB), TIMING)
    assert deploy(name, T0 + 20).safe_at == T0 + 20 + 21
    assert not deploy(name, T0 + 40.9).yes


def test_any_one_server_that_lags_holds_the_answer():
    name = seen(look(T0, V_A, V_A, V_A), look(T0 + 5, V_AB, V_AB, V_A), look(T0 + 50, V_AB, V_AB, V_A))
    answer = deploy(name, T0 + 50)
    assert not answer.yes and answer.safe_at is None
    assert answer.reasons[0]["servers"] == ["192.0.2.3"]
    name = name.observe(look(T0 + 55, V_AB, V_AB, V_AB), TIMING)
    assert deploy(name, T0 + 55).safe_at == T0 + 55 + 21


def test_gone_since_stays_when_later_looks_confirm_it():
    name = seen(look(T0, V_A), look(T0 + 5, V_AB), look(T0 + 10, V_AB), look(T0 + 15, V_AB))
    assert deploy(name, T0 + 15).safe_at == T0 + 5 + 21


def test_a_version_that_comes_back_is_still_there():
    name = seen(look(T0, V_A, V_A), look(T0 + 5, V_AB, V_AB), look(T0 + 20, V_AB, V_A))
    assert deploy(name, T0 + 26.5).safe_at is None
    name = name.observe(look(T0 + 30, V_AB, V_AB), TIMING)
    assert deploy(name, T0 + 30).safe_at == T0 + 30 + 21


def test_a_silent_server_keeps_what_it_had():
    name = seen(look(T0, V_A, V_A), look(T0 + 5, V_AB, "silent"))
    answer = deploy(name, T0 + 6)
    assert codes(answer) == ["server-silent", "version-unmatched"] and answer.safe_at is None
    assert answer.reasons[1]["servers"] == ["192.0.2.2"]


def test_nothing_is_deployed_while_a_server_is_silent():
    """It may come back with the zone that it has on its disk, a backup even, whatever it gave last."""
    name = seen(look(T0, V_A, V_A), look(T0 + 5, V_AB, V_AB), look(T0 + 30, V_AB, "silent"))
    answer = deploy(name, T0 + 30)
    assert codes(answer) == ["server-silent"] and answer.safe_at is None and answer.reasons[0]["server"] == "192.0.2.2"
    assert "192.0.2.2 does not answer, and may come back with what it gave before" in answer.reasons[0]["text"]
    assert deploy(name.observe(look(T0 + 31, V_AB, "waived"), TIMING), T0 + 31).yes
    assert deploy(name.observe(look(T0 + 31, V_AB, V_AB), TIMING), T0 + 31).yes
    # A renewal matches whatever the old chain matched.
    assert may_deploy((A,), name, [A], T0 + 30, TIMING).yes


def test_silence_is_not_lameness_however_long_it_lasts():
    name = seen(look(T0, V_A, V_A))
    for after in (300, 600, 900, 1200, 1500):
        name = name.observe(look(T0 + after, V_AB, "silent"), TIMING)
    assert deploy(name, T0 + 1500).reasons[1]["servers"] == ["192.0.2.2"] and not name.lame


def test_a_silent_server_may_give_what_others_gave_since():
    """It had {A, B}; the others moved to {A, C} and back. Silent to us only, it may hand out {A, C} to this day."""
    v_ac = version(record("A"), record("C"))
    name = seen(look(T0, V_AB, V_AB), look(T0 + 5, v_ac, "silent"), look(T0 + 10, V_AB, "silent"))
    assert not deploy(name, T0 + 59).yes
    name = name.observe(look(T0 + 60, V_AB, V_AB), TIMING)
    assert deploy(name, T0 + 60).safe_at == T0 + 60 + 21


def test_a_silent_server_that_was_never_seen_blocks():
    name = seen(look(T0, V_AB, "silent"))
    answer = deploy(name, T0)
    assert codes(answer) == ["server-unknown"] and answer.safe_at is None
    assert answer.reasons[0]["server"] == "192.0.2.2"
    assert deploy(name.observe(look(T0 + 1, V_AB, V_AB), TIMING), T0 + 1).yes is False  # its history: see below


def test_nothing_is_declared_gone_while_a_server_was_never_heard():
    name = seen(look(T0, V_A), look(T0 + 5, V_AB, "silent"))
    assert [one.gone_since for one in name.versions if one.version == V_A] == [None]
    name = name.observe(look(T0 + 30, V_AB, V_AB), TIMING)
    assert [one.gone_since for one in name.versions if one.version == V_A] == [T0 + 30]


def test_what_a_server_gave_before_it_was_first_heard_is_unknown():
    """The second server answers for the first time long after the ledger began."""
    name = Name(OWNER).observe(look(T0, V_AB, "silent"), TIMING)
    name = name.observe(look(T0 + 500, V_AB, V_AB), TIMING)
    answer = deploy(name, T0 + 500)
    assert codes(answer) == ["history-unknown"]
    assert answer.safe_at == T0 + 500 + TIMING.ceiling


@pytest.mark.parametrize(("looks", "accepted"), [
    ((0, 300, 600), True),
    ((0, 600), False),
    ((0, 100, 200), False),
    ((0, 100, 200, 601), True),
])
def test_a_lame_server_counts_after_three_looks_over_ten_minutes(looks, accepted):
    name = seen(look(T0 - 1, V_AB, V_A))
    for after in looks:
        name = name.observe(look(T0 + after, V_AB, "does-not-serve"), TIMING)
    assert deploy(name, T0 + looks[-1] + 22).yes is accepted


def test_a_lame_server_that_was_never_heard_counts_just_as_late():
    name = seen(look(T0, V_AB, "does-not-serve"), look(T0 + 300, V_AB, "does-not-serve"))
    assert codes(deploy(name, T0 + 300)) == ["server-unknown"]
    assert not name.observe(look(T0 + 600, V_AB, "does-not-serve"), TIMING).unanswered


def test_a_lame_server_stays_lame_when_it_is_not_heard_once():
    """Else it would be unknown again at each timeout, and nothing could ever be decided."""
    name = seen(*(look(T0 + 301 * number, V_AB, "does-not-serve") for number in range(3)))
    assert not name.unanswered
    after = name.observe(look(T0 + 603, V_AB, "silent"), TIMING).observe(look(T0 + 604, V_AB, "does-not-serve"), TIMING)
    assert not after.unanswered and not after.silent and after.unknown_until == name.unknown_until


def test_an_answer_ends_the_count_of_lame_looks():
    name = seen(look(T0, V_AB, "does-not-serve"), look(T0 + 300, V_AB, "does-not-serve"), look(T0 + 599, V_AB, V_A))
    name = name.observe(look(T0 + 600, V_AB, "does-not-serve"), TIMING)
    assert deploy(name, T0 + 601).safe_at is None
    assert name.lame == (("192.0.2.2", T0 + 600, 1),)


def test_a_server_that_is_no_more_holds_its_version_for_a_lifetime():
    """A cached NS RRset leads to it for so long (here: one second of slack), and then what it gave may be in caches."""
    name = seen(look(T0, V_AB, V_A), look(T0 + 5, V_AB, None))
    assert deploy(name, T0 + 5).safe_at is None and name.leaving() == ["192.0.2.2"]
    assert deploy(name.observe(look(T0 + 5.9, V_AB), TIMING), T0 + 5.9).safe_at is None
    assert deploy(name.observe(look(T0 + 6, V_AB), TIMING), T0 + 6).safe_at == T0 + 6 + 21


def leaving(at, *outcomes, ttl=0):
    """A look in which the last server is asked although nothing leads to it any more."""
    one = look(at, *outcomes)
    for server in one["servers"]:
        server["ttl"] = ttl
    one["servers"][-1]["left"] = True
    return one


def test_a_server_that_left_is_asked_as_long_as_caches_may_lead_to_it():
    """The longest TTL counts: 2 * 100 + 1 seconds from the first look that was not led to it."""
    first = look(T0, V_AB, V_A)
    first["servers"][1]["ttl"] = 100
    name = seen(first).observe(leaving(T0 + 5, V_AB, V_A, ttl=10), TIMING)
    assert deploy(name, T0 + 5).safe_at is None and name.leaving() == ["192.0.2.2"]
    assert name.observe(leaving(T0 + 6, V_AB, "silent"), TIMING).leaving() == ["192.0.2.2"]
    updated = name.observe(leaving(T0 + 10, V_AB, V_AB), TIMING)
    assert deploy(updated, T0 + 10).safe_at == T0 + 31, "it has taken over the zone"
    assert name.observe(leaving(T0 + 205.9, V_AB, V_A), TIMING).leaving()
    ended = name.observe(leaving(T0 + 206, V_AB, V_A), TIMING)
    assert not ended.leaving() and deploy(ended, T0 + 206).safe_at == T0 + 227
    assert not seen(look(T0, V_AB)).observe(leaving(T0 + 1, V_AB, V_A), TIMING).sources[1:], "unknown here, and not led to"
    assert not name.observe(look(T0 + 7, V_AB, V_AB), TIMING).leaving(), "it is back"


def test_without_any_server_nothing_is_declared_gone():
    name = seen(look(T0, V_A), look(T0 + 5, security="unreachable"))
    assert [one.gone_since for one in name.versions] == [None]


def test_an_intent_may_be_seen_at_once_and_until_a_lifetime_after_a_complete_look_without_it():
    name = seen(look(T0, V_AB)).intend(version(record("A"), path=()), T0, TIMING)
    assert deploy(name, T0 + 1).safe_at is None
    assert "is not known to be gone" in deploy(name, T0 + 1).reasons[0]["text"]
    assert "is still served by" not in deploy(name, T0 + 1).reasons[0]["text"]
    settled = name.settled(version(record("A"), path=())).observe(look(T0 + 2, V_AB), TIMING)
    assert deploy(settled, T0 + 2).safe_at == T0 + 2 + 21


def test_a_look_between_the_intent_and_the_deed_proves_nothing():
    """The view by which the door lets it through is good for a minute, and the update takes its time."""
    name = seen(look(T0, V_AB)).intend(version(record("A"), path=()), T0, TIMING)
    assert deploy(name.observe(look(T0 + 120, V_AB), TIMING), T0 + 120).safe_at is None
    assert deploy(name.observe(look(T0 + 120.5, V_AB), TIMING), T0 + 120.5).safe_at == T0 + 120.5 + 21
    other = name.settled(V_A).observe(look(T0 + 2, V_AB), TIMING)
    assert deploy(other, T0 + 2).safe_at is None, "somebody else's door is still open"


def test_the_longest_ttl_that_any_memory_knows_of_a_server_counts():
    """A resolver's TTLs count down."""
    def led(at, ttl, *outcomes):
        one = look(at, *outcomes)
        for server in one["servers"]:
            server["ttl"] = ttl
        return seen(one)
    whole, counted_down = led(T0, 100, V_AB, V_A), led(T0 + 1, 5, V_AB, V_A)
    for merged in (whole.merge(counted_down), counted_down.merge(whole)):
        assert {source.ttl for source in merged.sources} == {100}


def test_a_look_that_hears_nobody_makes_no_memory_younger():
    assert codes(deploy(seen(look(T0, "waived")), T0)) == ["nobody-heard"]
    name = seen(look(T0, V_AB), look(T0 + 30, "silent"))
    assert codes(deploy(name, T0 + 30)) == ["server-silent"]
    name = name.observe(look(T0 + 61, "silent"), TIMING)
    assert codes(deploy(name, T0 + 61)) == ["nobody-heard", "server-silent"]
    assert "192.0.2.1" in deploy(name, T0 + 61).reasons[0]["text"]
    assert codes(deploy(name, T0 + 122)) == ["server-silent", "view-stale"]
    # A week later somebody answers again: what was published meanwhile is not known.
    week = T0 + TIMING.look_max_age + 1
    name = name.observe(look(week - 1, "silent"), TIMING).observe(look(week, V_AB), TIMING)
    assert codes(deploy(name, week)) == ["history-unknown"]


def test_intending_what_is_served_keeps_who_serves_it():
    assert seen(look(T0, V_AB)).intend(V_AB, T0, TIMING).settled(V_AB).versions == seen(look(T0, V_AB)).versions


def test_a_look_at_another_name_is_refused():
    with pytest.raises(LedgerError, match="_25._tcp.mx9"):
        Name(OWNER).observe(look(T0, V_A, owner="_25._tcp.mx9.example.test."), TIMING)


# ----------------------------------------------------------------------------------------- history, age, security


def test_what_was_before_the_first_look_is_unknown():
    name = Name(OWNER).observe(look(T0, V_AB), TIMING)
    assert deploy(name, T0).safe_at == T0 + TIMING.ceiling
    long = Name(OWNER).observe(look(T0, version(record("A"), record("B"), ttl=70)), TIMING)
    assert deploy(long, T0).safe_at == T0 + TIMING.lifetime(70)
    assert deploy(name.observe(look(T0 + 100, V_AB), TIMING), T0 + 101).yes
    assert not deploy(name, T0 + 49.9).yes and deploy(name, T0 + 50).yes


def test_a_renewal_passes_although_the_history_is_unknown():
    name = Name(OWNER).observe(look(T0, V_A), TIMING)
    assert deploy(name, T0, chain("A", certificate=2)).yes
    assert not deploy(name, T0, chain("A", certificate=2, issuer="other ca")).yes
    assert not deploy(name, T0, chain("A", certificate=2), replaced=[]).yes


def test_a_renewal_of_one_of_two_keys_does_not_pass_when_it_replaces_both():
    """Half of the processes present A, half B: unknown versions may suit B only."""
    name = Name(OWNER).observe(look(T0, V_AB), TIMING)
    assert codes(deploy(name, T0, chain("A", certificate=2), replaced=[A, B])) == ["history-unknown"]


def test_a_name_that_is_being_enabled_has_no_history():
    name = seen(look(T0, EMPTY), nothing_before=True)
    assert name.unknown_until == 0
    assert deploy(name, T0, empty_is_fine=True).verdict == "yes"
    assert seen(look(T0, V_A), nothing_before=True).unknown_until > T0, "records that are there have a history"
    assert Name(OWNER).observe(look(T0, EMPTY), TIMING).unknown_until > T0


def test_nor_does_it_get_one_by_a_server_that_is_heard_later():
    name = seen(look(T0, EMPTY, "silent"), nothing_before=True)
    assert name.observe(look(T0 + 5, EMPTY, EMPTY), TIMING).unknown_until == 0
    assert name.observe(look(T0 + 5, EMPTY, V_A), TIMING).unknown_until > T0
    old = Name(OWNER).observe(look(T0, EMPTY, "silent"), TIMING)
    assert old.observe(look(T0 + 500, EMPTY, EMPTY), TIMING).unknown_until == T0 + 500 + TIMING.lifetime(60)


@pytest.mark.parametrize("age", [60.1, -60.1, 3600])
def test_an_old_look_is_no_evidence(age):
    assert codes(deploy(seen(look(T0, V_AB)), T0 + age)) == ["view-stale"]


def test_for_a_renewal_an_older_look_may_do_and_for_nothing_else():
    name, week = seen(look(T0, V_A)), 7 * 86400
    renewal = chain("A", certificate=2)
    assert deploy(name, T0 + week, renewal).yes
    assert codes(deploy(name, T0 + week + 1, renewal)) == ["view-stale"]
    assert codes(deploy(name, T0 - 61, renewal)) == ["view-stale"]
    assert not deploy(seen(look(T0, V_AB)), T0 + 61).yes
    assert not deploy(name, T0 + 61, renewal, replaced=[A, B]).yes
    assert not deploy(name, T0 + 61, renewal, replaced=[]).yes


def test_what_does_not_validate_is_no_evidence_that_anything_is_gone():
    name = seen(look(T0, V_A), look(T0 + 5, V_AB, security="bogus"))
    name = name.observe(look(T0 + 30, V_AB), TIMING)
    assert deploy(name, T0 + 30).safe_at == T0 + 30 + 21


def test_the_reasons_in_words():
    behind = deploy(seen(look(T0, V_A, V_AB)), T0).reasons[0]["text"]
    assert "{3 1 1 " in behind and "(TTL 10) is still served by 192.0.2.1" in behind
    assert f"does not match the chain of key {B.spki[:16]} in 3 1 1" in behind
    cached = deploy(seen(look(T0, V_A), look(T0 + 1, V_AB)), T0 + 2).reasons[0]["text"]
    assert "may be in caches for 20 s more" in cached
    empty = deploy(seen(look(T0, EMPTY)), T0, replaced=[]).reasons[0]["text"]
    assert "the version without records (negative TTL 60) is still served by 192.0.2.1 and has no usable record" in empty
    assert "in 3 1 2" in may_publish(version(record("A"), record("B", "3 1 2")), [A], [V_A]).reasons[0]["text"]


def test_a_young_look_is_evidence():
    assert deploy(seen(look(T0, V_AB)), T0 + 60).yes
    assert codes(deploy(Name(OWNER), T0)) == ["view-stale"]


@pytest.mark.parametrize("security", ["insecure", "bogus", "unreachable", ""])
def test_what_does_not_validate_is_never_a_yes(security):
    answer = deploy(seen(look(T0, V_AB, security=security)), T0)
    assert codes(answer) == ["not-secure"] and answer.safe_at is None
    assert codes(deploy(seen(look(T0, EMPTY, security=security)), T0, empty_is_fine=True)) == ["not-secure"]


# ------------------------------------------------------------------------------------------------------- may_deploy


def test_versions_that_nobody_serves_count_while_they_are_cached():
    name = seen(look(T0, V_A), look(T0 + 1, V_AB))
    assert V_A not in name.served()
    assert codes(deploy(name, T0 + 2)) == ["version-unmatched"]


def test_every_combination_counts_for_deploying():
    mixed = version(record("A"), record("A", "3 1 2"), record("B"))
    assert not deploy(seen(look(T0, mixed)), T0).yes
    full = version(*mixed.records, record("B", "3 1 2"))
    assert deploy(seen(look(T0, full)), T0).verdict == "yes"


def test_no_worse_is_yes_where_nothing_was_fine():
    stale = version(record("gone"))
    answer = deploy(seen(look(T0, stale)), T0)
    assert answer.verdict == "no worse" and answer.yes


def test_no_worse_looks_at_every_chain_that_is_replaced():
    stale = version(record("gone"), record("A", "3 1 2"))
    name = seen(look(T0, stale))
    assert deploy(name, T0, B, replaced=[C]).verdict == "no worse"
    assert not deploy(name, T0, B, replaced=[C, A]).yes


def test_no_worse_needs_something_to_compare_with():
    assert not deploy(seen(look(T0, version(record("gone")))), T0, replaced=[]).yes


def test_an_rrset_without_usable_records_is_no_reason_against_replacing_a_chain():
    assert deploy(seen(look(T0, EMPTY)), T0).verdict == "no worse"
    assert not deploy(seen(look(T0, EMPTY)), T0, replaced=[]).yes
    assert deploy(seen(look(T0, EMPTY)), T0, replaced=[], empty_is_fine=True).verdict == "yes"


def test_the_earliest_time_is_that_of_the_last_version():
    name = seen(look(T0, version(record("A"), ttl=25)), look(T0 + 1, V_A), look(T0 + 2, V_AB))
    answer = deploy(name, T0 + 2)
    assert answer.safe_at == max(T0 + 1 + 51, T0 + 2 + 21) == max(reason["until"] for reason in answer.reasons)


def test_all_of_is_the_worst_of_all():
    yes, worse = _rollover.Answer("yes"), _rollover.Answer("no worse")
    late, never = (_rollover.Answer("no", ({"text": "x"},), at) for at in (T0, None))
    later = _rollover.Answer("no", ({"text": "y"},), T0 + 1)
    assert all_of([yes, yes]).verdict == "yes" and all_of([]).yes
    assert all_of([yes, worse]).verdict == "no worse"
    assert all_of([yes, late, later]).safe_at == T0 + 1
    assert all_of([late, never]).safe_at is None
    assert all_of([late, later]).to_dict()["text"] == "x; y"


# ------------------------------------------------------------------------------------------------------ may_publish


def test_what_is_replaced_has_to_be_remembered_with_its_ttl():
    """Else nobody would wait until caches have let it go, because nobody will ever see it again."""
    raised = version(record("A"), ttl=100)
    refused = may_publish(V_AB, [A], [raised], OWNER, replaced=raised, remembered=[V_A, V_AB])
    assert codes(refused) == ["replaced-unseen"] and refused.safe_at is None
    assert "(TTL 100), which no look at the authoritative servers has found" in refused.reasons[0]["text"]
    assert may_publish(V_AB, [A], [raised], OWNER, replaced=raised, remembered=[raised]).verdict == "yes"
    assert may_publish(V_AB, [A], [V_A], OWNER, replaced=V_A, remembered=[raised._replace(path=())]).verdict == "yes"
    assert codes(may_publish(V_AB, [A], [V_A], OWNER, replaced=V_A)) == ["replaced-unseen"]


def test_there_is_what_no_look_has_proved_gone():
    name = seen(look(T0, V_A)).intend(V_AB, T0, TIMING)
    assert name.there() == [V_A, V_AB]
    later = name.observe(look(T0 + 1, V_AB), TIMING)
    assert later.there() == [V_AB] and len(later.may_be_seen(T0 + 2, TIMING)) == 2
    assert name.observe(look(T0 + 1, None, V_AB), TIMING).there() == [V_A, V_AB], "one is silent"


def test_more_records_in_combinations_that_are_there_suit_every_chain_known_or_not():
    assert may_publish(V_AB, [], [V_A], chains_known=False).verdict == "yes"
    assert may_publish(V_AB, [C], [V_A]).verdict == "yes", "C does not match before either"
    assert may_publish(V_A, [], [version(record("A"), ttl=99)], chains_known=False).verdict == "yes", "the TTL alone"


@pytest.mark.parametrize("new", [
    version(record("A"), record("A", "3 1 2")),
    version(record("B")),
    version(record("A"), record("ca", "2 1 1")),
])
def test_new_combinations_and_withdrawals_need_a_complete_look_at_the_chains(new):
    assert codes(may_publish(new, [A], [V_A], chains_known=False)) == ["chains-unknown"]


def test_a_new_combination_has_to_match_every_chain_that_may_be_seen():
    new = version(record("A"), record("A", "3 1 2"))
    assert may_publish(new, [A], [V_A]).verdict == "yes"
    answer = may_publish(version(record("A"), record("B"), record("A", "3 1 2")), [A, B], [V_AB])
    assert not answer.yes and answer.reasons[0]["spki"] == B.spki and "3 1 2" in answer.reasons[0]["text"]


def test_a_combination_for_the_next_key_only_is_refused():
    assert not may_publish(version(record("A"), record("B", "3 1 2")), [A], [V_A]).yes


def test_the_first_record_is_that_of_a_key_that_is_served():
    assert may_publish(V_A, [A], [EMPTY]).verdict == "yes"
    assert not may_publish(V_B, [A], [EMPTY]).yes
    assert not may_publish(V_A, [A], [EMPTY], chains_known=False).yes
    assert not may_publish(V_A, [A, B], [EMPTY]).yes


def test_no_record_is_published_where_nobody_presents_a_chain():
    """An endpoint without TLS suits no record at all."""
    assert not may_publish(V_A, [], [EMPTY]).yes
    assert not may_publish(V_A, [], []).yes
    assert codes(may_publish(V_A, [], [EMPTY], chains_known=False)) == ["chains-unknown"]
    assert may_publish(EMPTY, [], [V_A], empty_is_fine=True).verdict == "yes", "retiring needs no chain"


def test_withdrawing_waits_for_the_chain_to_go():
    assert codes(may_publish(V_B, [A, B], [V_AB])) == ["chain-unmatched"]
    assert may_publish(V_B, [B], [V_AB]).verdict == "yes"


def test_the_last_usable_record_stays_unless_the_name_is_being_retired():
    for new in (EMPTY, version(record("A")._replace(usage=1))):
        assert codes(may_publish(new, [A], [V_A])) == ["empty"]
        assert may_publish(new, [A], [V_A], empty_is_fine=True).verdict == "yes"
        assert not may_publish(new, [A], [V_A], empty_is_fine=True, chains_known=False).yes


def test_unusable_records_may_always_go():
    odd = version(record("A")._replace(usage=1))
    assert may_publish(EMPTY, [A], [odd]).verdict == "no worse"


def test_stale_records_may_be_replaced_when_that_is_no_worse_for_any_served_version():
    stale = version(record("A"), record("gone", "2 1 1"))
    assert may_publish(version(record("A"), record("B"), record("gone", "2 1 1")), [A], [stale]).verdict == "yes"
    assert may_publish(version(record("gone", "2 1 1")), [B], [stale]).verdict == "no worse"
    assert not may_publish(version(record("gone", "2 1 1")), [A], [stale]).yes
    assert not may_publish(version(record("gone", "2 1 1")), [A], []).yes
    assert not may_publish(version(record("gone", "2 1 1")), [A], [version(record("gone", "2 1 1")), stale]).yes


# ------------------------------------------------------------------------------------------------------ the TLS side


def met_until(chains, chain_of):
    """When chains of this key can no longer be met: a time, 0.0 for never seen, None while still presented."""
    times = [one.gone_since for one in chains.chains if one.chain.spki == chain_of.spki]
    return None if None in times else max((time + TIMING.linger for time in times), default=0.0)


def presented(*looks):
    chains = Chains()
    for one in looks:
        chains = chains.observe(one, TIMING, nothing_before=True)
    return chains


def test_a_chain_may_be_met_until_linger_after_the_first_complete_look_without_it():
    chains = presented([outcome(T0, A)], [outcome(T0 + 4, B), outcome(T0 + 5, B, sni="x")])
    assert {one.chain for one in chains.may_be_seen(T0 + 34.9, TIMING)} == {A, B}
    assert {one.chain for one in chains.may_be_seen(T0 + 35, TIMING)} == {B}
    assert met_until(chains, A) == T0 + 35
    assert met_until(chains, B) is None
    assert met_until(chains, C) == 0.0
    assert chains.presented() == [B]


def test_one_endpoint_that_still_presents_it_keeps_a_chain():
    chains = presented([outcome(T0, A, 1), outcome(T0, A, 2)], [outcome(T0 + 5, B, 1), outcome(T0 + 5, A, 2)])
    assert {one.chain for one in chains.may_be_seen(T0 + 900, TIMING)} == {A, B}
    chains = chains.observe([outcome(T0 + 9, B, 1), outcome(T0 + 9, B, 2)], TIMING)
    assert met_until(chains, A) == T0 + 39


def test_a_chain_that_comes_back_is_still_there():
    chains = presented([outcome(T0, A)], [outcome(T0 + 5, B)], [outcome(T0 + 9, A)])
    assert met_until(chains, A) is None


def test_endpoints_differ_by_algorithm_and_server_name():
    chains = presented([outcome(T0, A), outcome(T0, B, algorithm="rsa"), outcome(T0, C, sni="mx1.example.test")])
    assert set(chains.presented()) == {A, B, C}


def test_one_endpoint_may_present_two_chains_in_one_look():
    assert set(presented([outcome(T0, A), outcome(T0, B)]).presented()) == {A, B}


def test_a_silent_endpoint_keeps_what_it_presented():
    chains = presented([outcome(T0, A, 1), outcome(T0, A, 2)], [outcome(T0 + 5, B, 1), outcome(T0 + 5, "silent", 2)])
    assert {one.chain for one in chains.may_be_seen(T0 + 900, TIMING)} == {A, B}
    assert not chains.unanswered


def test_a_silent_endpoint_may_present_what_was_deployed_since():
    """B was put back at the first endpoint; the second is silent to us and may present B to this day."""
    chains = presented([outcome(T0, A, 1), outcome(T0, A, 2)]).intend(B)
    chains = chains.observe([outcome(T0 + 5, A, 1), outcome(T0 + 5, "silent", 2)], TIMING)
    assert {one.chain for one in chains.may_be_seen(T0 + 900, TIMING)} == {A, B}
    chains = chains.observe([outcome(T0 + 9, A, 1), outcome(T0 + 9, A, 2)], TIMING)
    assert met_until(chains, B) == T0 + 39


def test_an_endpoint_that_was_never_heard_makes_the_look_incomplete():
    chains = presented([outcome(T0, A, 1)], [outcome(T0 + 5, B, 1), outcome(T0 + 5, "silent", 2)])
    assert chains.unanswered and chains.looked_at == T0
    assert met_until(chains, A) is None


@pytest.mark.parametrize("answer", ["no-chain-for-algorithm", "no-tls"])
def test_other_answers_are_answers(answer):
    chains = presented([outcome(T0, A, 1), outcome(T0, B, 2)], [outcome(T0 + 5, A, 1), outcome(T0 + 5, answer, 2)])
    assert not chains.unanswered and chains.looked_at == T0 + 5
    assert met_until(chains, B) == T0 + 35


def test_an_endpoint_that_nobody_asks_any_more_leaves_with_what_it_presented():
    """But not before caches no longer lead to its address (here: after one second of slack)."""
    chains = presented([outcome(T0, A, 1), outcome(T0, B, 2)], [outcome(T0 + 5, A, 1)])
    assert met_until(chains, B) is None
    assert chains.leaving() == ["198.51.100.2|mx1.example.test|25|ecdsa|"]
    assert left_endpoints(chains, [endpoint(1)]) == [{**endpoint(2), "left": True}]
    again = [outcome(T0 + 5.9, A, 1), {**outcome(T0 + 5.9, B, 2), "endpoint": {**endpoint(2), "left": True}}]
    assert met_until(chains.observe(again, TIMING), B) is None
    assert met_until(chains.observe([outcome(T0 + 6, A, 1)], TIMING), B) == T0 + 36


def test_a_service_that_is_no_longer_ours_does_not_linger():
    other = [{**outcome(T0, B), "endpoint": {**endpoint(), "port": 465}}, outcome(T0, A)]
    assert met_until(presented(other, [outcome(T0 + 5, A)]), B) == T0 + 35


def test_before_the_first_look_at_the_endpoints_anything_may_have_been_presented():
    for nothing_before, known_from in ((True, T0), (False, T0 + 30)):
        chains = Chains().observe([outcome(T0, A)], TIMING, nothing_before)
        assert chains.known(known_from) and not chains.known(known_from - 0.1) or nothing_before
        later = chains.observe([outcome(T0 + 5, A)], TIMING, nothing_before)
        assert later.unknown_until == chains.unknown_until


def test_an_older_look_at_the_endpoints_changes_nothing():
    chains = presented([outcome(T0, A)])
    assert chains.observe([outcome(T0 - 1, B)], TIMING) == chains


def test_a_chain_that_is_about_to_be_deployed_may_be_met():
    chains = presented([outcome(T0, A)]).intend(B)
    assert {one.chain for one in chains.may_be_seen(T0 + 900, TIMING)} == {A, B}
    assert chains.presented() == [A]
    assert presented([outcome(T0, A)]).intend(A) == presented([outcome(T0, A)])


def test_pruning_drops_only_what_nobody_can_meet_or_hold():
    chains = presented([outcome(T0, A)], [outcome(T0 + 5, B)])
    assert chains.pruned(T0 + 34, TIMING) == chains
    assert [one.chain for one in chains.pruned(T0 + 35, TIMING).chains] == [B]
    name = seen(look(T0, V_A), look(T0 + 5, V_AB))
    assert name.pruned(T0 + 25, TIMING) == name
    assert [one.version for one in name.pruned(T0 + 26, TIMING).versions] == [V_AB]


# --------------------------------------------------------------------------------------------------------- states


def test_states_of_a_record():
    a, b = record("A"), record("B")
    name = seen(look(T0, V_A))
    assert (name.state(a, T0, TIMING), name.state(b, T0, TIMING)) == ("OMNIPRESENT", "HIDDEN")
    name = name.observe(look(T0 + 5, V_AB), TIMING)
    assert (name.state(a, T0 + 5, TIMING), name.state(b, T0 + 5, TIMING)) == ("OMNIPRESENT", "RUMOURED")
    assert name.state(b, T0 + 26, TIMING) == "OMNIPRESENT"
    name = name.observe(look(T0 + 30, V_B), TIMING)
    assert (name.state(a, T0 + 31, TIMING), name.state(b, T0 + 31, TIMING)) == ("UNRETENTIVE", "OMNIPRESENT")
    assert name.state(a, T0 + 52, TIMING) == "HIDDEN"
    assert seen(look(T0, V_AB, V_B)).state(a, T0, TIMING) == "RUMOURED"


# -------------------------------------------------------------------------------------------------- merge, succeed


def test_two_hosts_memories_merge_with_caution():
    mine = seen(look(T0, V_A), look(T0 + 5, V_AB))
    other = seen(look(T0, V_A), look(T0 + 9, V_AB))
    merged = mine.merge(other)
    assert merged == other.merge(mine)._replace(versions=merged.versions)
    assert {one.version: one.gone_since for one in merged.versions} == {V_A: T0 + 9, V_AB: None}
    assert deploy(merged, T0 + 9).safe_at == T0 + 9 + 21 == deploy(other.merge(mine), T0 + 9).safe_at
    lagging = seen(look(T0, V_A, V_A), look(T0 + 7, V_AB, V_A))
    assert deploy(mine.merge(lagging), T0 + 9).safe_at is None
    strange = mine._replace(versions=(), unknown_until=T0 + 77, looked_at=T0)
    assert mine.merge(strange).unknown_until == T0 + 77 == strange.merge(mine).unknown_until
    assert {one.version for one in mine.merge(strange).versions} == {V_A, V_AB}


def test_what_somebody_noted_meanwhile_stays():
    began = seen(look(T0, V_A))
    noted = began.intend(version(record("A"), record("C"), path=()), T0 + 1, TIMING)
    waited = began.observe(look(T0 + 30, V_AB), TIMING)
    kept = noted.merge(waited)
    assert {one.version for one in kept.versions} == {V_A, V_AB, version(record("A"), record("C"), path=())}
    assert {one.version: one.gone_since for one in kept.versions}[V_A] == T0 + 30
    assert not deploy(kept, T0 + 55).yes


def test_an_intent_noted_again_meanwhile_stays():
    """The waiting run saw the withdrawn version go; meanwhile somebody is about to publish it again."""
    v_c = version(record("A"), record("C"), path=())
    began = seen(look(T0, V_AB)).intend(v_c, T0, TIMING).settled(v_c).observe(look(T0 + 1, V_AB), TIMING)
    waited = began.observe(look(T0 + 30, V_AB), TIMING)
    assert not deploy(began.intend(v_c, T0 + 29, TIMING).merge(waited), T0 + 55).yes


def test_what_only_one_of_two_saw_come_back_is_there():
    """The host saw a server fall back, the run that waits did not look at that time; then it looked again."""
    began = seen(look(T0, V_A), look(T0 + 2, V_AB))
    host = began.observe(look(T0 + 5, V_A), TIMING)
    again = began.observe(look(T0 + 6, V_AB), TIMING)
    assert {one.version: one.gone_since for one in host.merge(again).versions}[V_A] is None
    later = host.observe(look(T0 + 7, V_AB), TIMING)
    assert {one.version: one.gone_since for one in later.merge(again).versions}[V_A] == T0 + 7


def test_what_a_later_look_found_gone_is_gone():
    began = seen(look(T0, V_A))
    later = began.observe(look(T0 + 2, V_AB), TIMING)
    for merged in (began.merge(later), later.merge(began)):
        assert {(one.version, one.servers, one.gone_since) for one in merged.versions} == {
            (V_A, frozenset(), T0 + 2), (V_AB, frozenset({"192.0.2.1"}), None)}


def test_what_the_last_look_said_stays():
    newer, older = seen(look(T0, V_A), look(T0 + 5, V_AB, security="bogus")), seen(look(T0, V_A, "silent"))
    for merged in (newer.merge(older), older.merge(newer)):
        assert (merged.looked_at, merged.security, merged.unanswered) == (T0 + 5, "bogus", ())
        assert {one.version: one.gone_since for one in merged.versions}[V_A] is None


# ------------------------------------------------------------------------------------------------------- the ledger

RECORDS = st.sampled_from([record(key, combination) for key in "AB" for combination in ("3 1 1", "3 1 2", "3 1 0")])
VERSIONS = st.builds(lambda records, ttl: version(*records, ttl=ttl), st.sets(RECORDS), st.integers(0, 99))
TIMES = st.floats(0, 2e9)
LOOKS = st.lists(st.builds(
    lambda at, outcomes: look(at, *outcomes), TIMES,
    st.lists(st.one_of(VERSIONS, st.sampled_from(["silent", "does-not-serve"])), max_size=3)), max_size=4)
OUTCOMES = st.lists(st.builds(
    outcome, TIMES, st.one_of(st.sampled_from([A, B, C]), st.sampled_from(["silent", "no-tls"])),
    st.integers(1, 3)), max_size=4)


@given(looks=LOOKS, outcomes=OUTCOMES, intended=VERSIONS, ours=st.sets(RECORDS),
       operation=st.none() | st.builds(Operation, st.text(), st.text(), st.text(), TIMES), retired=st.sets(st.text()))
def test_a_ledger_survives_being_written_and_read(looks, outcomes, intended, ours, operation, retired):
    name = Name(OWNER)
    for one in looks:
        name = name.observe(one, TIMING)
    ledger = Ledger(retired=frozenset(retired), operation=operation).with_name(name.intend(intended, T0, TIMING))
    ledger = ledger._replace(chains=Chains().observe(outcomes, TIMING).intend(B)).with_published(OWNER, ours)
    again = Ledger.from_dict(json.loads(json.dumps(ledger.to_dict())))
    assert again == ledger
    assert json.dumps(again.to_dict(), sort_keys=True) == json.dumps(ledger.to_dict(), sort_keys=True)


def test_a_ledger_holds_digests_only():
    ledger = Ledger().with_published(OWNER, [record("A")._replace(mtype=0, data="ab" * 600)])
    assert "abab" not in json.dumps(ledger.to_dict())


def whole_ledger():
    name = seen(look(T0, V_A, "silent", "does-not-serve"), look(T0 + 5, V_AB, "silent", "does-not-serve"))
    return Ledger(
        chains=presented([outcome(T0, A), outcome(T0, "silent", 2)]),
        operation=Operation("1", "rekey", B.spki, T0), retired=frozenset(["x"]),
    ).with_name(name).with_published(OWNER, V_AB.records).to_dict()


def places(data, path=()):
    """Every place in a JSON value, as a path of keys."""
    yield path
    if isinstance(data, (dict, list)):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(value, (*path, key))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from([10 ** 400, float("nan"), float("inf"), "3 1 1 00", "nan", "1e999", "-1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=5)


def read_and_use(data):
    """Read a ledger as the doors do; one that can be read can be used and written."""
    ledger = Ledger.from_dict(data)
    for name in ledger.names:
        may_deploy((B,), name, [A], T0, TIMING).to_dict()
        name.merge(name).observe({**look(T0 + 9, V_AB, V_AB, "silent"), "owner": name.owner}, TIMING)
    ledger.chains.observe([outcome(T0, B)], TIMING).may_be_seen(T0, TIMING)
    assert Ledger.from_dict(json.loads(json.dumps(ledger.to_dict()))) == ledger
    return ledger


@given(JSON)
def test_any_json_is_a_ledger_or_a_ledger_error(data):
    with pytest.raises(LedgerError):
        read_and_use(data)


@settings(max_examples=400)
@given(st.data())
def test_a_ledger_edited_at_any_place_is_a_ledger_or_a_ledger_error(data):
    ledger = json.loads(json.dumps(whole_ledger()))
    *way, last = data.draw(st.sampled_from([path for path in places(ledger) if path]))
    inner = ledger
    for key in way:
        inner = inner[key]
    if data.draw(st.booleans()):
        inner[last] = data.draw(JSON)
    else:
        del inner[last]
    try:
        read_and_use(ledger)
    except LedgerError as exc:
        assert exc.message.startswith("Cannot read")


@pytest.mark.parametrize("moment", ["nan", float("nan"), float("-inf")])
def test_a_time_that_is_none_is_no_ledger(moment):
    """Compared with NaN everything is false: what may be seen would be forgotten."""
    ledger = whole_ledger()
    ledger["names"][OWNER]["versions"][0]["gone_since"] = moment
    with pytest.raises(LedgerError):
        Ledger.from_dict(ledger)


@pytest.mark.parametrize("data", [None, [], "x", {}, {"format": 0}, {"format": 2}, {"format": "3"}])
def test_another_format_is_named(data):
    with pytest.raises(LedgerError, match="expected format 3, found"):
        Ledger.from_dict(data)


def test_the_ledger_as_a_value():
    ledger = Ledger().with_name(seen(look(T0, V_A)))
    assert ledger.name(OWNER).served() == [V_A] and ledger.name("x.") == Name("x.")
    assert ledger.with_name(Name(OWNER)).name(OWNER) == Name(OWNER)
    ours = ledger.with_published(OWNER, [record("A")]).with_published("x.", [record("B")])
    assert ours.published_at(OWNER) == {record("A")} and ours.published_at("y.") == frozenset()
    assert ours.with_published(OWNER, []).published == (("x.", frozenset([record("B")])),)


# ------------------------------------------------------------------------------------------------------ properties


@given(records=st.sets(RECORDS), more=st.sets(RECORDS), presented_chain=st.sampled_from([A, B, C]))
def test_what_may_be_published_with_unknown_chains_suits_every_chain_as_well_as_before(records, more, presented_chain):
    old, new = version(*records), version(*records, *more)
    if may_publish(new, [], [old], chains_known=False).yes:
        assert unmatched(presented_chain, new) <= unmatched(presented_chain, old)
        assert matched(presented_chain, old) <= matched(presented_chain, new)


@settings(max_examples=300)
@given(looks=LOOKS, at=st.floats(0, 60))
def test_a_yes_means_that_every_version_of_every_look_within_its_lifetime_suits(looks, at):
    looks = sorted(looks, key=lambda one: one["taken_at"])
    if not looks:
        return
    now = looks[-1]["taken_at"] + at
    name = Name(OWNER)
    for one in looks:
        name = name.observe(one, TIMING)
    if deploy(name, now, replaced=[]).verdict == "yes":
        for one in looks:
            for told in one["servers"]:
                if told["version"] and now < one["taken_at"] + TIMING.lifetime(told["version"]["ttl"]):
                    assert fine(B, Version.from_dict(told["version"]))


# ------------------------------------------------------------------------------------------------------------ clocks


def written(at=T0, boot="b", uptime=1000.0):
    """A ledger with a version gone, a chain gone, a server and an endpoint left, written at some time."""
    name = seen(look(T0, V_A, V_A), look(T0 + 0.0, V_AB))._replace(unknown_until=T0 + 40)
    name = name._replace(
        versions=(SeenVersion(V_A, frozenset(), T0 - 5), SeenVersion(V_B, frozenset(), None, T0 + 60)),
        sources=(Source("192.0.2.2", 5, T0 - 6),), lame=(("192.0.2.3", T0 - 7, 2),))
    chains = Chains((SeenChain(A, frozenset(), T0 - 8),), (Source("x|y", 5, T0 - 9),), (), T0, T0 + 30)
    return Ledger((name,), chains, clock=Clock(at, boot, uptime))


def stamps(ledger):
    """Every stamp of a wait, beside those of looks, which come last."""
    (name,), chains = ledger.names, ledger.chains
    return (
        name.versions[0].gone_since, name.versions[1].open_until, name.sources[0].left, name.lame[0][1], name.unknown_until,
        chains.chains[0].gone_since, chains.sources[0].left, chains.unknown_until), (name.looked_at, chains.looked_at)


@pytest.mark.parametrize(("clock", "ahead", "behind"), [
    (Clock(T0 + 10, "b", 1010.0), 0, 0),
    (Clock(T0 + 7210, "b", 1010.0), 7200, 0),
    (Clock(T0 + 10, "b", 1005.0), 5, 0),
    (Clock(T0 + 10, "b", 1110.0), 0, 100),
    (Clock(T0 + 3600, "another", 100.0), 3500, 0),
    (Clock(T0 + 3600, "another", 3600.0), 0, 0),
    (Clock(T0 + 10, "another", 100.0), 0, 90),
])
def test_a_wait_is_measured_by_the_least_time_and_a_look_by_the_most(clock, ahead, behind):
    before, after = written(), written().at(clock)
    assert stamps(after)[0] == tuple(one + ahead for one in stamps(before)[0])
    assert stamps(after)[1] == tuple(one - behind for one in stamps(before)[1])
    assert after.clock == clock and after.at(clock) == after


def test_no_stamp_is_of_the_future():
    """Set back by an hour: what is waited for begins anew, and ends."""
    after = written().at(Clock(T0 - 3600, "b", 1000.0))
    waits, looks = stamps(after)
    assert {waits[0], waits[2], waits[3], waits[5], waits[6]} == {T0 - 3600}
    assert looks == (T0 - 3600, T0 - 3600)
    assert after.name(OWNER).pruned(T0 - 3600, TIMING).unknown_until == T0 - 3600 + TIMING.ceiling
    assert after.chains.pruned(T0 - 3600, TIMING).unknown_until == T0 - 3600 + TIMING.linger


def test_a_ledger_without_a_clock_is_taken_as_it_is():
    assert stamps(written()._replace(clock=None).at(Clock(T0 + 99, "b", 5.0))) == stamps(written())


# ------------------------------------------------------------------------------------------------------- what must not be


def test_a_signature_must_outlast_the_caches():
    def signed(*ends):
        one = look(T0, V_AB, *[V_AB] * (len(ends) - 1))
        for server, end in zip(one["servers"], ends):
            server["rrsig_expires"] = end
        return seen(one)
    assert deploy(signed(T0 + 11), T0).yes
    assert codes(deploy(signed(T0 + 999, T0 + 10.9), T0)) == ["signature-ends"]
    text = deploy(signed(T0 + 10.9), T0).reasons[0]["text"]
    assert "ends in 11 s" in text and "being signed" in text and "lower the TTL" in text
    assert deploy(signed(T0 + 10.9), T0, chain("A", certificate=2)).yes, "a renewal of the same key changes nothing"


RSA, RSA_2 = chain("R", algorithm="rsa"), chain("S", algorithm="rsa")


def units(new, replaced, *records):
    return may_deploy(new, seen(look(T0, version(*records))), replaced, T0, TIMING)


def test_each_chain_of_a_unit_has_to_match():
    everything = (record("A"), record("B"), record("R"))
    assert units((B, RSA), [A, RSA], *everything).verdict == "yes"
    assert [reason["chain"] for reason in units((B, RSA), [A, RSA], record("A"), record("R")).reasons] == [B.id]
    assert not units((B, RSA_2), [A, RSA], *everything).yes


def test_a_chain_is_compared_with_those_of_its_own_algorithm():
    """Only the ECDSA key is published, an error that is widespread: renewing and rekeying RSA is no worse."""
    assert units((A, RSA_2), [A, RSA], record("A")).verdict == "no worse"
    assert not units((B, RSA), [A, RSA], record("A")).yes
    assert not units((A, RSA_2), [A], record("A")).yes, "an algorithm that is new has to match"


def test_an_algorithm_that_goes_sends_its_senders_to_the_others():
    assert not units((RSA,), [A, RSA], record("A")).yes
    assert units((A,), [A, RSA], record("A")).yes


def test_when_the_last_chain_in_the_way_can_no_longer_be_met_is_said():
    left, served = version(record("B")), [version(record("A"), record("B"), record("C"))]
    later = may_publish(left, [A, C, B], served, gone_at={A.id: T0 + 7, C.id: T0 + 9})
    assert not later.yes and later.safe_at == T0 + 9
    assert may_publish(left, [A, C, B], served, gone_at={A.id: T0 + 7}).safe_at is None


# --------------------------------------------------------------------------------------------------- never heard, and gone


def test_what_a_server_gave_that_was_never_heard_is_not_known_when_it_counts_no_longer():
    name = seen(look(T0, V_AB, "silent"))
    gone = name.observe(look(T0 + 5, V_AB), TIMING)
    assert gone.unanswered == ("192.0.2.2",) and not gone.unknown_until
    ended = gone.observe(look(T0 + 6, V_AB), TIMING)
    assert not ended.unanswered and ended.unknown_until == T0 + 6 + TIMING.ceiling
    assert codes(deploy(ended, T0 + 6)) == ["history-unknown"]


def test_an_ip_version_that_is_not_looked_at_is_out_of_sight_not_leaving():
    first = look(T0, V_AB, V_A, "silent")
    first["servers"][1]["address"], first["servers"][2]["address"] = "2001:db8::1", "2001:db8::2"
    name = seen(first)
    later = name.observe({**look(T0 + 5, V_AB), "ip_versions": [4]}, TIMING)
    assert not later.leaving() and not later.unanswered and not later.unknown_until
    assert deploy(later, T0 + 5).safe_at == T0 + 5 + 21
    both = name.observe({**look(T0 + 5, V_AB), "ip_versions": [4, 6]}, TIMING)
    assert both.leaving() == ["2001:db8::1", "2001:db8::2"] and both.unanswered == ("2001:db8::2",)


def test_an_endpoint_that_is_heard_for_the_first_time_may_have_presented_anything():
    chains = presented([outcome(T0, A, 1), outcome(T0, "silent", 2)])
    assert not chains.known(T0 + 900)
    heard = chains.observe([outcome(T0 + 5, A, 1), outcome(T0 + 5, A, 2)], TIMING, True)
    assert heard.unknown_until == T0 + 35 and not heard.known(T0 + 34) and heard.known(T0 + 35)
    waived = chains.observe([outcome(T0 + 5, A, 1), outcome(T0 + 5, "waived", 2)], TIMING, True)
    assert waived.known(T0 + 5)


@pytest.mark.parametrize("security", ["insecure", "bogus", "unreachable", ""])
def test_nothing_is_published_in_a_zone_that_does_not_validate(security):
    assert codes(may_publish(V_AB, [A], [V_A], security=security)) == ["not-secure"]
    assert may_publish(EMPTY, [A], [V_A], empty_is_fine=True, security=security).yes, "leaving DANE is always possible"


def test_a_server_that_is_silent_is_not_said_to_serve():
    """The commonest trouble has to be told rightly: who does not answer, and what to do."""
    def text(name, at):
        (unmatched,) = (one["text"] for one in deploy(name, at).reasons if one["code"] == "version-unmatched")
        return unmatched
    mute = "(no answer)"
    held = text(seen(look(T0, V_A, V_A), look(T0 + 5, V_AB, "silent")), T0 + 5)
    assert f"was last given by 192.0.2.2 {mute} and does not match" in held and "still served" not in held
    both = text(seen(look(T0, V_A, V_A), look(T0 + 5, V_A, "silent")), T0 + 5)
    assert f"is still served by 192.0.2.1 and was last given by 192.0.2.2 {mute}" in both
    other = seen(look(T0, V_A, V_AB), look(T0 + 5, V_AB, "silent"))
    assert f"is not known to be gone while nothing is heard of 192.0.2.2 {mute}" in text(other, T0 + 5)
    left = seen(look(T0, V_AB, V_A), look(T0 + 0.5, V_AB))
    assert "was last given by 192.0.2.2" in text(left, T0 + 0.5)


def test_a_door_that_seems_open_for_years_is_not():
    name = seen(look(T0, V_AB)).intend(V_A, T0 + 10**9, TIMING)
    assert {one.open_until for one in name.pruned(T0, TIMING).versions} == {0.0, T0 + 120}
