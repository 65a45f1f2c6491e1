# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict, on made-up worlds: each test breaks one thing and wants it seen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from judge import match, sightings, verdict
from worlds import LENGTH, SENDERS, START, TTL, World, certificate, delivery_lines, owner, record, stamp


def mentions(texts, *words):
    return any(all(word in text for word in words) for text in texts)


# --- the good ones --------------------------------------------------------------------------------------------------


def test_nothing_happens():
    result = World().judge()
    assert (result["outcome"], result["failed"], result["exposure"]) == ("PASS", 0, 0)
    assert result["deliveries"] == result["verified"] == 2 * 2 * 60


def test_a_rekey_as_it_should_be():
    result = World().rekey("mx1").rekey("mx2", 12, 37, 47).judge(check_end=True)
    assert result["outcome"] == "PASS", result
    assert [s["host"] for s in result["switches"]] == ["mx1", "mx2"]
    assert [p["owner"] for p in result["publications"]] == [owner("mx1"), owner("mx2")]
    assert verdict.render(result) == "demo: PASS hosts=2 deliveries=240 verified=240 failed=0 exposure=0"


def test_deploying_just_after_the_caches_have_let_go_is_not_exposure():
    assert World().rekey(publish=10, deploy=10 + TTL + 1.5).judge()["exposure"] == 0


# --- exposure -------------------------------------------------------------------------------------------------------


def test_lucky_senders_do_not_hide_exposure():
    result = World().rekey(publish=10, deploy=15).judge()
    assert result["failed"] == 0
    assert result["exposure"] == pytest.approx(TTL - 5, abs=0.6)
    assert result["outcome"] == "FAIL"


def test_a_lagging_server_counts_though_the_other_is_fast():
    world = World().rekey(publish=10, deploy=22)
    world.records["mx1", "ns1"] = lambda t: sorted([record("mx1 old")] + [record("mx1 new")] * (t >= 20))
    world.records["mx1", "ns0"] = lambda t: sorted([record("mx1 old")] + [record("mx1 new")] * (t >= 10))
    assert world.judge()["exposure"] == pytest.approx(8, abs=0.6)


def test_withdrawn_before_the_old_key_is_gone():
    world = World().rekey(publish=10, deploy=35, withdraw=30)
    assert world.judge()["exposure"] == pytest.approx(5, abs=1.1)


def test_every_combination_must_match_not_just_one():
    world = World().rekey()
    both = [record("mx1 old"), record("mx1 old", "3 0 1")]
    for server in ("ns0", "ns1"):
        # the new key's 3 1 1 is out, its 3 0 1 is not: a sender that looks at 3 0 1 alone fails
        world.records["mx1", server] = lambda t: sorted(both + [record("mx1 new")])
    result = world.judge()
    assert result["exposure"] == pytest.approx(LENGTH - 35, abs=0.6)
    assert {tuple(m["unmatched"]) for m in result["mismatches"]} == {("3 0 1",)}


def test_empty_for_a_moment_counts_with_its_negative_ttl():
    world = World()
    served = world.records["mx1", "ns0"]
    world.records["mx1", "ns0"] = lambda t: [] if 20 <= t < 20.5 else served(t)
    world.ttls["mx1", "ns0"] = lambda t: 7
    result = world.judge()
    assert result["exposure"] == pytest.approx(1 + 7, abs=0.1)
    assert mentions(result["reasons"], "mx1", "nothing")


def test_records_seen_once_and_gone_again_is_an_outage():
    world = World()
    for server in ("ns0", "ns1"):
        world.records["mx1", server] = lambda t: [record("mx1 old")] if t == 20 else []
    world.fetches = []
    assert world.judge()["exposure"] > 30


def test_empty_before_it_was_enabled_is_no_exposure():
    world = World()
    for server in ("ns0", "ns1"):
        world.records["mx1", server] = lambda t: [record("mx1 old")] if t >= 20 else []
    assert world.judge()["exposure"] == 0


def test_a_server_that_gives_nothing_while_the_name_is_in_use():
    world = World()
    world.records["mx1", "ns1"] = lambda t: []
    assert world.judge()["exposure"] == pytest.approx(LENGTH)


def test_each_versions_own_ttl_counts():
    world = World().rekey(publish=10, deploy=35)
    world.ttls["mx1", "ns0"] = lambda t: 30 if t < 10 else TTL  # lowered together with the publication
    assert world.judge()["exposure"] == pytest.approx(40 - 35, abs=0.6)


def test_a_silent_server_keeps_what_it_had():
    world = World().rekey(publish=10, deploy=35)
    served = world.records["mx1", "ns1"]
    world.records["mx1", "ns1"] = lambda t: None if 5 <= t < 30 else served(t)
    assert world.judge()["exposure"] == pytest.approx(30 + TTL - 35, abs=0.6)


def test_an_old_process_that_still_presents_the_old_key():
    world = World().rekey(publish=10, deploy=35, withdraw=36)
    world.chains["mx1"] = lambda t: [certificate("mx1 old" if t < 35 or t == 50 else "mx1 new")]
    assert world.judge()["exposure"] == pytest.approx(1, abs=0.1)  # between the looks about 50


def test_a_host_that_offers_no_tls_matches_nothing():
    world = World()
    world.chains["mx1"] = lambda t: [] if 20 <= t < 22 else [certificate("mx1 old")]
    assert world.judge()["exposure"] == pytest.approx(2.5, abs=0.1)


def test_overlapping_exposures_count_once():
    assert verdict.total([(0, 10), (20, 21), (2, 3), (5, 12)]) == 13


@pytest.mark.parametrize("value, text", [(0, "0"), (0.01, "0.1"), (3.2, "3.2"), (3.21, "3.3")])
def test_exposure_is_never_rounded_down(value, text):
    assert verdict.seconds(value) == text


# --- matching -------------------------------------------------------------------------------------------------------


CHAIN = [certificate("leaf", "ca"), certificate("ca", ca=True)]
NAME = "mx1.example.test"


@pytest.mark.parametrize(
    "records, chain, missing",
    [
        ([record("leaf")], CHAIN, []),
        ([record("ca", "2 1 1")], CHAIN, []),
        ([record("ca", "2 0 1")], CHAIN, []),
        ([record("ca", "2 1 2"), record("ca", "2 0 0")], CHAIN, []),
        ([record("ca", "2 1 1")], CHAIN[:1], ["2 1 1"]),  # the anchor is not in the chain
        ([record("mx1 old", "2 1 1")], [certificate("mx1 old")], ["2 1 1"]),  # usage 2 never matches the leaf
        ([record("ca", "3 1 1")], CHAIN, ["3 1 1"]),  # usage 3 only matches the leaf
        ([record("leaf"), record("nobody")], CHAIN, []),
        ([record("leaf"), record("nobody", "2 1 1")], CHAIN, ["2 1 1"]),
        ([record("leaf"), record("nobody", "1 1 1")], CHAIN, []),  # unusable for SMTP: ignored
        ([record("nobody", "1 1 1")], CHAIN, ["no usable record"]),
        ([record("leaf"), "3 1 1 abcd"], CHAIN, []),  # wrong length
        ([record("leaf")], [], ["3 1 1"]),
    ],
)
def test_unmatched(records, chain, missing):
    assert match.unmatched(records, chain, NAME, START) == missing


@pytest.mark.parametrize(
    "chain, name",
    [
        ([certificate("leaf", "ca", host="other"), certificate("ca", ca=True)], NAME),
        ([certificate("leaf", "ca", not_after=START - 1), certificate("ca", ca=True)], NAME),
        ([certificate("leaf", "stranger"), certificate("ca", ca=True)], NAME),
        ([certificate("leaf", "plain"), certificate("plain")], NAME),
    ],
)
def test_an_anchor_needs_name_date_signatures_and_a_ca(chain, name):
    anchor = f"2 1 1 {match.spki_sha256(chain[1])}"
    assert match.unmatched([anchor], chain, name, START) == ["2 1 1"]
    assert match.unmatched([f"3 1 1 {match.spki_sha256(chain[0])}"], chain, name, START) == []


# --- failed deliveries ----------------------------------------------------------------------------------------------


def test_a_failed_delivery_fails():
    world = World()
    world.deliver = lambda sender, host, t: "Untrusted" if (sender, host, t) == ("s2", "mx1", 30) else "Verified"
    result = world.judge()
    assert (result["outcome"], result["failed"], result["verified"]) == ("FAIL", 1, 239)
    assert mentions(result["reasons"], "s2 to mx1", "Server certificate not trusted")


def test_a_stumble_at_one_address_fails_though_the_message_got_through():
    world = World()
    bad, good = delivery_lines("mx1", START + 30, "Untrusted"), delivery_lines("mx1", START + 30.1)
    world.lines["s1"] = [bad[0], bad[0].partition("]: ")[0] + "]: 4RXF5d0Pc2z1: Server certificate not trusted", *good]
    result = world.judge()
    assert (result["outcome"], result["failed"]) == ("FAIL", 1)


def test_failures_outside_the_window_do_not_count():
    world = World()
    world.lines["s1"] = delivery_lines("mx1", START - 3, "Untrusted") + delivery_lines("mx1", START + 61, "Untrusted")
    assert world.judge()["failed"] == 0


def test_a_message_that_was_never_tried_fails():
    world = World()
    world.lines["s1"] = [f"{stamp(START + 5)} s1 postfix/qmgr[9]: 4ABC: from=<p@s1>, size=3, nrcpt=1 (queue active)"]
    assert mentions(world.judge()["reasons"], "4ABC", "no outcome")


# --- void -----------------------------------------------------------------------------------------------------------


def test_a_gap_in_the_witness_makes_it_void():
    world = World().rekey()
    world.asleep = lambda t: 20 < t < 22.5
    result = world.judge()
    assert result["outcome"] == "VOID"
    assert mentions(result["void"], "did not look at", "2.")
    assert verdict.render(result).startswith("demo: FAIL ")


def test_a_short_pause_of_the_witness_does_not():
    world = World().rekey()
    world.asleep = lambda t: 20 < t < 22
    assert world.judge()["outcome"] == "PASS"


@pytest.mark.parametrize("asleep", [lambda t: t < 3, lambda t: t > 57])
def test_a_witness_that_misses_the_edges(asleep):
    world = World()
    world.asleep = asleep
    assert world.judge()["outcome"] == "VOID"


def test_one_target_without_any_answer():
    world = World()
    world.records["mx2", "ns1"] = lambda t: None
    result = world.judge()
    assert mentions(result["void"], "never got an answer", "ns1", "mx2")
    assert mentions(result["unseen"], "never got an answer", "ns1", "mx2") and len(result["unseen"]) == 1
    assert World().judge()["unseen"] == []


def test_a_witness_that_watched_nothing():
    nothing = SimpleNamespace(sightings=SimpleNamespace(rrsets={}, chains={}), start=0.0, end=60.0)
    assert verdict.gaps(nothing) == verdict.unseen(nothing) == ["the witness watched no name server or no mail host"]


def test_a_blind_witness():
    world = World()
    for served in (world.records, world.chains):
        for target, shown in list(served.items()):
            served[target] = lambda t, shown=shown: None if 20 <= t < 25 else shown(t)
    assert mentions(world.judge()["void"], "no target answered")


@pytest.mark.parametrize("quiet, when", [((29, 35), "before"), ((35, 41), "after")])
def test_no_delivery_near_a_switch(quiet, when):
    world = World().rekey(deploy=35)
    world.deliver = lambda sender, host, t: (
        None if (sender, host) == ("s2", "mx2") and quiet[0] <= t < quiet[1] else "Verified"
    )
    result = world.judge()
    assert result["outcome"] == "VOID"
    assert mentions(result["void"], "s2", "mx2", when, "switch of mx1")


def test_a_sender_that_never_delivered():
    world = World()
    world.deliver = lambda sender, host, t: None if sender == "s2" else "Verified"
    assert mentions(world.judge()["void"], "s2 delivered nothing to mx1 at all")


def test_nobody_held_the_old_rrset():
    world = World().rekey()
    world.fetches = [f for f in world.fetches if f.owner != owner("mx1")]
    assert mentions(world.judge()["void"], "held the old RRset", owner("mx1"))


@pytest.mark.parametrize("at, held", [(-0.9, False), (1, True), (8, True), (9.8, False), (11, False)])
def test_a_fetch_proves_a_cache_for_one_ttl(at, held):
    world = World().rekey(publish=10.25)
    evidence = world.evidence()
    evidence.fetches = [f._replace(at=START + at) for f in world.fetches if f.owner == owner("mx1")][:1]
    (publication,) = verdict.publications(evidence)
    assert bool(verdict.holders(evidence, publication)) is held


def test_without_unbounds_log_it_is_inferred_from_deliveries():
    world = World().rekey()
    world.fetches = []
    result = world.judge()
    assert result["outcome"] == "PASS"
    assert all("inferred" in how for how in result["publications"][0]["caches"].values())
    world.deliver = lambda sender, host, t: None if 6 <= t < 12 else "Verified"
    assert world.judge()["outcome"] == "VOID"


def test_failure_outranks_void():
    world = World().rekey(deploy=12)
    world.asleep = lambda t: 50 < t < 55
    assert world.judge()["outcome"] == "FAIL"


# --- switches -------------------------------------------------------------------------------------------------------


def test_flapping_during_a_reload_is_one_switch():
    world = World().rekey(deploy=35)
    world.chains["mx1"] = lambda t: [certificate("mx1 old" if t < 35 or t in (36, 37.5) else "mx1 new")]
    (switch,) = world.judge()["switches"]
    assert switch["start"] == pytest.approx(34.5, abs=0.1) and switch["end"] == pytest.approx(38, abs=0.1)
    assert switch["old"] != switch["new"]


# --- the end state --------------------------------------------------------------------------------------------------


def end(world, **options):
    return verdict.end_state(world.evidence(), **options)


def done():
    return World().rekey("mx1").rekey("mx2")


def test_the_end_as_it_should_be():
    assert end(done()) == []


def test_a_host_that_kept_its_key():
    assert mentions(end(World().rekey("mx1")), "mx2", "the key it presented at the start")
    assert end(World(), new_keys=False) == []


def test_an_old_record_left_behind():
    world = done()
    world.records["mx2", "ns1"] = lambda t: sorted([record("mx2 old"), record("mx2 new")])
    assert mentions(end(world), owner("mx2"), "ns1", "old key")
    assert mentions(end(world), owner("mx2"), "ns1", "2 records")
    assert mentions(end(world), "the servers differ")


def test_a_standby_is_allowed_where_announced():
    world = done()
    for server in ("ns0", "ns1"):
        for host in ("mx1", "mx2"):
            served = world.records[host, server]
            world.records[host, server] = lambda t, s=served, h=host: sorted(s(t) + [record(f"{h} standby")] * (t > 50))
    assert end(world, extra=1) == []
    assert mentions(end(world), "2 records")


def test_wanted_records_can_be_given():
    wanted = {owner(h): [record(f"{h} new")] for h in ("mx1", "mx2")}
    assert end(done(), wanted=wanted) == []
    assert mentions(end(done(), wanted={**wanted, owner("mx1"): [record("nobody")]}), owner("mx1"), "instead of")


def test_a_server_that_is_silent_at_the_end():
    world = done()
    served = world.records["mx1", "ns1"]
    world.records["mx1", "ns1"] = lambda t: served(t) if t < 50 else None
    assert mentions(end(world), "ns1", "not known at the end")


def test_the_last_line_names_the_reasons():
    result = World().rekey(deploy=12).judge(check_end=True)
    line = verdict.render(result)
    assert line.startswith("demo: FAIL hosts=2 deliveries=240 verified=240 failed=0 exposure=")
    assert "mx1 was exposed" in line and "mx2" in line and "\n" not in line


# --- reading the witness --------------------------------------------------------------------------------------------


def test_runs_are_read_against_the_rollover():
    looks = [sightings.Look(t, t + 0.1, v) for t, v in [(0, "a"), (1, "a"), (2, None), (3, "b"), (4, "b")]]
    first, second = sightings.runs(looks)
    assert (first.start, first.first, first.last, first.end) == (0, 0.1, 1.1, 3.1)
    assert (second.start, second.first, second.last) == (1, 3.1, 4.1)


def test_a_line_cut_short_is_left_out(tmp_path):
    log = tmp_path / "witness.jsonl"
    log.write_text('{"kind":"plan","owners":{"o.":"h"},"sources":[["o.","n","1"]],"endpoints":[]}\n{"kind":"rrs')
    assert sightings.read(log).hosts == ["h"]


def test_worlds_have_all_senders():
    assert World().judge()["senders"] == list(SENDERS)


def test_the_explanation_names_switches_caches_and_flaws():
    text = "\n".join(verdict.explain(World().rekey(deploy=12).judge()))
    assert "mx1 switched" in text and "Unbound's log" in text and "wrong: mx1 was exposed" in text
