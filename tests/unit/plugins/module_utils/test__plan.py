# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a batch of hosts wants of the DNS."""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _plan
from ansible_collections.mailops.dane.plugins.module_utils._errors import PlanError
from ansible_collections.mailops.dane.plugins.module_utils._memory import Chains, Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Chain, Version, fine
from plan_values import BOTH, EMPTY, ONLY_A, OTHER, A, B, C, D, elsewhere, host, rdata, texts
from rollover_values import OWNER, T0, TIMING, chain, endpoint, look, outcome, record, version


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
    with pytest.raises(PlanError, match=f"{OWNER}.*mx1.*3 1 0.*Remove those first"):
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
    with pytest.raises(PlanError, match=f"Cannot keep only 2 1 1 at {OWNER}: the certificates of mx1 came from 5 issuers "
                                        "in the last 180 days, and 5 of them are not in dane_issuer_pool"):
        alternating(5)


def test_so_many_issuers_are_no_matter_beside_the_key_on_the_root_or_when_all_are_known():
    assert alternating(5, ("3 1 1", "2 1 1")) and alternating(5, anchor="root")
    pool = [str(record(f"ca {one}", "2 1 1")) for one in range(5)]
    assert alternating(5, issuer_pool=pool)
    with pytest.raises(PlanError, match="and 1 of them are not in dane_issuer_pool"):
        alternating(5, issuer_pool=pool[1:])


def test_what_is_missing_in_the_chain_is_named():
    bare = {**ready(A, "ca"), "issuer_records": []}
    with pytest.raises(PlanError, match="has no root that senders .*set dane_anchor to root"):
        _plan.publish([on_issuers(candidate=bare, anchor="root")], T0)


def test_an_issuer_that_the_chain_does_not_hold_is_said_before_anything_is_published():
    """RFC 7672 section 3.1.2: the anchor has to be in the chain that is presented."""
    bare = chain("A", 2)._replace(matches=frozenset(one for one in A.matches if one.usage == 3))
    for candidate in (bare.to_dict(), {**ready(bare, "ca"), "issuer_records": []}):
        with pytest.raises(PlanError, match=f"Cannot publish 2 1 1 at {OWNER}: the chain that mx1 .*no issuer"):
            _plan.publish([on_issuers(candidate=candidate)], T0)
    assert _plan.publish([host(candidate=bare)], T0)["records"] == []


def test_issuers_alone_are_refused_when_a_certificate_may_expire_before_the_record_of_its_issuer_is_everywhere():
    """lifetime(10) is 21 s: a third of 63 s."""
    def publish(seconds, combinations=("2 1 1",), ttl=10):
        told = ready(A, "ca", seconds / DAY)
        return _plan.publish([on_issuers(combinations, candidate=told, served=[version(CA, ttl=ttl)])], T0)

    with pytest.raises(PlanError, match="Cannot keep only 2 1 1 at .*Add 3 1 1"):
        publish(63)
    publish(64)
    publish(63, ["2 1 1", "3 1 1"])
    with pytest.raises(PlanError, match="Cannot keep only"):
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


# ---------------------------------------------------------------------------------- usages 0 and 1 at other services


def pinned(record_of, starttls, candidate=B):
    """A host whose service, on port 25 for the tests, has a record beside that of the key."""
    return host(candidate=candidate, served=[version(record("A"), record_of)], ours=[record("A")],
                services=[{"port": 143, "starttls": "imap"}, {"port": 25, "starttls": starttls}])


@pytest.mark.parametrize("starttls", ["imap", "none"])
def test_a_record_beside_pkix_stops_another_key_of_a_service_that_is_not_smtp(starttls):
    key = record("A")._replace(usage=1)
    with pytest.raises(PlanError, match=f"heed {key}, which the chain that mx1 serves matches and the next one"):
        _plan.publish([pinned(key, starttls)], T0)
    with pytest.raises(PlanError, match="heed 1 0 1 "):
        _plan.publish([pinned(record(("A", 1), "3 0 1")._replace(usage=1), starttls)], T0)
    with pytest.raises(PlanError, match="heed 0 1 1 "):
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
