# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that may object to the module, or to a mutant of it: checks, worlds and random runs, cheap ones first."""

from __future__ import annotations

import functools

import checks
import machine
import worlds
from world import search

# Those that take a second come after those that take none.
DEAR = ("check_chains", "check_name")


def killers():
    """List of (name, function): it returns what it did (``states``, ``runs``), or raises AssertionError."""
    named = sorted((name for name in dir(checks) if name.startswith("check_")), key=lambda name: (name in DEAR, name))
    return [(name, getattr(checks, name)) for name in named] + [
        (name, functools.partial(world, name)) for name in worlds.WORLDS] + [("random runs", random_runs)]


def world(name):
    """Search one world to the last state."""
    scenario = worlds.WORLDS[name]
    found = search(scenario)
    assert not found.violation and not found.stuck, str(found)
    assert not scenario.goal or found.arrived == scenario.arrives, (
        f"the goal is reached at {found.arrived}, and not at {scenario.arrives}")
    return checks.Done(states=found.states, runs=found.completed)


def random_runs():
    """Long runs through the larger world, with everything that may go wrong at once."""
    return checks.Done(runs=machine.run())
