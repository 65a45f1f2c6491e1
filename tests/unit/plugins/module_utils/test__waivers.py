# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waivers: what an operator may take out of the wait, for how long, and what stays in it all the same."""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils._errors import WaiverError
from ansible_collections.mailops.dane.plugins.module_utils._memory import Chains, Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Answer
from ansible_collections.mailops.dane.plugins.module_utils._waivers import (
    at_your_word,
    parse_override,
    parse_waivers,
    waive_endpoints,
    waive_servers,
)
from rollover_values import OWNER, T0, TIMING, look, record, version, seen

V_A = version(record("A"))
V_AB = version(record("A"), record("B"))

# T0 is 2023-11-14 22:13:20 UTC.
SERVER = "192.0.2.2"


def waiver(until="2023-11-14", **changed):
    return parse_waivers([{"what": "server", "name": SERVER, "until": until, "reason": "dead for years", **changed}])


def with_waiver(one, until="2023-11-14", now=T0):
    return waive_servers(one, waiver(until), now)


def test_a_waived_server_does_not_hold_up_the_wait():
    name = Name(OWNER).observe(look(T0, V_A, V_A), TIMING)
    late = look(T0 + 5, V_AB, "silent")
    assert [one.gone_since for one in name.observe(late, TIMING).versions if one.version == V_A] == [None]
    name = name.observe(with_waiver(late), TIMING)
    assert [one.gone_since for one in name.versions if one.version == V_A] == [T0 + 5]


def test_a_waived_server_that_answers_counts():
    one = look(T0, V_AB, V_A)
    assert with_waiver(one) == one


def test_a_waiver_ends_with_its_day():
    silent = look(T0, V_AB, "silent")
    assert with_waiver(silent, until="2023-11-14")["servers"][1]["outcome"] == "waived"
    over = with_waiver(silent, until="2023-11-13")["servers"][1]
    assert over["outcome"] == "silent"
    assert "has run out" in over["detail"] and "dead for years" in over["detail"]


def test_a_waiver_for_another_server_changes_nothing():
    silent = look(T0, V_AB, "silent")
    assert waive_servers(silent, waiver(name="192.0.2.77"), T0)["servers"][1:] == silent["servers"]
    assert waive_servers(silent, waiver(what="endpoint"), T0) == silent


def test_a_server_to_which_nothing_leads_any_more_can_be_waived():
    name = seen(look(T0, V_AB, "silent"), look(T0 + 5, V_AB))
    assert name.unanswered == ("192.0.2.2",)
    assert name.observe(waive_servers(look(T0 + 5.1, V_AB), waiver(), T0), TIMING).unanswered == ()
    assert name.observe(waive_servers(look(T0 + 5.1, V_AB), waiver(), T0 + 10 * 86400), TIMING).unanswered


def test_when_all_servers_are_waived_nothing_is_gone():
    name = Name(OWNER).observe(look(T0, V_A), TIMING)
    one = look(T0 + 5, "silent")
    gone = waive_servers(one, waiver(name=one["servers"][0]["address"]), T0)
    assert [seen.gone_since for seen in name.observe(gone, TIMING).versions] == [None]


def test_a_waived_endpoint_is_answered():
    endpoint = {"name": "mx1.example.test", "address": "192.0.2.25", "port": 25, "algorithm": "ecdsa", "sni": ""}
    silent = [{"endpoint": endpoint, "outcome": "silent", "chain": None, "detail": "timeout", "at": T0}]
    waived = waive_endpoints(silent, waiver(what="endpoint", name="192.0.2.25"), T0)
    assert waived[0]["outcome"] == "waived" and "dead for years" in waived[0]["detail"]
    assert Chains().observe(silent, TIMING).unanswered and not Chains().observe(waived, TIMING).unanswered


@pytest.mark.parametrize("changed, words", [
    ({"until": "soon"}, "not a day"),
    ({"until": ""}, "until is missing"),
    ({"reason": " "}, "reason is missing"),
    ({"what": "zone"}, "expected what"),
])
def test_a_waiver_that_is_none_is_an_error(changed, words):
    with pytest.raises(WaiverError, match=words):
        waiver(**changed)


# -------------------------------------------------------------------------------------------------------- the override

WORD = {"names": ["MX1.example.test."], "until": "2023-11-14", "reason": "the key is lost"}


def no(*names, code="version-unmatched"):
    return Answer("no", tuple({"code": code, "owner": f"_25._tcp.{name}.", "text": name, "until": T0 + 9} for name in names),
                  T0 + 9)


def test_a_no_becomes_a_yes_that_says_at_whose_word():
    answer = at_your_word(no("mx1.example.test"), parse_override(WORD), T0)
    assert answer.yes and answer.verdict == "at your word" and answer.safe_at is None
    assert [reason["code"] for reason in answer.reasons] == ["version-unmatched", "override"]
    assert "the override until 2023-11-14 (the key is lost)" in answer.to_dict()["text"]


@pytest.mark.parametrize("answer", [
    no("mx1.example.test", "mx2.example.test"), no("mx2.example.test"), no("mx1.example.test", code="empty")])
def test_a_no_stays_where_the_override_does_not_reach(answer):
    assert at_your_word(answer, parse_override(WORD), T0) == answer
    assert at_your_word(answer, None, T0) == answer


def test_a_yes_needs_no_word():
    for verdict in ("yes", "no worse"):
        assert at_your_word(Answer(verdict), parse_override(WORD), T0) == Answer(verdict)


def test_an_override_ends_with_its_day():
    # An hour and 46 minutes are left of it.
    assert at_your_word(no("mx1.example.test"), parse_override(WORD), T0 + 6399).yes
    over = at_your_word(no("mx1.example.test"), parse_override(WORD), T0 + 6400)
    assert not over.yes and over.safe_at == T0 + 9 and "has run out" in over.to_dict()["text"]


@pytest.mark.parametrize("bad", [
    {**WORD, "names": []}, {**WORD, "names": "mx1.example.test"}, {**WORD, "names": [1]}, {**WORD, "names": [" . "]},
    {**WORD, "until": "tomorrow"}, {**WORD, "until": None}, {**WORD, "reason": " "}, {"names": ["x"]}, "yes", [WORD], 1])
def test_an_override_that_lacks_something_is_refused(bad):
    with pytest.raises(WaiverError, match="Cannot use the override"):
        parse_override(bad)


@pytest.mark.parametrize("nothing", [None, {}, ""])
def test_no_override(nothing):
    assert parse_override(nothing) is None
