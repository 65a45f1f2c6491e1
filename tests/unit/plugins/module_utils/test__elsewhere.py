# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records that pin the served key at names which nobody changes with it."""

from __future__ import annotations

import pytest
from ansible_collections.mailops.dane.plugins.module_utils._elsewhere import (
    impossible_names, owners_elsewhere, pinned_elsewhere)
from rollover_values import OWNER, T0, chain, digest, look, outcome, record, version

A, B = chain("A"), chain("B")
OTHER = "_25._tcp.mail.example.net."
IGNORED = {"name": "mail.example.net", "until": "2023-12-31", "reason": "no mail goes there"}


def host(**other):
    return {"host": "mx1", "names": ["mx1.example.test"], "owners": [OWNER], "services": [{"port": 25}], "other_names": [],
            "ignore_names": [], "file_spki": A.spki, "operation": None, **other}


def presented(which, *names):
    found = outcome(T0, which)
    return {**found, "chain": {**found["chain"], "names": list(names)}}


OUTCOMES = [presented(A, "mx1.example.test", "Mail.Example.NET", "*.example.test")]
OURS = [look(T0, version(record("A")))]


def there_is(*records, path=(OTHER,)):
    return version(*records, path=path)


def elsewhere(*outcomes, **options):
    return look(T0, *outcomes, **{"owner": OTHER, **options})


def pinned(*looks, now=T0, outcomes=None, **other):
    return pinned_elsewhere(host(**other), outcomes or OUTCOMES, OURS, list(looks), now)


def test_the_names_of_the_served_certificate_that_are_not_the_hosts_own():
    assert owners_elsewhere(host(), OUTCOMES) == [OTHER]
    assert owners_elsewhere(host(names=["mx1.example.test", "mail.example.net."]), OUTCOMES) == []


def test_each_service_has_an_owner_name_and_the_operator_knows_more_names():
    two = host(services=[{"port": 25}, {"port": 465}], other_names=["Alias.example.org."])
    assert owners_elsewhere(two, OUTCOMES) == sorted([
        OTHER, "_465._tcp.mail.example.net.", "_25._tcp.alias.example.org.", "_465._tcp.alias.example.org."])


def test_what_another_host_presents_at_a_shared_name_is_its_own_business():
    both = [*OUTCOMES, presented(B, "mx2.example.test")]
    assert owners_elsewhere(host(), both) == [OTHER]
    assert owners_elsewhere(host(file_spki=""), both) == [OTHER, "_25._tcp.mx2.example.test."]


def test_a_name_that_can_have_no_record_is_passed_over():
    assert owners_elsewhere(host(), [presented(A, "under_score..test", "192.0.2.1")]) == []


@pytest.mark.parametrize("combination", ["3 1 1", "3 1 2", "3 1 0"])
def test_a_record_of_the_served_key(combination):
    (said,) = pinned(elsewhere(there_is(record("A", combination))))
    assert OTHER in said and str(record("A", combination))[:38] in said
    assert "Add mail.example.net to dane_names" in said and "dane_ignore_names" in said


def test_a_record_of_the_served_certificate():
    (said,) = pinned(elsewhere(there_is(record(("A", 1), "3 0 1"))))
    assert str(record(("A", 1), "3 0 1"))[:38] in said


def test_a_pkix_record_of_the_served_key():
    (said,) = pinned(elsewhere(there_is(record("A")._replace(usage=1))))
    assert " has 1 1 1 " in said


@pytest.mark.parametrize("there", [record("B"), record("ca", "2 1 1")], ids=["another-key", "the-issuer"])
def test_what_a_rekey_leaves_as_it_is(there):
    assert pinned(elsewhere(there_is(there))) == []


def test_no_record_is_no_pin():
    assert pinned(elsewhere(there_is())) == []


def test_every_server_counts():
    assert len(pinned(elsewhere(there_is(), there_is(record("A"))))) == 1


def test_an_alias_of_a_name_of_ours_changes_with_it():
    assert pinned(elsewhere(there_is(record("A"), path=(OTHER, OWNER)))) == []
    assert len(pinned(elsewhere(there_is(record("A"), path=(OTHER, "_dane.example.net."))))) == 1


def test_an_alias_of_the_same_name_as_ours():
    end = "_dane.example.net."
    looks = [look(T0, version(record("A"), path=(OWNER, end)))]
    there = elsewhere(there_is(record("A"), path=(OTHER, end)))
    assert pinned_elsewhere(host(), OUTCOMES, looks, [there], T0) == []


def test_no_sender_heeds_a_record_in_an_unsigned_zone():
    assert pinned(elsewhere(there_is(record("A")), security="insecure")) == []


@pytest.mark.parametrize("there", [
    elsewhere("silent"), {**elsewhere(there_is(), security="bogus"), "findings": ["signature expired"]},
    elsewhere(security="unreachable"),
])
def test_what_cannot_be_seen_may_be_a_pin(there):
    (said,) = pinned(there)
    assert f"nobody can say whether a record at {OTHER} pins" in said and there["security"] in said
    assert all(text in said for text in there["findings"])


def test_a_record_of_the_key_that_an_open_rekey_has_brought_in():
    there = elsewhere(there_is(record("A")))
    assert pinned(there, operation={"target_spki": A.spki}) == []
    assert len(pinned(there, operation={"target_spki": digest("next")})) == 1
    assert len(pinned(there, operation={"target_spki": ""})) == 1


def test_a_name_that_does_not_matter_until_a_day():
    there = elsewhere(there_is(record("A")))
    assert pinned(there, ignore_names=[{**IGNORED, "name": "Mail.example.net."}]) == []
    (said,) = pinned(there, ignore_names=[IGNORED], now=1704067200.0)
    assert "has run out: no mail goes there" in said
    assert len(pinned(there, ignore_names=[{**IGNORED, "name": "other.example.net"}])) == 1


def test_options_that_cannot_be_used():
    assert impossible_names([], []) == []
    assert impossible_names(["alias.example.org"], [IGNORED]) == []
    (said,) = impossible_names(["no host"], [])
    assert said.startswith("dane_other_names: ") and "no host" in said


@pytest.mark.parametrize(("wrong", "says"), [
    ("mail.example.net", "expected a list"), (["mail.example.net"], "name, until, reason is missing"),
    ([{**IGNORED, "reason": " "}], "reason is missing"), ([{**IGNORED, "until": "soon"}], "not a day"),
    ([{**IGNORED, "what": "name"}], "expected name, until"),
])
def test_an_entry_that_cannot_be_used(wrong, says):
    (said,) = impossible_names([], wrong)
    assert said.startswith("dane_ignore_names: Cannot use ") and says in said
