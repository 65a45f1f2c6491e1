# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ledger files: truncated, of another version, edited by hand, hostile.

A ledger is read as what it says, or it is lost and says why. It is never read as something else: what is forgotten by
mistake is a wait that ends too early.
"""

from __future__ import annotations

import json
import math
import os
import re

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _gate, _options
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError
from ansible_collections.mailops.dane.plugins.module_utils._issuers import Issuers
from ansible_collections.mailops.dane.plugins.module_utils._ledger import LEDGER_FORMAT, Clock, Ledger, Operation
from ansible_collections.mailops.dane.plugins.module_utils._memory import Chains, Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Chain, Version
from hostile import ODD, at, changed, check_message, examples, hand_edited, json_values, places, refusal_or
from hypothesis import example, given
from hypothesis import strategies as st
from rollover_values import OWNER, T0, TIMING, chain, look, outcome, record, version

A, B = chain("A"), chain("B", algorithm="rsa")


def full_ledger():
    """A ledger that has something in every corner."""
    name = Name(OWNER).observe(look(T0, version(record("A")), version(record("A"), record("ca", "2 1 1"))), TIMING)
    name = name.observe(look(T0 + 9, version(record("A"), record("B")), "silent", "does-not-serve"), TIMING)
    chains = Chains().observe([outcome(T0, A), outcome(T0, B, algorithm="rsa")], TIMING)
    chains = chains.observe(
        [outcome(T0 + 5, A), outcome(T0 + 5, "no-chain-for-algorithm", algorithm="rsa")], TIMING)
    chains = chains.observe([outcome(T0 + 6, A), outcome(T0 + 6, "silent", 2)], TIMING)
    name = name.intend(version(record("B")), T0 + 9, TIMING)
    return Ledger().with_name(name).with_published(OWNER, {record("A"), record("B")})._replace(
        chains=chains, operation=Operation("rekey-1", "rekey", B.spki, T0), retired=frozenset({A.spki}),
        clock=Clock(T0 + 10, "a07f338b-b918-484c-bf7e-69cd598839e2", 1000.0),
        issuers=Issuers().noted([record("ca", "2 1 1"), record("ca", "2 0 2")], T0))


LEDGER = full_ledger()


@pytest.fixture(autouse=True, scope="module")
def same_moment():
    """Every ledger is read at the moment of that one: by how much clocks shift what stands in it is another matter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_gate, "read_clock", lambda clock=None: LEDGER.clock)
        yield


WHOLE = LEDGER.to_dict()
TEXT = json.dumps(WHOLE, indent=1, sort_keys=True) + "\n"


def opened(directory, text):
    """What the gate makes of a ledger file (str or bytes); None when it refuses."""
    path = str(directory / "ledger.json")
    with open(path, "wb") as stream:
        stream.write(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return refusal_or(_gate.OpenLedger, path)


def check_lost(door):
    """A lost ledger is an empty one that says why, in words."""
    assert door.ledger == Ledger() and door.ledger.names == ()
    assert isinstance(door.lost, str) and len(door.lost) > 10, door.lost
    assert len(door.lost) < 2000


def test_a_ledger_comes_back_as_it_was():
    assert Ledger.from_dict(json.loads(TEXT)) == LEDGER
    name, chains = LEDGER.names[0], LEDGER.chains
    assert name.versions and name.unanswered and name.lame and name.sources and chains.unanswered and chains.sources
    assert any(seen.gone_since for seen in chains.chains) and LEDGER.clock


def test_a_truncated_ledger_is_lost(tmp_path):
    """At every byte. Only the last one, the end of the line, is worth nothing."""
    whole = TEXT.encode()
    for size in range(len(whole) - 1):
        with pytest.raises(ValueError):
            json.loads(whole[:size])
    for size in range(0, len(whole) - 1, 97):
        check_lost(opened(tmp_path, whole[:size]))
    assert opened(tmp_path, whole[:-1]).ledger == LEDGER.at(LEDGER.clock)


@given(st.data())
@examples(200)
def test_a_damaged_ledger_is_lost_or_reads_as_it_stands(tmp_path_factory, data):
    """One byte of another value: what disks do."""
    whole = bytearray(TEXT.encode())
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    door = opened(tmp_path_factory.getbasetemp(), bytes(whole))
    check_read(door, lambda: json.loads(bytes(whole).decode()))


def check_read(door, parse):
    """What was read is what stands there: writing it gives the same again. What is lost says why."""
    if door.lost:
        check_lost(door)
        return
    as_it_stands = Ledger.from_dict(parse())
    assert stripped(as_it_stands.to_dict()) == stripped(parse())
    assert door.ledger == as_it_stands.at(LEDGER.clock)
    assert Ledger.from_dict(json.loads(json.dumps(door.ledger.to_dict()))) == door.ledger


def stripped(value):
    """A ledger without what may differ: the order of sets, blanks and case in records, keys that nobody reads."""
    if isinstance(value, dict):
        return {key: stripped(below) for key, below in value.items()
                if (key in KNOWN or len(key) > 20) and (key, below) != ("path", [])}
    if isinstance(value, int) and not isinstance(value, bool):
        return float(min(value, 10**300))
    if isinstance(value, list):
        return sorted((stripped(below) for below in value), key=lambda one: json.dumps(one, sort_keys=True))
    return " ".join(value.lower().split()) if isinstance(value, str) else value


KNOWN = {path[-1] for path in places(WHOLE) if path and isinstance(path[-1], str)}


def editions(whole):
    """Every value of it replaced by every odd one, and taken away, once each."""
    for where in places(whole):
        for new in ODD:
            yield changed(whole, where, new), where


def well_typed(value):
    """Whether there is a number in it that is none, or that no clock will reach."""
    if isinstance(value, dict):
        return all(well_typed(below) for below in value.values())
    if isinstance(value, (list, tuple)):
        return all(well_typed(below) for below in value)
    return not isinstance(value, float) or math.isfinite(value)


@given(hand_edited(WHOLE))
@examples(400)
def test_a_ledger_edited_by_hand_is_lost_or_reads_as_it_stands(tmp_path_factory, edition):
    edited, _where, _what = edition
    text = json.dumps(edited)
    check_read(opened(tmp_path_factory.getbasetemp(), text), lambda: json.loads(text))


@pytest.mark.parametrize("where", [path for path in places(WHOLE) if path], ids=lambda path: "/".join(map(str, path)))
def test_each_field_with_each_odd_value(where):
    """None of them is taken for a value of the right kind, none of them is a traceback."""
    old = at(WHOLE, where)
    for new in ODD:
        read = refusal_or(Ledger.from_dict, changed(WHOLE, where, new))
        if read is not None:
            assert stripped(read.to_dict()) == stripped(changed(WHOLE, where, new)), (where, old, new)
            assert well_typed(read.to_dict()), (where, old, new)


@pytest.mark.parametrize("where", [path for path in places(WHOLE) if path and isinstance(path[-1], str)],
                         ids=lambda path: "/".join(map(str, path)))
def test_each_field_left_out(tmp_path, where):
    from hostile import without
    edited = without(WHOLE, where)
    text = json.dumps(edited)
    # Owner names and paths may be missing: then they are not known.
    if where[-1] == OWNER or where[-1] == "path":
        check_read(opened(tmp_path, text), lambda: json.loads(text))
        return
    door = opened(tmp_path, text)
    check_lost(door)
    assert where[-1] in door.lost


@given(json_values)
@example([])
@example({"format": 1})
def test_any_json_that_is_no_ledger_is_lost(tmp_path_factory, value):
    check_lost(opened(tmp_path_factory.getbasetemp(), json.dumps(value)))


@pytest.mark.parametrize("number", [
    0, LEDGER_FORMAT - 1, LEDGER_FORMAT + 1, str(LEDGER_FORMAT), float(LEDGER_FORMAT), True, None, -1, 10**30])
def test_a_ledger_of_another_format_is_lost_and_says_so(tmp_path, number):
    door = opened(tmp_path, json.dumps({**WHOLE, "format": number}))
    check_lost(door)
    assert "format" in door.lost and "found" in door.lost


HOSTILE = {
    "deep lists": "[" * 200000,
    "deep objects": '{"a":' * 200000,
    "deep where a value should be": json.dumps(WHOLE).replace('"unanswered": [', '"unanswered": [' + "[" * 100000, 1),
    "a long number": '{"format": ' + "1" * 5000 + "}",
    "a number without end": json.dumps(WHOLE).replace(str(T0), "1e999", 1),
    "not a number": json.dumps(WHOLE).replace(str(T0), "NaN", 1),
    "a long text": json.dumps({**WHOLE, "operation": {**WHOLE["operation"], "id": 7, "kind": "x" * 10**6}}),
    "nothing": "",
    "blanks": " \n" * 1000,
    "nul bytes": "\x00" * 4096,
    "byte order mark": "\ufeff" + TEXT,
    "utf-16": TEXT.encode("utf-16"),
    "latin-1": TEXT.replace("example", "ex\xe4mple").encode("latin-1"),
    "two ledgers": TEXT + TEXT,
    "text behind it": TEXT + "# edited\n",
    "yaml": "format: 1\nnames: {}\n",
    "a comment": "// edited\n" + TEXT,
    "a comma too many": TEXT.replace("\n}", ",\n}"),
    "a conflict of merges": TEXT.replace(' "names"', '<<<<<<< mine\n "names"', 1),
    "a key twice": TEXT.rstrip().rstrip("}") + ',\n "retired": []\n}\n',
    "a name twice": TEXT.replace(f'"{OWNER}": {{', f'"{OWNER}": {json.dumps(Name(OWNER).to_dict())}, "{OWNER}": {{', 1),
    "gone since before times": json.dumps(WHOLE).replace(f'"gone_since": {T0 + 5}', '"gone_since": -1e300', 1),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_ledger_is_lost(tmp_path, kind):
    door = opened(tmp_path, HOSTILE[kind])
    check_lost(door)


def versions_of(whole):
    return whole["names"][OWNER]["versions"]


CONTRADICTIONS = {
    "gone and still served": lambda whole: versions_of(whole).append(
        {**version(record("C")).to_dict(), "servers": ["192.0.2.1"], "gone_since": T0}),
    "gone and still presented": lambda whole: whole["chains"]["chains"].append(
        {**chain("C").to_dict(), "endpoints": ["mx1|192.0.2.1|25|ecdsa|"], "gone_since": T0}),
    "a version twice, once gone": lambda whole: versions_of(whole).append(
        {**versions_of(whole)[0], "servers": [], "gone_since": T0 - 10**6}),
    "a chain twice, once gone": lambda whole: whole["chains"]["chains"].append(
        {**whole["chains"]["chains"][0], "endpoints": [], "gone_since": T0 - 10**6}),
}


@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_a_ledger_that_contradicts_itself_is_lost_or_read_with_caution(tmp_path, kind):
    """What may still be seen by one of two entries may still be seen."""
    whole = json.loads(TEXT)
    before = Ledger.from_dict(whole)
    CONTRADICTIONS[kind](whole)
    door = opened(tmp_path, json.dumps(whole))
    if door.lost:
        check_lost(door)
        return
    late = T0 + 10**9
    name, chains = door.ledger.name(OWNER), door.ledger.chains
    assert {one.version for one in name.may_be_seen(late, TIMING)} >= {
        one.version for one in before.name(OWNER).may_be_seen(late, TIMING)}
    assert {one.chain for one in chains.may_be_seen(late, TIMING)} >= {
        one.chain for one in before.chains.may_be_seen(late, TIMING)}
    assert all(one in name.may_be_seen(late, TIMING) for one in name.versions if one.servers)
    assert all(one in chains.may_be_seen(late, TIMING) for one in chains.chains if one.endpoints)
    assert len({one.version for one in name.versions}) == len(name.versions)
    # The next look must not make it worse: whatever it does not speak of is still there.
    again = name.observe(look(late, "silent"), TIMING)
    assert {one.version for one in again.may_be_seen(late, TIMING)} >= {
        one.version for one in before.name(OWNER).versions if one.gone_since is None}


# ------------------------------------------------------------------------------- the parts, given by hand to modules


PARTS = {
    "version": (Version.from_dict, version(record("A"), record("B")).to_dict()),
    "chain": (Chain.from_dict, A.to_dict()),
    "name": (lambda data: Name.from_dict(OWNER, data), WHOLE["names"][OWNER]),
    "chains": (Chains.from_dict, WHOLE["chains"]),
}


@pytest.mark.parametrize("part", PARTS)
@given(data=st.data())
@examples(150)
def test_a_part_edited_by_hand_is_refused_or_reads_as_it_stands(part, data):
    read, whole = PARTS[part]
    edited = data.draw(hand_edited(whole))[0]
    found = refusal_or(read, edited)
    if found is not None:
        assert stripped(found.to_dict()) == stripped(edited)


# --------------------------------------------------------------------------------------- what becomes of a lost ledger


@pytest.mark.parametrize("text", ["{", TEXT[:-40], "\x00", json.dumps({**WHOLE, "format": 99})])
def test_a_lost_ledger_is_kept_aside_when_a_new_one_is_written(tmp_path, text):
    """Somebody may want to know what it said; and whoever reads why has to find the file."""
    path = tmp_path / "ledger.json"
    path.write_text(text)
    with _gate.open_ledger(str(path)) as door:
        assert door.lost
        door.save(Ledger())
    assert Ledger.from_dict(json.loads(path.read_text()))._replace(clock=None) == Ledger()
    aside = [one for one in tmp_path.iterdir() if one.name not in ("ledger.json", "ledger.json.lock")]
    assert [one.read_text() for one in aside] == [text]
    assert aside[0].name.startswith("ledger.json.")


def test_a_ledger_that_is_whole_leaves_nothing_aside(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_text(TEXT)
    with _gate.open_ledger(str(path)) as door:
        door.save(Ledger())
        door.save(door.ledger)
    assert sorted(os.listdir(tmp_path)) == ["ledger.json", "ledger.json.lock"]


def test_reading_a_lost_ledger_changes_no_file(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_text("{")
    with _gate.open_ledger(str(path), write=False) as door:
        assert door.lost
    assert os.listdir(tmp_path) == ["ledger.json"] and path.read_text() == "{"


NOTES = {
    "looks": [look(T0, version(record("A")), "silent")],
    "memories": {OWNER: WHOLE["names"][OWNER]},
    "intents": {OWNER: [version(record("A"), record("B")).to_dict()]},
    "settled": {OWNER: [version(record("A"), record("B")).to_dict()]},
    "published": {OWNER: [str(record("A"))]},
    "operation": WHOLE["operation"],
    "retire": [A.spki],
    "issuers": [str(record("new ca", "2 1 1"))],
}


@pytest.mark.parametrize("what", NOTES)
def test_the_notes_are_taken_as_they_are(tmp_path, what):
    (tmp_path / "ledger.json").write_text(TEXT)
    _gate.note(str(tmp_path / "ledger.json"), TIMING, clock=lambda: T0 + 20, **{what: NOTES[what]})


@pytest.mark.parametrize("what", NOTES)
@given(data=st.data())
@examples(150)
def test_a_note_edited_by_hand_is_refused_or_taken(tmp_path_factory, what, data):
    """The ledger is as it was, to the byte, when a note is refused; and it can be read again when it was not."""
    path = tmp_path_factory.getbasetemp() / "noted" / "ledger.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(TEXT)
    given_note = data.draw(hand_edited(NOTES[what]).map(lambda edition: edition[0]).filter(
        lambda note: isinstance(note, type(NOTES[what]))))
    try:
        # What modules ask of their options, whose outermost type Ansible has seen to.
        {"looks": _options.looks, "published": _options.published,
         "retire": lambda digests: _options.key_digests(list(map(str, digests)), "retire")}.get(what, bool)(given_note)
        _gate.note(str(path), TIMING, clock=lambda: T0 + 20, **{what: given_note})
    except DaneError as exc:
        check_message(exc)
        assert path.read_text() == TEXT
        return
    door = _gate.OpenLedger(str(path))
    assert door.lost is None, door.lost
    assert not re.search(r"\b(NaN|Infinity)\b", path.read_text())
