# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One look with its answer, and the words for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _dns, _wait
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError, DnsError, LedgerError
from ansible_collections.mailops.dane.plugins.module_utils._waivers import Override
from rollover_values import OWNER, T0, TIMING, chain, look, record, seen, version

A, B = chain("A"), chain("B")
V_A, V_AB, EMPTY = version(record("A")), version(record("A"), record("B")), version(ttl=60)


@pytest.fixture(name="world")
def fixture_world(monkeypatch):
    """What the DNS shows: owner name to look, base domain to addresses."""
    world = SimpleNamespace(looks={}, addresses={"mx1.example.test": ["192.0.2.25"]})

    def addresses_of(bases, _settings):
        return {base: SimpleNamespace(addresses=world.addresses[base], ttl=60) if base in world.addresses
                else DnsError("Cannot find") for base in bases}
    monkeypatch.setattr(_dns, "look", lambda names, _settings, _leaving: {
        name: SimpleNamespace(to_dict=lambda name=name: world.looks[name]) for name in names})
    monkeypatch.setattr(_dns, "addresses_of", addresses_of, raising=False)
    monkeypatch.setattr(_dns, "addresses", lambda base, settings: _one(addresses_of([base], settings)[base]),
                        raising=False)
    return world


def _one(found):
    if isinstance(found, DnsError):
        raise found
    return found


def one_look(names=(OWNER,), memories=None, candidates=None, now=T0, **more):
    return _wait.one_look(list(names), memories or {}, candidates or {}, TIMING, None, lambda: now, **more)


def candidate(new=B, replaced=(A,)):
    return {OWNER: [{"host": "mx1", "chain": new.to_dict(), "replaced": [one.to_dict() for one in replaced]}]}


def test_a_look_goes_into_the_memory_that_was_given(world):
    world.looks[OWNER] = look(T0, V_AB)
    memory = seen(look(T0 - 5, V_A))
    told = one_look(memories={OWNER: memory.to_dict()}, candidates=candidate())
    assert told["names"][0]["memory"] == memory.observe(look(T0, V_AB), TIMING).to_dict()
    assert told["answer"]["verdict"] == "no" and told["answer"]["safe_at"] == T0 + 21 and told["now"] == T0
    assert told["names"][0]["states"] == {str(record("A")): "OMNIPRESENT", str(record("B")): "RUMOURED"}
    assert told["base_domains"] == [{"name": "mx1.example.test", "addresses": ["192.0.2.25"], "ttl": 60, "problem": ""}]


def test_every_candidate_of_every_name_is_asked_about(world):
    other = "_25._tcp.mx2.example.test."
    world.looks.update({OWNER: look(T0, V_AB), other: look(T0, V_A, owner=other)})
    memories = {OWNER: seen(look(T0 - 5, V_AB)).to_dict()}
    memories[other] = memories[OWNER]
    told = one_look([OWNER, other], memories, {**candidate(), other: candidate()[OWNER]})
    assert not told["answer"]["yes"] and {reason["owner"] for reason in told["answer"]["reasons"]} == {other}
    assert one_look([OWNER], memories, candidate())["answer"]["yes"]
    two = {OWNER: candidate()[OWNER] + candidate(chain("C"))[OWNER]}
    assert not one_look([OWNER], memories, two)["answer"]["yes"]
    assert {"name": "mx2.example.test", "addresses": [], "ttl": 0, "problem": "Cannot find"} in told["base_domains"]
    assert {owner: answer["yes"] for owner, answer in told["answers"].items()} == {OWNER: True, other: False}


def test_chains_of_several_algorithms_are_asked_about_as_one(world):
    both = candidate()
    both[OWNER][0]["further"] = [chain("R", algorithm="rsa").to_dict()]
    for served, yes in ((V_AB, False), (version(record("A"), record("B"), record("R")), True)):
        world.looks[OWNER] = look(T0, served)
        assert one_look(memories={OWNER: seen(look(T0 - 5, served)).to_dict()}, candidates=both)["answer"]["yes"] is yes


def test_without_candidates_it_waits_until_every_server_is_heard(world):
    world.looks[OWNER] = look(T0, V_A, "silent")
    assert [reason["code"] for reason in one_look()["answer"]["reasons"]] == ["server-unknown"]
    world.looks[OWNER] = look(T0, V_A, V_AB)
    assert one_look()["answer"]["yes"]


def test_a_host_that_enables_a_name_does_not_wait_for_records(world):
    """Nothing is there, and nothing was: what is presented now may go on being presented."""
    world.looks[OWNER] = look(T0, EMPTY)
    memory = seen(look(T0 - 5, EMPTY), nothing_before=True)
    assert one_look(memories={OWNER: memory.to_dict()}, candidates=candidate())["answer"]["yes"]


def test_no_names_no_questions(world):
    assert one_look([])["answer"]["yes"]


@pytest.mark.parametrize(("memories", "candidates"), [
    ({OWNER: {"versions": 1}}, {}), ({OWNER: 7}, {}), ({}, {OWNER: [{"chain": {}, "replaced": []}]}),
    ({}, {OWNER: [{"replaced": []}]}), ({}, {OWNER: "x"}), ({}, {OWNER: [{"chain": None}]}),
    ({}, {OWNER: [{"chain": A.to_dict(), "further": 7, "replaced": []}]}), ({}, {OWNER: [7]}),
])
def test_nonsense_is_an_error_with_words(world, memories, candidates):
    world.looks[OWNER] = look(T0, V_A)
    with pytest.raises(LedgerError, match="Cannot"):
        one_look(memories=memories, candidates=candidates)


@pytest.mark.parametrize("name", ["example.", "mx1.example.test", "_25._tcp", "_x._tcp.example.test", "", ".."])
def test_an_owner_name_that_is_none_is_an_error_with_words(world, name):
    world.looks[name] = look(T0, V_A, owner=name)
    with pytest.raises(DaneError, match="Cannot"):
        one_look([name])


def test_names_may_be_written_as_people_write_them(world, monkeypatch):
    """A candidate that is not found under its name would be one that nobody asks about: a yes to everything."""
    world.looks[OWNER] = look(T0, V_A)
    written = OWNER.upper().rstrip(".")
    found = SimpleNamespace(to_dict=lambda: world.looks[OWNER])
    monkeypatch.setattr(_dns, "look", lambda names, settings, leaving: {OWNER: found})
    memories = {written: seen(look(T0 - 5, V_A)).to_dict()}
    assert not one_look([written], memories, {written: candidate()[OWNER]})["answer"]["yes"]
    assert one_look([written], memories, {written: candidate(A)[OWNER]})["answer"]["yes"]


def test_candidates_for_a_name_that_is_not_looked_at_are_refused(world):
    world.looks[OWNER] = look(T0, V_A)
    with pytest.raises(DaneError, match="mx9"):
        one_look([OWNER], {}, {"_25._tcp.mx9.example.test.": candidate()[OWNER]})


def test_a_record_that_takes_the_place_of_others_is_waited_for(world):
    """The chain would suit every version; it is the old record that has to stay until the new one is everywhere."""
    world.looks[OWNER] = look(T0, V_AB)
    memories = {OWNER: seen(look(T0 - 5, V_A)).to_dict()}
    told = one_look(memories=memories, candidates=candidate(A), records={OWNER: [str(record("B"))]})
    (reason,) = told["answer"]["reasons"]
    assert (told["answer"]["verdict"], told["answer"]["safe_at"], reason["code"]) == ("no", T0 + 21, "record-missing")
    assert f"a version without {str(record('B'))[:22]} may be in caches for 21 s more" in reason["text"]
    assert told["answers"][OWNER]["yes"] is False
    assert one_look(memories=memories, candidates=candidate(A), records={OWNER: [str(record("A"))]})["answer"]["yes"]
    word = Override(frozenset({"mx1.example.test"}), T0 + 9, "the old digest is broken")
    overridden = one_look(memories=memories, candidates=candidate(A), records={OWNER: [str(record("B"))]}, override=word)
    assert overridden["answer"]["verdict"] == "at your word"
    world.looks[OWNER] = look(T0 + 21, V_AB)
    later = {OWNER: told["names"][0]["memory"]}
    assert one_look(memories=later, candidates=candidate(A), records={OWNER: [str(record("B"))]}, now=T0 + 21)["answer"]["yes"]


def test_a_server_without_a_record_is_waited_for_without_an_end(world):
    world.looks[OWNER] = look(T0, V_AB, V_A)
    for candidates in (candidate(A), {}):
        answer = one_look(candidates=candidates, records={OWNER.upper(): [str(record("B"))]})["answer"]
        assert not answer["yes"] and answer["safe_at"] is None
        assert "is still served by 192.0.2.2" in answer["reasons"][-1]["text"]
    noted = seen(look(T0, V_AB)).intend(V_A, T0, TIMING)
    assert "is not known to be gone" in _wait.everywhere(noted, frozenset({record("B")}), T0, TIMING).reasons[0]["text"]


@pytest.mark.parametrize("records", [{OWNER: ["x"]}, {OWNER: [7]}, {OWNER: 7}, {"_25._tcp.mx9.example.test.": []}])
def test_records_that_are_none_are_an_error_with_words(world, records):
    world.looks[OWNER] = look(T0, V_A)
    with pytest.raises(DaneError, match="Cannot"):
        one_look(records=records)


# --------------------------------------------------------------------------------------------------------------- words


def told(memory, now=T0, **more):
    answer = _wait.may_deploy((B,), memory, [A], now, TIMING)
    return {"answer": answer.to_dict(), "now": now, "names": [], **more}


def test_progress_in_words():
    assert "every server has it" in _wait.progress(told(seen(look(T0, V_AB))))
    behind = _wait.progress(told(seen(look(T0, V_AB, V_A))))
    assert "192.0.2.2" in behind and "left" not in behind
    caches = _wait.progress(told(seen(look(T0 - 5, V_A), look(T0, V_AB))))
    assert caches.startswith("about 21 s left: ") and "caches" in caches


def test_progress_names_three_and_counts_the_rest():
    answer = {"yes": False, "safe_at": None, "reasons": [{"text": text} for text in ("a", "b", "b", "c", "d", "e")]}
    assert _wait.progress({"answer": answer, "now": T0}) == "a; b; c (and 2 more)"


def test_progress_never_says_that_less_than_nothing_is_left():
    answer = {"yes": False, "safe_at": T0 - 9, "reasons": [{"text": "a"}]}
    assert _wait.progress({"answer": answer, "now": T0}) == "about 0 s left: a"


def test_last_words():
    said = look(T0, V_AB, EMPTY, "silent")
    said["servers"][2]["detail"] = "timeout after 3 tries"
    said["servers"][1]["name"] = ""
    lines = _wait.last_words({"names": [{"name": OWNER, "look": said}]})
    assert len(lines) == 3 and all(line.startswith(OWNER) for line in lines)
    assert "ns1.example.test. 192.0.2.1: serves 3 1 1" in lines[0] and lines[0].endswith("TTL 10")
    assert "server 192.0.2.2: serves no record, TTL 60" in lines[1]
    assert lines[2].endswith("192.0.2.3: silent (timeout after 3 tries)")
    assert _wait.last_words({}) == []
