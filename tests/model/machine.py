# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Long random runs through a larger world, with everything that may go wrong at once; counterexamples are shrunk.

Always the same runs, unless DANE_MODEL_RUNS asks for another number of them: then they are other ones each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from world import Model, Scenario, complete

#: Factor, floor and slack in force; TTLs, linger and waits of several ticks.
LARGE = {
    "factor": 2, "floor": 3, "slack": 1, "linger": 2, "ceiling": 8, "view_max_age": 1, "look_max_age": 30, "lame_looks": 2,
    "lame_seconds": 3}
MANY = 1 << 30
TWO_HOSTS = Scenario(
    rrsets=(("311A 311R 311C", 2), ("311A 311R 311B 311C", 1), ("311B 311C", 1), ("311A 311R 311C 311B 311D", 3),
            ("311A 312A 311R 312R 311C 312C", 1), ("311A 311R 311C", 1, 2), ("311B 311D", 1)),
    hosts=("A R", "C"), files=(("B", "A R", "B R", "A"), ("C", "D")), goal=(6, "B", "D"), bridge=(3,), servers=3, ticks=MANY,
    silent=((), (1,), (2,), ("a",), ("b",), (0,), ("bogus",)), fallbacks=2, failures=3, intents=MANY, operators=2,
    stepwise=True, losses=1, drops=(2,), ns_ttl=3, address_ttl=2, lame=1, foreign=(3,), foreigns=1, jumps=(50, -7),
    reboots=1, through_json=True, timing=tuple(LARGE.items()))
ISSUERS = Scenario(
    rrsets=(("311A 211x", 2), ("311A 211x 211y", 1), ("211y", 1), ("311A 311B 211x 211y", 3), ("211x", 1), ("311B 211y", 1)),
    hosts=("Ax",), files=(("By", "Ay", "Bx", "Ax"),), goal=(5, "By"), bridge=(3,), servers=2, ticks=MANY,
    silent=((), (1,), ("a",), (0,)), fallbacks=1, failures=2, intents=MANY, operators=2, stepwise=True, losses=1, lame=1,
    jumps=(50, -7), reboots=1, through_json=True, timing=tuple(LARGE.items()))
KINDS = ("tick", "look", "may be", "publish", "intend", "host", "server", "")


class Run(RuleBasedStateMachine):
    """One run: each step is one of those that the world offers."""

    @initialize(scenario=st.sampled_from((TWO_HOSTS, ISSUERS)))
    def begin(self, scenario):
        self.model = Model(scenario)
        self.state = self.model.begin()
        self.way = []

    @rule(kind=st.sampled_from(KINDS), which=st.integers(0, 1 << 10))
    def step(self, kind, which):
        """The step of this kind with this number, if there is one."""
        offered = [one for one in self.model.steps(self.state) if one[0].startswith(kind)]
        if offered:
            word, self.state = offered[which % len(offered)]
            self.way.append(word)

    @invariant()
    def nobody_sees_a_mismatch(self):
        found = self.model.violation(self.state)
        assert not found, f"{found} after: " + "; ".join(self.way)

    def teardown(self):
        """With faults ended the goal is reached from wherever the run has come to."""
        if getattr(self, "model", None) is not None and not self.model.violation(self.state):
            stuck = complete(self.model, self.state, 120)
            assert not stuck, "stuck after: " + "; ".join([*self.way, "AND THEN", *stuck])


def run():
    """All runs; how many."""
    wanted = int(os.environ.get("DANE_MODEL_RUNS") or 0)
    runs = wanted or 60
    run_state_machine_as_test(Run, settings=settings(
        max_examples=runs, stateful_step_count=60, derandomize=not wanted, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=False))
    return runs
