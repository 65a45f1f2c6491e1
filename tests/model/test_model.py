# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two questions against small worlds, to the last state; and proof that each rule is needed.

``pytest -s tests/model`` shows how many states were searched, and how each mutant was found out.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import world
from ansible_collections.mailops.dane.plugins.module_utils import _rollover
from judge import mismatch, strict, verifier
from world import Scenario, search

REKEY = Scenario(("311A", 2), (("311A 311B", 1), ("311B", 1)), ticks=5, goal=("311B", "B"))
SCENARIOS = {
    "rekey": REKEY._replace(ticks=6, failures=1),
    "fallback": REKEY._replace(fallbacks=1, ticks=6),
    "three servers": REKEY._replace(servers=3, start=("311A", 1)),
    "silence": REKEY._replace(
        start=("311A 311B", 1), others=(("311A 311C", 1), ("311B", 1)), silent=((), (1,), ("a",)), ticks=4),
    "ledger lost": REKEY._replace(
        start=("311A 311B", 1), others=(("311B", 1),), cached=(("311A", 2),), ledger_lost=True),
    "never heard": REKEY._replace(
        start=("311A 311B", 1), others=(("311B", 1),), cached=(("311A", 2),), behind=1, ledger_lost=True,
        silent=((), (1,))),
    "two hosts": Scenario(
        ("311A 311C", 1), (("311A 311B 311C", 1), ("311B 311C", 1)), hosts="AC", keys=("B", ""), ticks=4,
        silent=((), ("b",)), goal=("311B 311C", "BC")),
    "a host outside the inventory": Scenario(
        ("311A 311C", 1), (("311A 311C 312A", 1), ("311A 311C 312A 312C", 1), ("311A", 1)), hosts="AC", keys=("", ""),
        strangers=1, ticks=3, silent=((), ("b",)), ledger_lost=True, goal=("311A 311C 312A 312C", "AC")),
    "digest change": Scenario(
        ("311A", 1), (("311A 312A", 1), ("312A", 1), ("311A 312B", 1), ("312B", 1)), ticks=3, goal=("312A", "A")),
    "digest change and rekey in one": Scenario(
        ("311A", 1), (("311A 312A 311B 312B", 1), ("312B", 1)), ticks=6, goal=("312B", "B")),
    "first publication": Scenario(
        ("", 1), (("311A", 1), ("311B", 1)), enabling=True, ticks=4, intents=2, goal=("311B", "B")),
    "stale foreign record": Scenario(
        ("311A 211Z", 1), (("311A 311B 211Z", 1), ("311B 211Z", 1)), ticks=5, accepts=(verifier,),
        goal=("311B 211Z", "B")),
}

# What is left out, where it stands, what stands there instead, and a world that notices.
MUTANTS = [
    ("the wait", "return max(self.factor * ttl, self.floor) + self.slack", "return 0", "rekey"),
    ("the factor", "self.factor * ttl", "0 * self.factor * ttl", "rekey"),
    ("each version's own TTL", "self.factor * ttl", "self.factor * 1", "rekey"),
    ("every combination", "return {record.combination for record in version.usable} - matched(chain, version)",
     "return set() if matched(chain, version) else {record.combination for record in version.usable}",
     "digest change"),
    ("any one server", 'for server in look["servers"]:\n            address', 'for server in look["servers"][:1]:\n'
     '            address', "rekey"),
    ("the clock starts when the last server has it, not with publication", "None if servers else (taken_at",
     'None if "0" in servers else (taken_at', "rekey"),
    ("versions that nobody serves but caches hold", "or now < seen.gone_since + timing.lifetime(seen.version.ttl)", "",
     "rekey"),
    ("versions that come back", "None if servers else (taken_at", "gone if gone else None if servers else (taken_at",
     "fallback"),
    ("a silent server may give what others gave", "bool(heard) and not kept and",
     "bool(heard) and not unanswered and", "silence"),
    ("a server that was never heard", "for address in self.unanswered]", "for address in ()]", "never heard"),
    ("what a server gave before it was heard", "first = self.looked_at is None or heard.intersection(self.unanswered)",
     "first = self.looked_at is None", "never heard"),
    ("what was before the ledger", "if now < name.unknown_until and", "if False and", "ledger lost"),
    ("the chains, before a withdrawal", "for chain in chains:\n        if fine(chain, new",
     "for chain in ():\n        if fine(chain, new", "rekey"),
    ("a complete look, before a new combination", "if not chains_known:", "if False:", "a host outside the inventory"),
    ("linger", "or now < seen.gone_since + timing.linger]", "]", "rekey"),
    ("the intent, for the DNS", "return self._replace(versions=others + (SeenVersion(", "return self if version else ("
     "(SeenVersion(", "rekey"),
    ("the intent, for the host", "return self._replace(chains=others + (SeenChain(", "return self if chain else ("
     "(SeenChain(", "rekey"),
]


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_sender_ever_sees_a_mismatch(name):
    found = search(SCENARIOS[name])
    print(f"\nmodel: {name}: {found}")
    assert not found.violation, str(found)
    assert found.arrived, "nobody is helped by doors that never open"


def mutant(old, new):
    """The module with one rule left out."""
    source = Path(_rollover.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"the rule is written differently now: {old!r} occurs {source.count(old)} times"
    specification = importlib.util.spec_from_loader(_rollover.__name__ + "_mutant", None)
    module = importlib.util.module_from_spec(specification)
    module.__package__ = _rollover.__package__
    exec(compile(source.replace(old, new), "mutant", "exec"), module.__dict__)  # noqa: S102
    return module


@pytest.mark.parametrize(("what", "old", "new", "name"), MUTANTS, ids=[one[0] for one in MUTANTS])
def test_without_the_rule_a_mismatch_is_found(monkeypatch, what, old, new, name):
    monkeypatch.setattr(world, "_rollover", mutant(old, new))
    found = search(SCENARIOS[name])
    print(f"\nmodel: without {what}: {found}")
    assert found.violation


def test_without_a_look_into_the_file_a_mismatch_is_found(monkeypatch):
    """The run dies between replace and reload: whatever starts next reads the new file."""
    monkeypatch.setattr(world.Model, "with_file", staticmethod(lambda chains, file: chains))
    found = search(SCENARIOS["rekey"])
    print(f"\nmodel: without the file: {found}")
    assert found.violation


def test_the_judge():
    assert strict({"311A", "312A"}, "A") and not strict({"311A", "312B"}, "A")
    assert verifier({"311A", "312A", "211Z"}, "A") and not verifier({"311A", "312B"}, "A")
    assert mismatch([{"311A"}], "AB", False) == ("311A", "B") and mismatch([{"311A", "311B"}], "AB", False) is None
    assert mismatch([set()], "A", False) == ("no record", "A") and mismatch([set()], "A", True) is None
