# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a batch of hosts wants of the DNS."""

from __future__ import annotations

import re

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _plan
from ansible_collections.mailops.dane.plugins.module_utils._errors import LedgerError, RecordError
from ansible_collections.mailops.dane.plugins.module_utils._ledger import Ledger
from ansible_collections.mailops.dane.plugins.module_utils._memory import Chains, Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Chain, Version, fine
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from rollover_values import OWNER, T0, TIMING, chain, endpoint, look, outcome, record, version

OTHER = "_25._tcp.mx2.example.test."
A, B, C, D = (chain(key) for key in "ABCD")
EMPTY, ONLY_A = version(ttl=60), version(record("A"))


def host(number=1, serves=A, served=(ONLY_A,), ours=(), candidate=None, operation=None, history=(), owner=OWNER,
         **more):
    """The dict that the roles build. `served`: what each server gives. `history`: earlier looks at the endpoint."""
    chains = Chains()
    for at, one in [*history, (T0, serves)]:
        found = outcome(at, one, number, name=owner.split(".", 2)[2].rstrip("."))
        chains = chains.observe([found], TIMING, nothing_before=True)
    ledger = Ledger(chains=chains).with_name(Name(owner).observe(look(T0, *served, owner=owner), TIMING))
    ledger = ledger.with_published(owner, ours)
    told = ledger.to_dict()
    told["operation"] = None if operation is None else {
        "id": "1", "kind": "rekey", "target_spki": operation if isinstance(operation, str) else operation.spki,
        "started": T0}
    return {"host": f"mx{number}", "active": True, "owners": [owner], "combinations": ["3 1 1"], "ttl": 10,
            "timing": TIMING._asdict(), "ledger": told, "candidate": candidate and candidate.to_dict(),
            "file_spki": getattr(serves, "spki", ""), **more}


def rdata(plan, owner=OWNER):
    """The records in a plan for one owner name (set of text)."""
    return {text for entry in plan["records"] if entry["name"] == owner for text in entry["rdata"]}


def texts(*records):
    return {str(one) for one in records}


# --------------------------------------------------------------------------------------------------------------- decide


def enabled(number, operation=None):
    return host(number, ours=[record("A")], operation=operation)


def test_with_nothing_open_every_host_begins():
    assert _plan.decide([enabled(1), enabled(2)]) == {"mx1": "new", "mx2": "new"}


def test_an_open_operation_is_completed_and_none_is_begun():
    decision = _plan.decide([enabled(1), enabled(2, B)])
    assert decision["mx1"] is None and decision["mx2"]["target_spki"] == B.spki


def test_idle_hosts_may_begin_beside_an_open_operation():
    decision = _plan.decide([enabled(1), enabled(2, B)], "new")
    assert decision["mx1"] == "new" and decision["mx2"]["target_spki"] == B.spki


def test_an_open_operation_may_be_abandoned():
    assert _plan.decide([enabled(1), enabled(2, B)], "abandon") == {"mx1": "new", "mx2": "new"}


def test_a_host_that_was_never_enabled_is_named():
    with pytest.raises(_plan.PlanError, match=f"mx2.*{OWNER}.*enable.yml"):
        _plan.decide([enabled(1), host(2)])


def test_a_ledger_that_is_none_is_named():
    with pytest.raises(LedgerError):
        _plan.decide([{**enabled(1), "ledger": {"operation": None}}])


# ----------------------------------------------------------------------------------------------------------- compromise


def compromised(number, **more):
    """A host with an operation that is open because of a compromise, about key C."""
    one = enabled(number, C)
    one["ledger"]["operation"]["kind"] = "compromise"
    return {**one, **more}


def test_a_compromise_gives_up_what_was_begun_for_another_reason():
    """Its next key lies on the same host."""
    assert _plan.decide([enabled(1), enabled(2, B)], reason="compromise") == {"mx1": "new", "mx2": "new"}
    assert _plan.gives_up(enabled(1, B), "auto", "compromise") and not _plan.gives_up(enabled(1, B), "auto", "routine")
    assert not _plan.gives_up(enabled(1), "auto", "compromise")
    assert _plan.gives_up(enabled(1, B), "abandon", "routine")


def test_a_compromise_that_was_begun_is_completed_with_or_without_the_option():
    for reason in ("compromise", "routine"):
        decision = _plan.decide([enabled(1), compromised(2)], reason=reason)
        assert decision["mx1"] is None and decision["mx2"]["target_spki"] == C.spki


def test_a_compromise_does_not_wait_until_keys_are_due():
    with pytest.raises(_plan.PlanError, match="without dane_rekey=due"):
        _plan.decide([aged(1, 900)], "due", T0, "compromise")


def test_whatever_lies_ready_on_a_compromised_host_is_burnt_but_not_what_is_served():
    assert _plan.burnt(enabled(1), "compromise", [A.spki, B.spki]) == [B.spki]
    assert _plan.burnt(enabled(1, C), "compromise", [A.spki, B.spki]) == sorted([B.spki, C.spki])
    # In the chain file, and presented by nobody yet.
    assert _plan.burnt({**enabled(1, C), "file_spki": C.spki}, "compromise", [A.spki, C.spki]) == []


def test_of_a_rekey_that_is_abandoned_the_key_is_burnt_and_nothing_else():
    """Else it would pass for a standby: its record is published, and it was never served."""
    assert _plan.burnt(enabled(1, C), "routine", [A.spki, B.spki, C.spki]) == [C.spki]
    assert _plan.burnt(enabled(1, A), "routine", [A.spki]) == [] == _plan.burnt(enabled(1), "routine", [B.spki])


def test_a_compromise_says_how_long_it_takes_before_it_begins():
    one = {**enabled(1), "replay_until": T0 + 14 * 86400 + 60}
    told = _plan.warning([one, enabled(2)], {"mx1": "new", "mx2": None}, "compromise")
    assert len(told) == 1 and told[0].startswith(f"mx1: key {A.spki[:16]} is compromised")
    assert "in every cache: 21 s after the last server" in told[0]
    assert "can deceive senders until 2023-11-28 22:14 UTC" in told[0]
    slow = host(1, served=[version(record("A"), ttl=3600)], ours=[record("A")])
    assert "120 min after the last server" in _plan.warning([slow], {"mx1": "new"}, "compromise")[0]
    assert "until a time that is not known" in _plan.warning([slow], {"mx1": "new"}, "compromise")[0]
    # The wait is as long as the longest of both TTLs asks.
    assert "360 min after" in _plan.warning([{**slow, "ttl": 10800}], {"mx1": "new"}, "compromise")[0]


def test_it_is_said_again_when_it_is_gone_on_with_and_never_of_another_rekey():
    hosts = [compromised(1), enabled(2, B)]
    decision = _plan.decide(hosts)
    assert [text[:4] for text in _plan.warning(hosts, decision, "routine")] == ["mx1:"]
    assert _plan.warning([enabled(1)], {"mx1": "new"}, "routine") == []


# -------------------------------------------------------------------------------------------------------------- standby


def lineage(name, key, digest512="00"):
    return {"lineage": name, "spki": key.spki, "spki512": digest512, "made": T0}


def on_key(key, mtype=1):
    return Record(3, 1, mtype, key.spki * mtype)


LINEAGES = [lineage("one", A), lineage("one-2", B)]


def test_the_standby_is_the_lineage_whose_key_is_published_and_was_never_served():
    one = host(1, ours=[on_key(A), on_key(B)])
    assert _plan.standby_lineage(LINEAGES, one) == "one-2"
    # Also when the one that is served is gone.
    assert _plan.standby_lineage(LINEAGES[1:], one) == "one-2"
    assert _plan.standby_lineage(LINEAGES[:1], one) == ""


def test_by_its_other_digest_and_at_any_name():
    by_512 = [lineage("one", A), lineage("one-2", B, B.spki * 2)]
    assert _plan.standby_lineage(by_512, host(1, ours=[on_key(B, 2)])) == "one-2"
    assert _plan.standby_lineage(LINEAGES, host(1, ours=[on_key(B, 2)])) == ""
    elsewhere = host(1, ours=[on_key(B)], owner=OTHER)
    assert _plan.standby_lineage(LINEAGES, elsewhere) == "one-2"
    assert _plan.standby_lineage(LINEAGES, {**elsewhere, "owners": [OWNER]}) == ""


def test_a_key_without_a_record_is_no_standby():
    """It may have been served before the ledger began, or been given up."""
    assert _plan.standby_lineage(LINEAGES, host(1, ours=[on_key(A)])) == ""
    foreign = Record(3, 1, 1, C.spki)
    assert _plan.standby_lineage(LINEAGES, host(1, served=[version(on_key(A), foreign)], ours=[on_key(A)])) == ""


def test_a_standby_survives_a_lost_ledger_by_its_record():
    assert _plan.standby_lineage(LINEAGES, host(1, served=[version(on_key(A), on_key(B))])) == "one-2"


@pytest.mark.parametrize("how", ["retired", "presented", "in the file"])
def test_a_key_that_was_served_is_no_standby(how):
    one = host(1, ours=[on_key(A), on_key(B)], serves=B if how == "presented" else A)
    one["file_spki"] = B.spki if how == "in the file" else A.spki
    if how == "retired":
        one["ledger"]["retired"] = [B.spki]
    assert _plan.standby_lineage(LINEAGES[1:], one) == ""


# ------------------------------------------------------------------------------------------------------------------ due

DAY = 86400
YEAR = 365 * DAY


def aged(number, days, operation=None, spread=0, **more):
    """A host whose key has been known for so many days at T0; None: nobody knows since when."""
    since = None if days is None else T0 - days * DAY
    return {**enabled(number, operation), "key_since": since, "key_max_age": YEAR, "key_spread": spread, **more}


def test_only_hosts_whose_key_is_due_begin():
    decision = _plan.decide([aged(1, 364), aged(2, 365), aged(3, 900)], "due", T0)
    assert decision == {"mx1": None, "mx2": "new", "mx3": "new"}


def test_a_key_is_due_at_its_second_and_not_before():
    one = aged(1, 0)
    assert _plan.decide([one], "due", T0 + YEAR - 1) == {"mx1": None}
    assert _plan.decide([one], "due", T0 + YEAR) == {"mx1": "new"}


def test_with_nothing_due_nobody_begins():
    assert _plan.decide([aged(1, 1), aged(2, 2)], "due", T0) == {"mx1": None, "mx2": None}


def test_what_is_open_goes_on_and_keeps_nobody_from_beginning():
    decision = _plan.decide([aged(1, 1, B), aged(2, 400), aged(3, 1)], "due", T0)
    assert decision["mx1"]["target_spki"] == B.spki
    assert (decision["mx2"], decision["mx3"]) == ("new", None)


def test_hosts_that_share_a_name_may_be_due_in_one_run():
    assert {one["owners"][0] for one in (aged(1, 400), aged(2, 400))} == {OWNER}
    assert _plan.decide([aged(1, 400), aged(2, 400)], "due", T0) == {"mx1": "new", "mx2": "new"}


def test_a_key_of_unknown_age_is_not_due_and_is_named():
    assert _plan.decide([aged(1, None)], "due", T0 + 99 * YEAR) == {"mx1": None}
    (told,) = _plan.schedule([aged(1, None)], "due", T0)
    assert told.startswith(f"mx1: key {A.spki[:16]}: no certificate says how old it is") and "-l mx1 -e dane_rekey=new" in told


def test_a_host_that_was_never_enabled_is_named_before_it_is_due():
    with pytest.raises(_plan.PlanError, match="mx1.*enable.yml"):
        _plan.decide([{**aged(1, 1), "ledger": host(1)["ledger"]}], "due", T0)


def test_the_age_matters_to_no_other_mode():
    assert _plan.decide([aged(1, 1), aged(2, 900)]) == {"mx1": "new", "mx2": "new"}
    assert _plan.schedule([aged(1, 1)], "auto", T0) == []


def test_the_spread_makes_the_life_of_a_key_shorter_by_a_part_of_the_hosts_own():
    lives = [_plan.key_lifetime(f"mx{number}.example.test", YEAR, 10) for number in range(1000)]
    assert lives == [_plan.key_lifetime(f"mx{number}.example.test", YEAR, 10) for number in range(1000)]
    assert min(lives) >= 0.9 * YEAR and max(lives) <= YEAR
    # Evenly: of a thousand hosts about 27 on each of 36.5 days.
    days = [sum(1 for life in lives if (YEAR - life) // DAY == day) for day in range(36)]
    assert min(days) >= 10 and max(days) <= 50


def test_without_a_spread_every_host_has_the_whole_time():
    assert {_plan.key_lifetime(f"mx{number}", YEAR, 0) for number in range(10)} == {YEAR}


def test_the_part_is_the_same_everywhere():
    """Not Python's own hash, which is another one in each process."""
    assert _plan.key_lifetime("mx1.example.org", YEAR, 10) == 30259878


def test_the_schedule_says_what_comes_next_the_soonest_first():
    told = _plan.schedule([aged(1, 1), aged(2, 400), aged(3, 100), aged(4, 1, B), aged(5, None)], "due", T0)
    assert [text.split(":")[0] for text in told] == ["mx4", "mx5", "mx2", "mx3", "mx1"]
    assert told[0] == "mx4: rekey 1 is open and goes on"
    assert told[2] == (f"mx2: key {A.spki[:16]}, known since {_plan.day(T0 - 400 * DAY)}, is due since "
                       f"{_plan.day(T0 - 35 * DAY)}")
    assert told[4] == (f"mx1: key {A.spki[:16]}, known since {_plan.day(T0 - DAY)}, is not due before "
                       f"{_plan.day(T0 + 364 * DAY)}, in 364 days")


def test_a_day_is_one_of_utc():
    assert (_plan.day(0), _plan.day(86399), _plan.day(86400)) == ("1970-01-01", "1970-01-01", "1970-01-02")


@pytest.mark.parametrize(("text", "seconds"), [
    ("365d", YEAR), ("90d", 90 * DAY), ("52w", 364 * DAY), ("8760h", YEAR), (" 1h ", 3600), ("99999w", 99999 * 7 * DAY)])
def test_a_duration(text, seconds):
    assert _plan.duration(text) == seconds


@pytest.mark.parametrize("text", [
    "", "365", 365, "0d", "-1d", "1.5d", "1y", "3m", "3M", "90 d", "d", "90D", "100000d", "1d1h", None, [], "\u0661d"])
def test_a_duration_that_is_none(text):
    with pytest.raises(_plan.PlanError, match="expected a number of hours, days or weeks, such as 8760h, 365d or 52w"):
        _plan.duration(text)


def test_ages_that_cannot_be_used_are_all_named():
    assert _plan.impossible_ages("365d", 10) == _plan.impossible_ages("365d", "0") == _plan.impossible_ages("1h", 50) == []
    age, spread = _plan.impossible_ages("1y", 51)
    assert age.startswith("dane_key_max_age: Cannot use '1y'")
    assert spread == "dane_key_spread: Cannot use 51: expected per cent of dane_key_max_age, 0 to 50"
    for wrong in (-1, 1.5, "10%", True, None, 100):
        assert len(_plan.impossible_ages("365d", wrong)) == 1


# -------------------------------------------------------------------------------------------------------------- publish


def test_the_records_of_the_current_and_the_next_key():
    plan = _plan.publish([host(ours=[record("A")], candidate=B)], T0)
    assert plan["records"] == [{"name": OWNER, "rdata": sorted(texts(record("A"), record("B"))), "ttl": 10}]
    assert plan["later"] == []
    assert set(plan["published"][OWNER]) == texts(record("A"), record("B"))


def test_the_intent_is_what_the_servers_will_give_with_the_longest_ttl():
    served = [version(record("A"), ttl=70), version(record("A"), record("foreign"), ttl=40)]
    plan = _plan.publish([host(served=served, candidate=B)], T0)
    intents = [Version.from_dict(one) for one in plan["intents"][OWNER]]
    assert {one.records for one in intents} == {
        frozenset({record("A"), record("B")}), frozenset({record("A"), record("B"), record("foreign")})}
    assert {one.ttl for one in intents} == {70}


def test_nothing_to_publish_is_no_change():
    plan = _plan.publish([host(served=[version(record("A"), record("B"))], candidate=B)], T0)
    assert plan["records"] == [] and plan["intents"] == {}
    assert set(plan["published"][OWNER]) == texts(record("A"), record("B"))


def test_one_server_without_a_record_is_reason_enough_to_publish():
    served = [version(record("A"), record("B")), version(record("A"))]
    assert record("B").data in str(_plan.publish([host(served=served, candidate=B)], T0)["records"])


def test_a_name_that_lost_its_records_gets_them_back_without_enabling():
    for served in ([EMPTY], []):
        plan = _plan.publish([host(served=served, ours=[record("A")])], T0)
        assert rdata(plan) == texts(record("A")) and plan["later"] == []


def test_a_standby_key_is_published_as_well():
    assert texts(record("C")) <= rdata(_plan.publish([host(candidate=B, standby=C.to_dict())], T0))


def test_hosts_that_share_a_name_publish_the_records_of_all():
    hosts = [host(1, A, candidate=C, ttl=20), host(2, B, served=[version(record("A"), record("B"))], candidate=D)]
    plan = _plan.publish(hosts, T0)
    assert rdata(plan) == texts(*map(record, "ABCD"))
    assert [entry["ttl"] for entry in plan["records"]] == [10], "the shorter of the two"


def test_names_of_their_own_stay_apart():
    hosts = [host(1, A, candidate=C), host(2, B, served=[version(record("B"))], owner=OTHER, candidate=D)]
    plan = _plan.publish(hosts, T0)
    assert rdata(plan) == texts(record("A"), record("C")) and rdata(plan, OTHER) == texts(record("B"), record("D"))


def test_only_the_last_host_is_pending():
    hosts = [host(1, active=False, ours=[record("A")]),
             host(2, B, served=[version(record("B"))], owner=OTHER, candidate=D)]
    plan = _plan.publish(hosts, T0)
    assert rdata(plan, OTHER) == texts(record("B"), record("D")) and rdata(plan) == set()


def test_an_idle_host_that_shares_the_name_is_not_forgotten():
    hosts = [host(1, A, active=False), host(2, B, served=[version(record("B"))], candidate=D)]
    assert rdata(_plan.publish(hosts, T0)) == texts(record("A"), record("B"), record("D"))


def test_every_combination_that_is_published_has_to_match_the_next_chain():
    """RFC 7671 section 8: somebody else's 3 1 2 and 3 0 1 hold the next chain as well."""
    served = version(record("A"), record("A", "3 1 2"), record(("A", 1), "3 0 1"))
    plan = _plan.publish([host(served=[served], candidate=B)], T0)
    assert texts(record("B"), record("B", "3 1 2"), record(("B", 1), "3 0 1")) <= rdata(plan)
    assert fine(B, Version.from_dict(plan["intents"][OWNER][0]))


def test_the_combination_of_an_issuer_that_matches_anyway_is_left_alone():
    served = version(record("A"), record("ca", "2 1 1"))
    assert texts(record("ca", "2 1 1")).isdisjoint(rdata(_plan.publish([host(served=[served], candidate=B)], T0)))


def test_what_is_kept_published_follows_the_options():
    plan = _plan.publish([host(candidate=B, combinations=["3 1 1", "3 1 2"])], T0)
    assert rdata(plan) == texts(*(record(key, combination) for key in "AB" for combination in ("3 1 1", "3 1 2")))


def test_records_that_match_what_is_served_are_adopted_and_foreign_ones_are_not():
    served = version(record("A"), record("A", "3 1 2"), record("foreign"), record("A")._replace(usage=1))
    plan = _plan.publish([host(served=[served], ours=[record("old")])], T0)
    assert set(plan["published"][OWNER]) == texts(record("A"), record("A", "3 1 2"), record("old"))


@pytest.mark.parametrize(("file_spki", "others", "adopted"), [
    (A.spki, {2: C}, "A"), (A.spki, {2: chain("C", algorithm="rsa")}, "A"),
    # No chain file of ours yet: one key of each algorithm is this host's, of two nobody knows which.
    ("", {}, "A"), ("", {2: A}, "A"), ("", {2: chain("C", algorithm="rsa")}, "AC"), ("", {2: C}, ""),
])
def test_the_records_of_another_host_at_the_name_are_never_adopted(file_spki, others, adopted):
    """It may be outside the inventory, and its address away for a day: its record has to be there when it comes back."""
    given = host(served=[version(record("A"), record("C"))], file_spki=file_spki, candidate=B)
    chains = Chains().observe([outcome(T0, A), *(outcome(T0, one, number) for number, one in others.items())], TIMING, True)
    given["ledger"]["chains"] = chains.to_dict()
    assert set(_plan.publish([given], T0)["published"][OWNER]) == texts(*map(record, adopted), record("B"))


# ------------------------------------------------------------------------------------------------------------- enabling


def test_the_first_records_come_when_only_the_chain_they_are_for_may_be_met():
    virgin = {"served": [EMPTY], "candidate": B}
    for hosts in ([host(serves=A, **virgin)], [host(serves=B, history=[(T0 - 29, A)], **virgin)],
                  [host(serves=B, **{**virgin, "candidate": None})],
                  [host(1, B, **virgin), host(2, A, **{**virgin, "candidate": C})]):
        plan = _plan.publish(hosts, T0, enabling=True)
        assert plan == {"records": [], "intents": {}, "published": {}, "later": [OWNER]}
    assert rdata(_plan.publish([host(serves=B, **virgin)], T0, enabling=True)) == texts(record("B"))
    lingering = host(serves=B, history=[(T0 - 29, A)], **virgin)
    assert rdata(_plan.publish([lingering], T0 + 31, enabling=True)) == texts(record("B"))


def test_a_name_with_records_is_published_at_once():
    assert rdata(_plan.publish([host(candidate=B)], T0, enabling=True)) == texts(record("A"), record("B"))


def test_one_name_waits_and_the_other_does_not():
    hosts = [host(1, A, served=[EMPTY], candidate=B), host(2, C, served=[EMPTY], candidate=C, owner=OTHER)]
    plan = _plan.publish(hosts, T0, enabling=True)
    assert plan["later"] == [OWNER] and rdata(plan, OTHER) == texts(record("C"))


# ------------------------------------------------------------------------------------------------------------- withdraw

BOTH = version(record("A"), record("B"))


def after(**more):
    """A host that serves B and has A's record to withdraw."""
    return host(**{"serves": B, "served": [BOTH], "ours": [record("A"), record("B")], "candidate": B, **more})


def test_the_records_of_a_key_that_nobody_presents_go():
    plan = _plan.withdraw([after(operation=B)], T0)
    assert plan["records"] == [{"name": OWNER, "rdata": [str(record("A"))]}]
    assert Version.from_dict(plan["intents"][OWNER][0]).records == {record("B")}
    assert set(plan["published"][OWNER]) == texts(record("B")) and plan["kept"] == {}


def test_the_record_of_a_standby_is_there_from_the_start_and_goes_when_nobody_wants_it():
    virgin = host(1, A, served=[EMPTY], candidate=A, standby=B.to_dict())
    assert rdata(_plan.publish([virgin], T0, enabling=True)) == texts(record("A"), record("B"))
    wanted = host(1, A, served=[BOTH], ours=[record("A"), record("B")], candidate=A, standby=B.to_dict())
    assert _plan.withdraw([wanted], T0)["records"] == [] == _plan.publish([wanted], T0)["records"]
    # It was never served: nobody has to be waited for.
    given_up = {**wanted, "standby": None}
    plan = _plan.withdraw([given_up], T0)
    assert rdata(plan) == texts(record("B")) and plan["kept"] == {}


def test_the_standby_of_a_host_that_takes_no_part_stays_at_a_name_that_it_shares():
    idle = host(2, A, served=[BOTH], ours=[record("A"), record("B")], standby=B.to_dict(), active=False)
    busy = host(1, A, served=[BOTH], ours=[record("A"), record("B")], candidate=A)
    assert _plan.withdraw([busy, idle], T0)["records"] == []
    assert rdata(_plan.withdraw([busy, {**idle, "standby": None}], T0)) == texts(record("B"))


# ---------------------------------------------------------------------------------- a standby key that is kept elsewhere


def elsewhere(of):
    """What the module standby_key says of a key: there is no certificate yet."""
    told = {"id": of.spki, "spki": of.spki, "algorithm": of.algorithm, "issuer_records": [],
            "matches": sorted(str(one) for one in of.matches if (one.usage, one.selector) == (3, 1))}
    return {"path": f"/standby/{of.spki[:16]}", "algorithm": of.algorithm, "spki": of.spki, "chain": told}


def test_the_record_of_a_key_that_is_kept_elsewhere_is_that_of_a_standby():
    more = {"standby": elsewhere(B)["chain"], "combinations": ["3 1 1", "3 1 2"]}
    assert rdata(_plan.publish([host(1, A, candidate=A, **more)], T0)) == texts(
        record("A"), record("A", "3 1 2"), record("B"), record("B", "3 1 2"))
    mixed = {**more, "combinations": ["3 1 1", "2 1 1"]}
    one = host(1, A, served=[version(record("A"), record("ca", "2 1 1"))], **mixed)
    assert rdata(_plan.publish([one], T0)) == texts(record("A"), record("B"))
    there = host(1, A, served=[BOTH], ours=[record("A"), record("B")], candidate=A, standby=elsewhere(B)["chain"])
    assert _plan.withdraw([there], T0)["records"] == [] == _plan.publish([there], T0)["records"]
    assert rdata(_plan.withdraw([{**there, "standby": None}], T0)) == texts(record("B"))


def test_it_stays_published_while_another_key_takes_its_turn():
    """A rekey to C by whoever does not have the standby key B at hand."""
    everything = [version(*map(record, "ABC"))]
    ours = [record("A"), record("B"), record("C")]
    one = host(1, C, served=everything, ours=ours, candidate=C, operation=C, standby=elsewhere(B)["chain"])
    assert rdata(_plan.withdraw([one], T0)) == texts(record("A"))


def test_when_it_is_served_after_a_compromise_nothing_is_left_to_publish():
    """And what goes is the burnt key's record alone."""
    before = host(1, A, served=[BOTH], ours=[record("A"), record("B")], candidate=B, operation=B,
                  standby=elsewhere(B)["chain"])
    assert _plan.publish([before], T0)["records"] == []
    now = host(1, B, served=[BOTH], ours=[record("A"), record("B")], candidate=B, operation=B,
               standby=elsewhere(B)["chain"])
    assert rdata(_plan.withdraw([now], T0)) == texts(record("A"))


def test_what_was_or_is_served_is_no_standby():
    one = host(1, A, file_keys=[{"spki": C.spki, "algorithm": "ecdsa"}])
    one["ledger"]["retired"] = [D.spki]
    assert _plan.used_keys(one) == sorted([A.spki, C.spki, D.spki])


def test_it_is_fetched_until_its_record_is_published():
    kept = [elsewhere(B), elsewhere(C)]
    assert _plan.not_exported(kept, host(1, A)) == kept
    assert _plan.not_exported(kept, host(1, A, served=[BOTH])) == kept[1:], "the ledger was lost"
    assert _plan.not_exported(kept, host(1, A, ours=[record("C", "3 1 2")])) == kept[:1]
    assert _plan.not_exported([], host(1, A)) == []


def test_a_compromise_says_what_a_key_that_is_kept_elsewhere_saves():
    one = enabled(1)
    plain = _plan.warning([one], {"mx1": "new"}, "compromise")[0]
    assert "A new one is made, and it is served" in plain and "offline" not in plain
    reminded = _plan.warning([{**one, "standby_store": "offline"}], {"mx1": "new"}, "compromise")[0]
    assert "A new one is made" in reminded and "kept offline needs no wait: bring it by dane_csr_privatekey)" in reminded
    brought = _plan.warning([{**one, "standby_store": "offline", "key_given": True}], {"mx1": "new"}, "compromise")[0]
    assert "That in dane_csr_privatekey takes its place" in brought and ", or at once if it is the standby key" in brought
    given = _plan.warning([{**one, "key_given": True}], {"mx1": "new"}, "compromise")[0]
    assert "That in dane_csr_privatekey takes its place" in given and "offline" not in given


STORE = {"store": "offline", "method": "csr", "combinations_wanted": ["3 1 1"], "key_types": [], "export": "/srv/keys"}


def test_where_a_standby_key_can_be_kept_offline():
    assert _plan.impossible_store(**STORE) == []
    for possible in ({"key_types": ["rsa"]}, {"export": "~/keys"}, {"combinations_wanted": ["2 1 1", "3 1 2"]}):
        assert _plan.impossible_store(**{**STORE, **possible}) == []
    wrong = {"method": "lineage", "combinations_wanted": ["2 1 1"], "key_types": ["rsa", "ecdsa"], "export": ""}
    assert _plan.impossible_store(**{**STORE, **wrong, "store": "host"}) == []


@pytest.mark.parametrize("wrong, said", [
    ({"method": "lineage"}, "certbot takes no key that it has not made into a lineage of its own.*dane_certbot_method: csr"),
    ({"combinations_wanted": ["2 1 1", "2 0 1"]}, "records on issuers wait for no key.*dane_standby: false"),
    ({"key_types": ["rsa", "ecdsa"]}, "found rsa and ecdsa in dane_key_types, expected one"),
    ({"export": "keys"}, "found 'keys' in dane_standby_export, expected a directory"),
    ({"export": ""}, "found '' in dane_standby_export, expected a directory"),
])
def test_where_it_cannot(wrong, said):
    (told,) = _plan.impossible_store(**{**STORE, **wrong})
    assert re.match(f"dane_standby_store: Cannot keep a standby key offline: {said}", told)


def test_after_a_compromise_the_records_of_both_keys_go_at_once():
    burnt = host(1, C, served=[version(record("A"), record("B"), record("C"))], candidate=C, operation=C,
                 ours=[record("A"), record("B"), record("C")])
    burnt["ledger"]["retired"] = [A.spki, B.spki]
    plan = _plan.withdraw([burnt], T0)
    assert plan["records"] == [{"name": OWNER, "rdata": sorted(texts(record("A"), record("B")))}]


def test_what_somebody_presents_at_an_address_of_the_name_is_never_published():
    """A handshake proves nothing: a record for that key would make every sender believe whoever answered there."""
    stranger = host(1, serves=D, served=[ONLY_A], ours=[record("A")], candidate=B, file_spki=A.spki)
    assert rdata(_plan.publish([stranger], T0)) == texts(record("B"))
    shared = [host(1, candidate=B), host(2, serves=D, file_spki=C.spki)]
    assert record("D").data not in str(_plan.publish(shared, T0))


def test_what_the_next_key_can_never_match_is_said_before_the_wait():
    full = version(record("A"), record("A", "3 1 0"))
    with pytest.raises(_plan.PlanError, match=f"{OWNER}.*mx1.*3 1 0.*Remove those first"):
        _plan.publish([host(served=[full], candidate=B)], T0)
    assert _plan.publish([host(served=[full], candidate=A)], T0)["records"] == [], "a renewal keeps the key"


def test_adopted_records_that_the_options_cannot_ask_for_stay():
    """The issuer's whole key goes on matching: to remove it is the operator's business."""
    served = version(*BOTH.records, record("ca", "2 1 0"), record("old ca", "2 1 0"), record(("B", 1), "3 0 1"))
    ours = [record("A"), record("B"), record("ca", "2 1 0"), record("old ca", "2 1 0"), record(("B", 1), "3 0 1")]
    plan = _plan.withdraw([after(served=[served], ours=ours)], T0)
    assert rdata(plan) == texts(record("A"), record("old ca", "2 1 0"))


def test_what_may_be_published_is_noted_for_each_version_that_may_be_there():
    """Which of them the primary has is known only when it is asked."""
    plan = _plan.withdraw([after(served=[BOTH, version(*BOTH.records, record("C"))])], T0)
    assert [set(Version.from_dict(one).records) for one in plan["intents"][OWNER]] in (
        [{record("B")}, {record("B"), record("C")}], [{record("B"), record("C")}, {record("B")}])
    added = _plan.publish([host(served=[ONLY_A, EMPTY], candidate=B)], T0)
    assert {frozenset(Version.from_dict(one).records) for one in added["intents"][OWNER]} == {
        frozenset({record("A"), record("B")})}


def test_only_what_was_noted_and_is_still_wanted_is_done():
    noted = _plan.withdraw([after(operation=B)], T0)
    assert _plan.agreed(noted, noted) == noted
    failed = _plan.withdraw([after(operation=B)], T0, {"mx1.example.test": ["mx9"]})
    assert _plan.agreed(noted, failed)["records"] == [] and _plan.agreed(noted, failed)["kept"] == {OWNER: [str(record("A"))]}
    gone = _plan.withdraw([], T0)
    assert _plan.agreed(noted, gone)["records"] == [] and _plan.agreed(noted, gone)["kept"] == {OWNER: [str(record("A"))]}
    late = _plan.agreed({**noted, "records": []}, noted)
    assert late["records"] == [] and late["kept"] == {OWNER: [str(record("A"))]}
    assert str(record("A")) in late["published"][OWNER]


def test_records_of_a_name_that_a_host_beyond_the_run_serves_are_held():
    elsewhere = _plan.absent({"mx1": ["mx1.example.test"], "mx9": ["MX1.example.test.", "x"], "mx3": ["y"]}, ["mx1"])
    assert elsewhere == {"mx1.example.test": ["mx9"], "x": ["mx9"], "y": ["mx3"]}
    plan = _plan.withdraw([after(operation=B)], T0, elsewhere)
    assert plan["records"] == [] and plan["held"] == {OWNER: ["mx9"]} and plan["kept"] == {OWNER: [str(record("A"))]}
    assert texts(record("A")) <= set(plan["published"][OWNER]), "still ours, for the run that withdraws it"
    done = _plan.withdraw([after(served=[version(record("B"))], ours=[record("B")])], T0, elsewhere)
    assert done["held"] == {}, "nothing is left to withdraw"


def test_a_view_says_until_when_a_chain_may_be_met():
    view = _plan.views([after(history=[(T0 - 29, A)]), after(number=2, history=[(T0 - 9, A)])], T0)[OWNER]
    assert view["gone_at"] == {A.id: T0 + TIMING.linger}
    met = _plan.views([after(history=[(T0 - 29, A)]), after(number=2, serves=A)], T0)[OWNER]
    assert met["gone_at"] == {}


def test_a_view_says_where_a_chain_is_presented():
    view = _plan.views([after(history=[(T0 - 29, A)]), after(number=2), after(number=3, serves=A)], T0)[OWNER]
    assert {one["id"]: one["presented_at"] for one in view["chains"]} == {
        A.id: [f"{endpoint(3)['address']} port 25"],
        B.id: [f"{endpoint(number)['address']} port 25" for number in (1, 2)]}


def test_before_linger_is_over_a_ledger_that_was_lost_does_not_know_every_chain():
    lost = after()
    lost["ledger"]["chains"]["unknown_until"] = T0 + 12
    assert not _plan.views([lost], T0)[OWNER]["chains_known"] and _plan.views([lost], T0 + 12)[OWNER]["chains_known"]
    assert _plan.linger_seconds([lost], T0) == 13


def test_the_intent_of_a_withdrawal_has_the_longest_ttl():
    plan = _plan.withdraw([after(served=[version(*BOTH.records, ttl=5), version(*BOTH.records, ttl=50)])], T0)
    assert plan["intents"][OWNER][0]["ttl"] == 50


@pytest.mark.parametrize("more", [
    {"serves": A}, {"history": [(T0 - 29, A)]}, {"candidate": A}, {"standby": A.to_dict()},
])
def test_the_records_of_a_key_that_may_be_met_or_is_held_ready_stay(more):
    assert _plan.withdraw([after(**more)], T0)["records"] == []


def test_a_record_that_lingers_is_kept_and_named():
    plan = _plan.withdraw([after(history=[(T0 - 29, A)])], T0)
    assert plan["kept"] == {OWNER: [str(record("A"))]}
    assert set(plan["published"][OWNER]) == texts(record("A"), record("B"))


def test_foreign_records_are_never_touched():
    served = version(*BOTH.records, record("foreign"), record("x")._replace(usage=0))
    assert rdata(_plan.withdraw([after(served=[served])], T0)) == texts(record("A"))
    assert _plan.withdraw([after(ours=[record("B")])], T0)["records"] == []


def test_what_is_not_there_is_not_removed():
    plan = _plan.withdraw([after(served=[version(record("B"))], history=[(T0 - 9, A)])], T0)
    assert plan["records"] == [] and plan["kept"] == {} and set(plan["published"][OWNER]) == texts(record("B"))


def test_a_name_without_any_answer_is_left_alone():
    assert _plan.withdraw([after(served=[])], T0)["records"] == []


def test_a_host_in_the_middle_of_a_rekey_holds_withdrawals_at_its_names():
    """Its next key is published, and this run does not know it."""
    served = [version(*map(record, "ABC"))]
    ours = [record("A"), record("B"), record("C")]
    middle = host(2, A, served, ours, operation=C)
    plan = _plan.withdraw([after(served=served, ours=ours), middle], T0)
    assert plan["records"] == [] and texts(record("C")) <= set(plan["kept"][OWNER])
    known = host(2, A, served, ours, operation=C, candidate=C)
    assert _plan.withdraw([after(served=served, ours=ours), known], T0)["records"] == []
    begun = host(2, B, served, ours, operation="")
    assert rdata(_plan.withdraw([after(served=served, ours=ours), begun], T0)) == texts(record("A"), record("C"))


def test_what_one_host_still_needs_the_other_does_not_withdraw():
    needs = host(2, A, [BOTH], [record("A")])
    plan = _plan.withdraw([after(), needs], T0)
    assert plan["records"] == [] and texts(record("A")) <= set(plan["published"][OWNER])


def test_a_combination_that_was_given_up_goes_when_others_are_kept():
    served = version(record("A"), record("A", "3 1 2"))
    given_up = host(served=[served], ours=served.records, candidate=A, combinations=["3 1 2"])
    plan = _plan.withdraw([given_up], T0)
    assert rdata(plan) == texts(record("A")) and plan["kept"] == {}
    lingering = host(serves=B, history=[(T0 - 9, A)], candidate=B, combinations=["3 1 2"], ours=served.records, served=[
        version(*served.records, record("B", "3 1 2"))])
    plan = _plan.withdraw([lingering], T0)
    assert rdata(plan) == texts(record("A")) and plan["kept"] == {OWNER: [str(record("A", "3 1 2"))]}


def test_the_last_usable_record_stays_whatever_the_options_say():
    given_up = host(ours=[record("A")], candidate=A, combinations=["3 1 2"])
    assert _plan.withdraw([given_up], T0)["records"] == []


def test_a_combination_that_a_foreign_record_keeps_there_has_to_go_on_matching():
    served = version(record("A"), record("A", "3 1 2"), record("foreign"))
    given_up = host(served=[served], ours=[record("A"), record("A", "3 1 2")], candidate=A, combinations=["3 1 2"])
    plan = _plan.withdraw([given_up], T0)
    assert plan["records"] == [] and texts(record("A")) <= set(plan["published"][OWNER])
    assert plan["kept"] == {}, "it stays for good: the operation may be closed"


# -------------------------------------------------------------------------------------------------------------- issuers

CA, NEW_CA, OLD_CA, POOL = (record(issuer, "2 1 1") for issuer in ("ca", "new ca", "old ca", "pool ca"))
DAY = 86400
#: The same key, renewed by another issuer.
RENEWED = chain("A", 2, issuer="new ca")


def ready(one, issuer, days=90):
    """A chain as chain_assemble gives it, with the issuer that records are published for (JSON)."""
    return {**one.to_dict(), "issuer_records": [str(record(issuer, f"2 {selector} {mtype}"))
                                                for selector in (0, 1) for mtype in (1, 2)],
            "not_before": T0 - DAY, "not_after": T0 - DAY + days * DAY}


def on_issuers(combinations=("2 1 1",), issuers=("ca",), serves=A, file=A, served=(), ours=(), candidate=None, **more):
    """A host that keeps records on issuers, and remembers some (their names)."""
    found = host(**{"serves": serves, "served": served or [version(CA)], "ours": ours or [CA], "file_spki": file.spki,
                    "combinations": list(combinations), **more})
    found["ledger"]["issuers"] = [
        [str(record(issuer, f"2 {selector} {mtype}")), T0] for issuer in issuers for selector in (0, 1) for mtype in (1, 2)]
    return {**found, "candidate": candidate}


def test_the_record_of_a_new_issuer_comes_beside_the_old():
    """The gate refused a renewal from another intermediate: its record is all that is missing."""
    plan = _plan.publish([on_issuers(candidate=ready(RENEWED, "new ca"))], T0)
    assert rdata(plan) == texts(CA, NEW_CA) == set(plan["published"][OWNER])
    assert fine(RENEWED, Version.from_dict(plan["intents"][OWNER][0]))


def test_of_a_chain_with_several_issuers_only_the_first_is_published():
    rooted = RENEWED._replace(matches=RENEWED.matches | {record("root", "2 1 1")})
    assert rdata(_plan.publish([on_issuers(candidate=ready(rooted, "new ca"))], T0)) == texts(CA, NEW_CA)
    standby = on_issuers(candidate=ready(A, "ca"), standby=ready(rooted, "new ca"))
    assert rdata(_plan.publish([standby], T0)) == texts(CA, NEW_CA)


def test_both_the_key_and_the_issuer():
    plan = _plan.publish([on_issuers(["3 1 1", "2 0 1"], candidate=ready(RENEWED, "new ca"))], T0)
    assert rdata(plan) == texts(record("A"), record("ca", "2 0 1"), record("new ca", "2 0 1"), NEW_CA), (
        "and every combination that is there has to match")


def test_an_issuer_that_was_seen_lately_stays():
    there = {"serves": RENEWED, "served": [version(CA, NEW_CA, OLD_CA)], "ours": [CA, NEW_CA, OLD_CA],
             "candidate": ready(RENEWED, "new ca")}
    assert rdata(_plan.withdraw([on_issuers(issuers=["ca", "new ca"], **there)], T0)) == texts(OLD_CA)
    assert _plan.withdraw([on_issuers(issuers=["ca", "new ca", "old ca"], **there)], T0)["records"] == []
    shared = on_issuers(**{**there, "serves": chain("B", issuer="new ca"), "candidate": None}, file=B, number=2,
                        issuers=["new ca", "old ca"])
    assert rdata(_plan.withdraw([on_issuers(issuers=["new ca"], **there), shared], T0)) == texts(CA)


def test_what_strangers_present_is_no_issuer_of_ours():
    stranger = on_issuers(serves=chain("D", issuer="stranger ca"), candidate=ready(A, "ca"))
    assert _plan.publish([stranger], T0)["records"] == []


def test_an_issuer_may_be_published_ahead():
    expected = on_issuers(issuer_pool=[str(POOL), str(record("pool ca", "2 0 1"))], candidate=ready(A, "ca"))
    assert rdata(_plan.publish([expected], T0)) == texts(CA, POOL)
    over = {"served": [version(CA, POOL)], "ours": [CA, POOL], "candidate": ready(A, "ca")}
    assert rdata(_plan.withdraw([on_issuers(**over)], T0)) == texts(POOL)
    assert _plan.withdraw([on_issuers(issuer_pool=[str(POOL)], **over)], T0)["records"] == []
    key = on_issuers(issuer_pool=[str(record("B"))], candidate=ready(A, "ca"), combinations=["2 1 1", "3 1 1"])
    assert rdata(_plan.publish([key], T0)) == texts(CA, record("A")), "a pool of issuers is no way in for keys"


def test_from_the_key_to_the_issuer():
    """RFC 7671 section 8.2: beside, wait, and only then away with the old one."""
    change = {"combinations": ["2 1 1"], "ours": [record("A")], "candidate": ready(A, "ca")}
    assert rdata(_plan.publish([on_issuers(served=[ONLY_A], **change)], T0)) == texts(CA)
    published = on_issuers(**{**change, "ours": [record("A"), CA]}, served=[version(record("A"), CA)])
    assert _plan.awaited([published]) == {OWNER: [str(CA)]}
    assert rdata(_plan.withdraw([published], T0)) == texts(record("A"))


def test_from_the_issuer_to_the_key():
    change = {"combinations": ["3 1 1"], "ours": [CA, OLD_CA], "candidate": ready(A, "ca"), "issuers": ["ca", "old ca"]}
    assert rdata(_plan.publish([on_issuers(served=[version(CA, OLD_CA)], **change)], T0)) == texts(record("A"))
    published = on_issuers(**{**change, "ours": [record("A"), CA, OLD_CA]}, served=[version(record("A"), CA, OLD_CA)])
    assert _plan.awaited([published]) == {OWNER: [str(record("A"))]}
    plan = _plan.withdraw([published], T0)
    assert rdata(plan) == texts(CA, OLD_CA), "for the operator has given the whole combination up"
    assert set(plan["published"][OWNER]) == texts(record("A"))


def test_a_combination_that_was_given_up_stays_while_a_cache_may_not_have_the_new_one():
    change = {"combinations": ["3 1 2"], "ours": [record("A"), record("A", "3 1 2")], "candidate": A}
    both = version(record("A"), record("A", "3 1 2"))
    late = host(served=[both, ONLY_A], **change)
    plan = _plan.withdraw([late], T0)
    assert plan["records"] == [] and plan["kept"] == {OWNER: [str(record("A"))]}
    cached = host(served=[both], **change)
    name = Name(OWNER).observe(look(T0 - 5, ONLY_A), TIMING).observe(look(T0, both), TIMING)
    cached["ledger"]["names"][OWNER] = name.to_dict()
    for now, gone in ((T0, set()), (T0 + 20, set()), (T0 + 21, texts(record("A")))):
        assert rdata(_plan.withdraw([cached], now)) == gone
        assert _plan.awaited([cached]) == {OWNER: [str(record("A", "3 1 2"))]}
    shared = _plan.withdraw([host(number=2, served=[both], **change), late], T0)
    assert shared["records"] == [] and shared["kept"] == {OWNER: [str(record("A"))]}


def test_nothing_is_awaited_where_no_combination_was_given_up():
    assert _plan.awaited([after(operation=B)]) == {}
    assert _plan.awaited([on_issuers(candidate=ready(RENEWED, "new ca"), issuers=["ca", "old ca"])]) == {}
    assert _plan.awaited([]) == {}


BARE = chain("A", 2)._replace(id="bare", matches=frozenset(one for one in chain("A", 2).matches if one.usage == 3))


@pytest.mark.parametrize("combinations", [["2 1 1"], ["2 1 1", "3 1 1"]])
def test_a_new_combination_that_the_chain_to_be_replaced_does_not_match_comes_after_the_deployment(combinations):
    """A leaf alone is presented: under 2 1 1 it would match nothing. What is deployed needs 3 1 1 for now, wanted or not."""
    bare = {"serves": BARE, "served": [ONLY_A], "ours": [record("A")], "issuers": []}
    before = on_issuers(combinations, candidate=ready(B, "ca"), **bare)
    assert rdata(_plan.publish([before], T0)) >= texts(record("B")) and str(CA) not in rdata(_plan.publish([before], T0))
    assert _plan.awaited([before]) == {}
    shared = [before, on_issuers(combinations, issuers=["ca"], number=2, served=[ONLY_A], ours=[record("A")])]
    assert str(CA) not in rdata(_plan.publish(shared, T0))
    served = on_issuers(combinations, serves=B, file=B, candidate=ready(B, "ca"), served=[BOTH], ours=BOTH.records)
    assert rdata(_plan.publish([served], T0)) >= texts(CA)
    there = {**bare, "served": [version(record("A"), CA)], "ours": [record("A"), CA]}
    mended = on_issuers(combinations, candidate=ready(RENEWED, "new ca"), **there)
    assert texts(NEW_CA) <= rdata(_plan.publish([mended], T0)), "the combination is there: an outage that this mends"


def test_where_nothing_else_would_be_left_the_door_is_asked():
    lost = on_issuers(serves=BARE, served=[EMPTY], candidate=ready(RENEWED, "new ca"), issuers=[])
    assert rdata(_plan.publish([lost], T0)) == texts(NEW_CA)


def alternating(number, combinations=("2 1 1",), **more):
    issuers = [f"ca {one}" for one in range(number)]
    return _plan.publish([on_issuers(combinations, issuers=[*issuers], candidate=ready(A, "ca"), **more)], T0)


def test_issuers_alone_are_refused_when_the_authority_alternates_beyond_the_pool():
    assert alternating(4)
    with pytest.raises(_plan.PlanError, match=f"Cannot keep only 2 1 1 at {OWNER}: the certificates of mx1 came from 5 issuers "
                                              "in the last 180 days, and 5 of them are not in dane_issuer_pool"):
        alternating(5)


def test_so_many_issuers_are_no_matter_beside_the_key_on_the_root_or_when_all_are_known():
    assert alternating(5, ("3 1 1", "2 1 1")) and alternating(5, anchor="root")
    pool = [str(record(f"ca {one}", "2 1 1")) for one in range(5)]
    assert alternating(5, issuer_pool=pool)
    with pytest.raises(_plan.PlanError, match="and 1 of them are not in dane_issuer_pool"):
        alternating(5, issuer_pool=pool[1:])


def test_what_is_missing_in_the_chain_is_named():
    bare = {**ready(A, "ca"), "issuer_records": []}
    with pytest.raises(_plan.PlanError, match="has no root that senders .*set dane_anchor to root"):
        _plan.publish([on_issuers(candidate=bare, anchor="root")], T0)


def test_an_issuer_that_the_chain_does_not_hold_is_said_before_anything_is_published():
    """RFC 7672 section 3.1.2: the anchor has to be in the chain that is presented."""
    bare = chain("A", 2)._replace(matches=frozenset(one for one in A.matches if one.usage == 3))
    for candidate in (bare.to_dict(), {**ready(bare, "ca"), "issuer_records": []}):
        with pytest.raises(_plan.PlanError, match=f"Cannot publish 2 1 1 at {OWNER}: the chain that mx1 .*no issuer"):
            _plan.publish([on_issuers(candidate=candidate)], T0)
    assert _plan.publish([host(candidate=bare)], T0)["records"] == []


def test_issuers_alone_are_refused_when_a_certificate_may_expire_before_the_record_of_its_issuer_is_everywhere():
    """lifetime(10) is 21 s: a third of 63 s."""
    def publish(seconds, combinations=("2 1 1",), ttl=10):
        told = ready(A, "ca", seconds / DAY)
        return _plan.publish([on_issuers(combinations, candidate=told, served=[version(CA, ttl=ttl)])], T0)

    with pytest.raises(_plan.PlanError, match="Cannot keep only 2 1 1 at .*Add 3 1 1"):
        publish(63)
    publish(64)
    publish(63, ["2 1 1", "3 1 1"])
    with pytest.raises(_plan.PlanError, match="Cannot keep only"):
        publish(64, ttl=11)


# ---------------------------------------------------------------------------------------------------------------- views


def test_a_view_has_every_chain_that_may_be_met_at_the_name():
    hosts = [host(1, B, history=[(T0 - 29, A)]), host(2, C), host(3, D, owner=OTHER)]
    view = _plan.views(hosts, T0)[OWNER]
    assert {Chain.from_dict(one) for one in view["chains"]} == {A, B, C}
    assert view["chains_known"] is True and view["seen_at"] == T0 and view["enabling"] is False
    assert {Chain.from_dict(one) for one in _plan.views(hosts, T0 + 30)[OWNER]["chains"]} == {B, C}


def test_a_chain_that_matches_less_for_one_host_counts_as_well():
    """An issuer that has expired on the way, or does not cover the other name: the same chain, other matches."""
    less = A._replace(matches=frozenset(one for one in A.matches if one.usage == 3))
    view = _plan.views([host(1, A), host(2, less)], T0)[OWNER]
    assert {Chain.from_dict(one) for one in view["chains"]} == {A, less}


def test_a_view_is_as_old_and_as_complete_as_the_worst_of_its_hosts():
    old = host(2, C)
    old["ledger"]["chains"]["looked_at"] = T0 - 99
    assert _plan.views([host(1), old], T0)[OWNER]["seen_at"] == T0 - 99
    unseen = host(2, C)
    unseen["ledger"]["chains"]["looked_at"] = None
    view = _plan.views([host(1), unseen], T0)[OWNER]
    assert view["chains_known"] is False and view["seen_at"] == 0
    silent = host(2, "silent")
    for hosts in ([host(1), silent], [silent, host(1)], [host(1), unseen], [unseen, host(1)]):
        assert _plan.views(hosts, T0)[OWNER]["chains_known"] is False
    new = host(1)
    chains = Chains.from_dict(new["ledger"]["chains"]).observe([outcome(T0, A), outcome(T0, "silent", 2)], TIMING)
    new["ledger"]["chains"] = chains.to_dict()
    assert chains.looked_at and _plan.views([new], T0)[OWNER]["chains_known"] is False


def test_a_view_has_what_every_server_gives():
    view = _plan.views([host(served=[BOTH, EMPTY])], T0, enabling=True)[OWNER]
    assert {Version.from_dict(one) for one in view["versions"]} == {BOTH, EMPTY} and view["enabling"] is True


# ------------------------------------------------------------------------------------------ memories, candidates, rest


def test_memories_are_the_cautious_union():
    late = host(2, served=[version(record("A"))])
    early = host(1, served=[BOTH])
    told = _plan.memories([early, late])
    assert {Version.from_dict(one) for one in told[OWNER]["versions"]} == {version(record("A")), BOTH}
    assert _plan.memory([], OWNER) == Name(OWNER)


def test_candidates_come_with_what_they_replace():
    told = _plan.candidates([host(1, candidate=B), host(2, C), host(3, candidate=D, active=False)])
    assert told == {OWNER: [{"host": "mx1", "chain": B.to_dict(), "replaced": [A.to_dict()]}]}


def test_owners_are_those_of_active_hosts():
    assert _plan.owners([host(1), host(2), host(3, owner=OTHER, active=False)]) == [OWNER]
    assert _plan.owners([]) == []


@pytest.mark.parametrize(("behind", "over"), [(0, True), (11, False), (-50, True)])
def test_linger_is_measured_by_the_clock_that_stamped_it(behind, over):
    """The controller's may be ahead by as much as preflight lets pass; one that is behind shortens nothing either."""
    now = T0 + 25
    given = host(serves=B, served=[version(record("A"), record("B"))], history=[(T0 - 20, A), (T0 - 5, B)], candidate=B,
                 operation=B, ours=[record("A"), record("B")])
    given["ledger"]["clock"] = {"wall": now - behind, "boot": "", "uptime": 1.0}
    assert _plan.linger_seconds([given], now) == (0 if over else 12)
    assert bool(_plan.withdraw([given], now)["records"]) is over
    assert (A.id in _plan.views([given], now)[OWNER]["gone_at"]) is not over
    assert _plan._only_candidates([given], now) is over
    given["ledger"]["chains"]["unknown_until"] = now - 5
    assert _plan.views([given], now)[OWNER]["chains_known"] is over


def test_linger_seconds():
    lingering = host(serves=B, history=[(T0 - 20, A), (T0 - 10, B)])
    assert _plan.linger_seconds([lingering], T0) == 21
    assert _plan.linger_seconds([lingering], T0 + 19.5) == 1
    assert _plan.linger_seconds([lingering], T0 + 20) == 0
    assert _plan.linger_seconds([host()], T0) == 0
    assert _plan.linger_seconds([{**lingering, "active": False}], T0) == 0
    longer = host(2, serves=B, history=[(T0 - 10, A)])
    assert _plan.linger_seconds([lingering, longer], T0) == 31


def test_foreign_records_are_named():
    served = version(record("A"), record("stranger"), record("ours"), record("x")._replace(usage=1))
    told = _plan.foreign([host(served=[served], ours=[record("ours")])])
    assert list(told) == [OWNER] and len(told[OWNER]) == 2
    assert str(record("stranger")) in told[OWNER] and any("PKIX" in text for text in told[OWNER])
    assert _plan.foreign([host()]) == {}
    other = host(2, B, [version(record("B"), record("A"))], owner=OTHER)
    assert _plan.foreign([host(), other]) == {OTHER: [str(record("A"))]}


# ---------------------------------------------------------------------------------------------------------- the options


def test_unknown_options_are_named_with_the_nearest_known_one():
    known = {"dane_names", "dane_services", "dane_wait"}
    found = _plan.unknown_options({"dane_nmaes", "dane_names", "danish", "dane_private_x", "dane_zzzzzz"}, known)
    assert found == ["unknown option dane_nmaes, did you mean dane_names?", "unknown option dane_zzzzzz"]


def test_what_a_run_said_is_no_unknown_option_to_the_next():
    """AWX makes variables of it for the later nodes of a workflow."""
    assert _plan.unknown_options({"dane_result", "dane_zzzzzz"}, {"dane_names"}) == ["unknown option dane_zzzzzz"]


def test_hosts_have_to_agree_on_what_one_of_them_says_for_all():
    first = {"dane_dns_server": "192.0.2.1", "dane_tsig": {"name": "a", "secret": "b"}, "dane_names": ["mx1.example.org"]}
    assert _plan.not_shared({**first, "dane_names": ["mx2.example.org"], "dane_linger": 900}, first) == []
    other = {"dane_dns_server": "192.0.2.2", "dane_wait": "defer", "dane_tsig": {"name": "a", "secret": "c"}}
    assert _plan.not_shared(other, first) == ["dane_dns_server", "dane_tsig", "dane_wait"]


@pytest.mark.parametrize(("given", "kept"), [
    (["3 1 1"], ["3 1 1"]), (["DANE-EE SPKI SHA2-256", "3 1 2"], ["3 1 1", "3 1 2"]),
    (["2 1 1"], ["2 1 1"]), (["3 1 1", "DANE-TA SPKI SHA2-256", "2 0 1"], ["3 1 1", "2 1 1", "2 0 1"]),
])
def test_combinations_that_can_be_kept(given, kept):
    assert _plan.combinations(given) == kept


@pytest.mark.parametrize(("given", "words"), [
    (["1 1 1"], "PKIX"), (["0 1 1"], "PKIX"), (["3 0 1"], "renewal.*use 3 1 1"), (["3 1 0"], "too large"), ([], "empty"),
    (["2 0 0"], "too large.*use 2 1 1"), (["2 1 0"], "too large"),
])
def test_combinations_that_cannot_be_kept(given, words):
    with pytest.raises(_plan.PlanError, match=words):
        _plan.combinations(given)


@pytest.mark.parametrize("given", [["3 1"], ["3 1 1 00"], ["3 1 9"], ["x y z"], [None], [311]])
def test_combinations_that_are_none(given):
    with pytest.raises(RecordError):
        _plan.combinations(given)


def test_owner_names():
    assert _plan.owner_names(["MX1.example.test.", "b.test"], [{"port": 25}, {"port": 465}]) == [
        OWNER, "_465._tcp.mx1.example.test.", "_25._tcp.b.test.", "_465._tcp.b.test."]
    with pytest.raises(RecordError):
        _plan.owner_names(["not a host"], [{"port": 25}])


def test_option_names():
    entries = {"main": {"options": {"b": {}, "a": {}}}, "other": {}, "more": {"options": None}}
    assert _plan.option_names({"argument_specs": entries}) == ["a", "b"]


def test_problems_are_named():
    looks = [look(T0, EMPTY), look(T0, EMPTY, security="insecure"), look(T0)]
    looks[1]["findings"] = ["no DS"]
    outcomes = [outcome(T0, A), outcome(T0, "no-tls", 2), outcome(T0, "no-tls", 2), outcome(T0, "silent", 3),
                outcome(T0, "no-chain-for-algorithm")]
    found = _plan.problems(looks, outcomes)
    assert len(found) == 4
    assert "insecure" in found[0] and "no DS" in found[0] and "no authoritative server" in found[1]
    assert endpoint(2)["address"] in found[2] and "no TLS" in found[2] and endpoint(3)["address"] in found[3]
    assert _plan.problems([look(T0, EMPTY)], [outcome(T0, A)]) == []


def test_options_that_cannot_be_used_are_all_named():
    service = {"port": 25, "starttls": "smtp"}
    assert _plan.impossible_options(["3 1 1"], ["mx1.example.test"], [service]) == []
    assert _plan.impossible_options(["2 1 1"], ["mx1.example.test"], [service], ["issuer.pem"]) == []
    records, names = _plan.impossible_options(["1 1 1"], ["no host"], [service])
    assert records.startswith("dane_records: Cannot keep '1 1 1'")
    assert names.startswith("dane_names, dane_services: Cannot") and "no host" in names
    (pool,) = _plan.impossible_options(["3 1 1"], ["mx1.example.test"], [service], ["issuer.pem"])
    assert pool.startswith("dane_issuer_pool: Cannot publish issuers ahead: dane_records has no combination on an issuer")


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
    assert _plan.soon(result, T0) is expected


# ---------------------------------------------------------------------------------- usages 0 and 1 at other services


def pinned(record_of, starttls, candidate=B):
    """A host whose service, on port 25 for the tests, has a record beside that of the key."""
    return host(candidate=candidate, served=[version(record("A"), record_of)], ours=[record("A")],
                services=[{"port": 143, "starttls": "imap"}, {"port": 25, "starttls": starttls}])


@pytest.mark.parametrize("starttls", ["imap", "none"])
def test_a_record_beside_pkix_stops_another_key_of_a_service_that_is_not_smtp(starttls):
    key = record("A")._replace(usage=1)
    with pytest.raises(_plan.PlanError, match=f"heed {key}, which the chain that mx1 serves matches and the next one"):
        _plan.publish([pinned(key, starttls)], T0)
    with pytest.raises(_plan.PlanError, match="heed 1 0 1 "):
        _plan.publish([pinned(record(("A", 1), "3 0 1")._replace(usage=1), starttls)], T0)
    with pytest.raises(_plan.PlanError, match="heed 0 1 1 "):
        _plan.publish([pinned(record("ca", "2 1 1")._replace(usage=0), starttls, chain("A", 2, issuer="ca2"))], T0)


@pytest.mark.parametrize(("kept", "starttls", "candidate"), [
    # SMTP does not know it.
    (record("A")._replace(usage=1), "smtp", B), (record("A")._replace(usage=1), "lmtp", B),
    # The same key, the same issuer.
    (record("A")._replace(usage=1), "imap", chain("A", 2)), (record("ca", "2 1 1")._replace(usage=0), "imap", B),
    # It matched nothing before.
    (record("C")._replace(usage=1), "imap", B),
])
def test_a_record_beside_pkix_stops_nothing_else(kept, starttls, candidate):
    _plan.publish([pinned(kept, starttls, candidate)], T0)


# --------------------------------------------------------------------------------------- where endpoints are looked at


@pytest.mark.parametrize(("endpoints", "said"), [
    ({"mx2.example.test": ["192.0.2.1"]}, "endpoints of 'mx2.example.test': dane_names has mx1.example.test"),
    ({"mx1.example.test": []}, "endpoints of 'mx1.example.test': expected a list of addresses, found \\[\\]"),
    ({"mx1.example.test": "192.0.2.1"}, "expected a list of addresses, found '192.0.2.1'"),
    ({"mx1.example.test": ["192.0.2.1", "mx1"]}, "'mx1' does not appear to be an IPv4 or IPv6 address"),
    (["192.0.2.1"], "expected base domains, each with a list of addresses"),
])
def test_endpoints_that_cannot_be_looked_at(endpoints, said):
    service = {"port": 25, "starttls": "smtp"}
    (told,) = _plan.impossible_options(["3 1 1"], ["mx1.example.test"], [service], [], endpoints)
    assert re.match(f"dane_endpoints: Cannot look at (the )?.*{said}", told)


def test_endpoints_are_looked_at_where_the_operator_says():
    found = [{"name": "mx1.example.test", "addresses": ["198.51.100.1"], "ttl": 60, "problem": ""},
             {"name": "mx.example.test", "addresses": [], "ttl": 0, "problem": "no such name"}]
    given = {"MX1.example.test.": ["192.0.2.1", "2001:db8::1"]}
    assert _plan.impossible_options(["3 1 1"], ["mx1.example.test"], [{"port": 25}], [], given) == []
    assert _plan.looked_at(found, given) == [{**found[0], "addresses": ["192.0.2.1", "2001:db8::1"]}, found[1]]
    assert _plan.looked_at(found, {"mx.example.test": ["192.0.2.2"]})[1] == {
        "name": "mx.example.test", "addresses": ["192.0.2.2"], "ttl": 0, "problem": ""}
    assert _plan.looked_at(found, {}) == found
