# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happened to each record, told by the witness's log: the states and the steps that the timeline draws. Pure.

The states are the usual ones of key timing, derived from what may be seen at each moment:

* RUMOURED: published, but some cache or server may still give an RRset without the record;
* OMNIPRESENT: every RRset that anybody may hold has it;
* UNRETENTIVE: withdrawn, but some cache may still hold it;
* HIDDEN: nobody can have it (drawn as nothing).
"""

from __future__ import annotations

from typing import NamedTuple

from . import match
from .sightings import runs

PUBLISHED, EVERYWHERE, LET_GO, DEPLOYED, WITHDRAWN = (
    "published", "on all servers", "caches have let go", "deployed", "withdrawn"
)


class Served(NamedTuple):
    """What one server gave from ``start`` to ``end`` as seen, and what a cache may hold until ``held``.

    ``then`` are the records it gave next, None where this lasted to the end.
    """

    server: str
    records: tuple
    start: float
    end: float
    held: float
    then: tuple | None


def served(evidence, owner):
    """Every Served of an owner name, by server and time (list)."""
    found = []
    for source in evidence.sightings.sources(owner):
        seen = runs(evidence.sightings.rrsets[source])
        for number, (run, following) in enumerate(zip(seen, seen[1:] + [None])):
            start = run.first if number else min(run.first, evidence.start)
            end = following.first if following else evidence.end
            held = end + run.value.ttl if following else evidence.end
            then = following.value.records if following else None
            found.append(Served(source.server, run.value.records, start, end, held, then))
    return found


def state_at(record, server, versions, at):
    """The state of a record in one server's row at a moment; "" where there is nothing to draw."""
    had = [v for v in versions if record in v.records and v.start <= at]
    visible = [v for v in versions if v.start <= at < v.held]
    if not any(v.server == server for v in had) or not any(record in v.records for v in visible):
        return ""
    here = any(v.server == server and v.end > at for v in had)
    if here and all(record in v.records for v in visible):
        return "OMNIPRESENT"
    leaving = any(v.end <= at and v.then is not None and record not in v.then for v in had)
    if leaving:
        return "UNRETENTIVE"
    return "RUMOURED" if here else ""


def segments(record, server, versions, start, end):
    """One row of the picture: [(from, to, state)], empty stretches left out."""
    edges = {start, end}.union(t for v in versions for t in (v.start, v.end, v.held) if start < t < end)
    found = []
    for left, right in zip(sorted(edges), sorted(edges)[1:]):
        state = state_at(record, server, versions, (left + right) / 2)
        if found and found[-1][2] == state and found[-1][1] == left:
            found[-1] = (found[-1][0], right, state)
        elif state:
            found.append((left, right, state))
    return found


def records(versions, start, end):
    """The records to draw: those that anybody could have in the window, by first appearance (list)."""
    first = {}
    for version in versions:
        if version.held > start and version.start < end:
            for record in version.records:
                first[record] = min(version.start, first.get(record, version.start))
    return sorted(first, key=lambda r: (first[r], r))


class Presented(NamedTuple):
    """The key that one address of a host presented from ``start`` to ``end`` as seen ("" = no TLS)."""

    address: str
    key: str
    start: float
    end: float


def presented(evidence, host):
    """Every Presented of a host, by address and time (list)."""
    found = []
    for endpoint in sorted(evidence.sightings.endpoints(host)):
        seen = runs(evidence.sightings.chains[endpoint])
        for number, (run, following) in enumerate(zip(seen, seen[1:] + [None])):
            start = run.first if number else min(run.first, evidence.start)
            key = match.spki_sha256(evidence.sightings.certificates[run.value[0]]) if run.value else ""
            found.append(Presented(endpoint.address, key, start, following.first if following else evidence.end))
    return found


def steps(evidence, owner, host):
    """When the steps of this host's (first) rollover in the window were seen: {step: epoch}."""
    shown = [p for p in presented(evidence, host) if p.key and p.end > evidence.start]
    old = {p.key for p in shown if p.start <= evidence.start}
    later = [p for p in shown if p.key not in old]
    if not later:
        return {}
    deployed = min(later, key=lambda p: p.start)
    versions = served(evidence, owner)
    found = {DEPLOYED: deployed.start, **_arrival(f"3 1 1 {deployed.key}", versions)}
    leaving = [
        v.end for v in versions for key in old
        if f"3 1 1 {key}" in v.records and v.then is not None and f"3 1 1 {key}" not in v.then
    ]
    if leaving:
        found[WITHDRAWN] = min(leaving)
    return {step: at for step, at in found.items() if evidence.start <= at <= evidence.end}


def _arrival(record, versions):
    """When a record was first published, on all servers, and in all that caches may hold."""
    replaced = [v for v in versions if record not in v.records and v.then is not None and record in v.then]
    servers = {v.server for v in versions}
    if not replaced:
        return {}
    found = {PUBLISHED: min(v.end for v in replaced)}
    if servers == {v.server for v in versions if record in v.records}:
        found[EVERYWHERE] = max(v.end for v in replaced)
        found[LET_GO] = max(v.held for v in replaced)
    return found
