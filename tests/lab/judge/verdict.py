# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verdict over both logs: failures, exposure, and whether the evidence suffices. Pure functions.

*Exposure* is the time in which a cache of ANY phase could have held an RRset that a chain presented at that time does
not match, combination by combination. The senders' own caches have luck, exposure has none. Every doubt between two
looks goes against the rollover (see ``sightings``).
"""

from __future__ import annotations

import math
from typing import NamedTuple

from . import match
from .sightings import GAP, runs

NEAR = 5.0  # every sender must have delivered to every host this close to each switch, before and after
STUCK = 30.0  # a message without any outcome after so long counts as failed


class Mismatch(NamedTuple):
    """A stretch of exposure and what made it."""

    host: str
    start: float
    end: float
    server: str
    records: tuple
    leaf: str
    unmatched: tuple


class Switch(NamedTuple):
    """A mail host's presented leaf changed between ``start`` and ``end`` (digests of the keys before and after)."""

    host: str
    start: float
    end: float
    old: tuple
    new: tuple


class Publication(NamedTuple):
    """A new RRset showed up at an owner name for the first time, between ``start`` and ``end``."""

    owner: str
    host: str
    start: float
    end: float
    ttl: int


class Evidence:
    """What is judged.

    :ivar sightings: the witness's log (Sightings).
    :ivar senders: {sender name: PostfixLog}.
    :ivar fetches: [Fetch]; empty where the Unbounds keep no log.
    :ivar start, end: epochs; only this window is judged, though earlier sightings tell what caches hold in it.
    :ivar names: {host: base domain}.
    """

    def __init__(self, sightings, senders, start, end, names, fetches=()):
        self.sightings, self.senders, self.fetches = sightings, senders, list(fetches)
        self.start, self.end, self.names = start, end, names

    def deliveries(self):
        """The outcomes inside the window, all senders, by time."""
        found = [d for log in self.senders.values() for d in log.deliveries if self.start <= d.at <= self.end]
        return sorted(found, key=lambda d: d.at)

    def failures(self):
        """Outcomes that are failures, and messages that were never tried (list of Delivery or text)."""
        found = [d for d in self.deliveries() if d.failed]
        for name, log in sorted(self.senders.items()):
            found += [
                f"{name}: message {qid}, queued {self.end - at:.0f} s before the end, has no outcome"
                for qid, at in log.queued.items()
                if self.start <= at <= self.end - STUCK
            ]
        return found


# --- exposure -------------------------------------------------------------------------------------------------------


def _in_use(evidence, seen):
    """Did any server have records as the window opened? ``seen``: {Source: [Run]} of one owner name."""
    opened = evidence.start + GAP  # a witness that started with the window needs a moment for its first looks
    return any(
        run.value.records and run.start <= opened and run.end > evidence.start
        for every in seen.values() for run in every
    )


def _holdable(evidence, owner):
    """(Source, Run) of everything at an owner name that a cache must not hold unmatched.

    An empty RRset is an outage after records at this server; before them only where the name was in use already and
    this server gave nothing all the same. Else the name was just not enabled yet.
    """
    sightings = evidence.sightings
    seen = {source: runs(sightings.rrsets[source]) for source in sightings.sources(owner)}
    in_use = _in_use(evidence, seen)
    for source, every in seen.items():
        enabled = False
        for run in every:
            enabled = enabled or bool(run.value.records)
            if enabled or (in_use and run.end > evidence.start):
                yield source, run


def exposures(evidence):
    """Every Mismatch in the window (list), overlapping ones included."""
    sightings, found = evidence.sightings, []
    for owner, host in sorted(sightings.owners.items()):
        shown = {}
        for endpoint in sightings.endpoints(host):
            for run in runs(sightings.chains[endpoint]):
                shown.setdefault(run.value, []).append((run.start, run.end))
        for source, run in _holdable(evidence, owner):
            held = (run.start, run.end + run.value.ttl)
            for chain, spans in shown.items():
                found += _mismatches(evidence, host, source, run.value.records, held, chain, spans)
    return found


def _mismatches(evidence, host, source, records, held, chain, spans):
    """Where caches may hold ``records`` while ``chain`` may be met: Mismatches if the two do not match."""
    der = evidence.sightings.chain(chain)
    leaf = match.spki_sha256(der[0]) if der else ""
    found = []
    for span in spans:
        start, end = max(held[0], span[0], evidence.start), min(held[1], span[1], evidence.end)
        if start >= end:
            continue
        missing = match.unmatched(records, der, evidence.names[host], start) if records else ["empty RRset"]
        if missing:
            found.append(Mismatch(host, start, end, source.server, records, leaf, tuple(missing)))
    return found


def total(spans):
    """Seconds covered by a list of (start, end), overlaps counted once."""
    seconds, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        seconds += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return seconds


# --- switches and publications --------------------------------------------------------------------------------------


def _keys(evidence, chains):
    return tuple(sorted({match.spki_sha256(evidence.sightings.certificates[c[0]]) for c in chains if c}))


def switches(evidence):
    """Every change of a presented leaf in the window, changes of one host closer than NEAR taken as one (list)."""
    found = []
    for host in evidence.sightings.hosts:
        changes = []
        for endpoint in evidence.sightings.endpoints(host):
            seen = runs(evidence.sightings.chains[endpoint])
            for old, new in zip(seen, seen[1:]):
                if old.value[:1] != new.value[:1] and evidence.start <= new.first <= evidence.end:
                    changes.append((new.start, new.first, old.value, new.value))
        groups = []
        for change in sorted(changes):
            if groups and change[0] - max(c[1] for c in groups[-1]) < NEAR:
                groups[-1].append(change)
            else:
                groups.append([change])
        for group in groups:
            old, new = _keys(evidence, [c[2] for c in group[:1]]), _keys(evidence, [c[3] for c in group[-1:]])
            found.append(Switch(host, group[0][0], max(c[1] for c in group), old, new))
    return sorted(found, key=lambda s: s.start)


def publications(evidence):
    """The first change of the RRset at each owner name in the window (list)."""
    found = []
    for owner, host in sorted(evidence.sightings.owners.items()):
        changes = []
        for source in evidence.sightings.sources(owner):
            seen = runs(evidence.sightings.rrsets[source])
            for old, new in zip(seen, seen[1:]):
                if old.value.records and old.value.records != new.value.records:
                    if evidence.start <= new.first <= evidence.end:
                        changes.append((new.first, new.start, old.value.ttl))
        if changes:
            end, _start, ttl = min(changes)
            found.append(Publication(owner, host, min(c[1] for c in changes if c[1] <= end), end, ttl))
    return found


# --- does the evidence suffice? -------------------------------------------------------------------------------------


def unseen(evidence):
    """What the witness saw nothing of in all the time (list of text): what happened there nobody knows."""
    if not evidence.sightings.rrsets or not evidence.sightings.chains:
        return ["the witness watched no name server or no mail host"]
    return [f"the witness never got an answer from {' '.join(target)}" for target, looks in evidence.sightings.targets()
            if not any(look.value is not None for look in _inside(evidence, looks))]


def _inside(evidence, looks):
    return [look for look in looks if evidence.start - GAP <= look.after and look.before <= evidence.end + GAP]


def gaps(evidence):
    """Where the witness did not look, or saw nothing at all (list of text)."""
    found = unseen(evidence)
    if not evidence.sightings.rrsets or not evidence.sightings.chains:
        return found
    start, end = evidence.start, evidence.end
    for target, looks in evidence.sightings.targets():
        inside = _inside(evidence, looks)
        if not any(look.value is not None for look in inside):
            continue
        edges = [start] + [t for look in inside for t in (look.before, look.after)] + [end]
        for after, before in zip(edges[::2], edges[1::2]):
            if before - after > GAP:
                found.append(f"the witness did not look at {' '.join(target)} for {before - after:.1f} s "
                             f"from +{after - start:.1f} s on")
    return found + [f"no target answered the witness for {b - a:.1f} s from +{a - start:.1f} s on"
                    for a, b in blind_times(evidence)]


def blind_times(evidence):
    """When the witness got no answer from anybody (list of (start, end), epochs): it sees nothing, however often it looks."""
    answers = sorted(
        look.after for _target, looks in evidence.sightings.targets() for look in looks
        if look.value is not None and evidence.start <= look.after <= evidence.end
    )
    edges = [evidence.start] + answers + [evidence.end]
    return [(a, b) for a, b in zip(edges, edges[1:]) if b - a > GAP]


def _delivered(log, host, start, end):
    """Did the sender have an outcome at this host within [start, end]? The log's clock may be coarse."""
    return any(d.host == host and d.at + d.resolution >= start and d.at <= end for d in log.deliveries)


def coverage(evidence, switch):
    """Who did not deliver where within NEAR of a switch (list of text)."""
    missing = []
    for sender, log in sorted(evidence.senders.items()):
        for host in evidence.sightings.hosts:
            for when, start, end in (
                ("before", switch.start - NEAR, switch.start),
                ("after", switch.end, switch.end + NEAR),
            ):
                if not _delivered(log, host, start, end):
                    missing.append(f"{sender} delivered nothing to {host} within {NEAR:.0f} s {when} the switch of "
                                   f"{switch.host} at +{switch.start - evidence.start:.1f} s")
    return missing


def holders(evidence, publication):
    """Whose cache held the old RRset as the new one was published? {sender: how that is known}.

    Proof is Unbound's own log: it fetched the RRset when no server had the new one yet, and the TTL had not run out
    when the first server showed it (prefetch is off and nothing flushes the cache).

    Without that log, verified deliveries tell less: each needs a secure TLSA answer out of this cache, so a sender
    that delivers once a second refills its cache within a second of its running out. It held the old RRset but for at
    most one such second in each TTL. Taken as held only where deliveries stand on both sides of the moment, at most
    a fifth of the TTL apart, and named *inferred*.
    """
    found = {}
    for fetch in evidence.fetches:
        if fetch.owner != publication.owner:
            continue
        if fetch.at + fetch.resolution <= publication.start and fetch.at + publication.ttl >= publication.end:
            found[fetch.sender] = (
                f"fetched {publication.start - fetch.at:.1f} s before, TTL {publication.ttl} s (Unbound's log)"
            )
    if evidence.fetches:
        return found
    for sender, log in evidence.senders.items():
        times = [d.at for d in log.deliveries if d.host == publication.host and d.verified]
        earlier = [t for t in times if publication.start - publication.ttl <= t <= publication.start]
        later = [t for t in times if t >= publication.end]
        if earlier and later and min(later) - max(earlier) <= max(2.0, publication.ttl / 5):
            found[sender] = f"inferred from verified deliveries {min(later) - max(earlier):.1f} s apart"
    return found


def doubts(evidence, changed, published):
    """Everything that keeps the verdict from standing (list of text)."""
    found = gaps(evidence)
    for sender, log in sorted(evidence.senders.items()):
        for host in evidence.sightings.hosts:
            if not any(d.host == host and evidence.start <= d.at <= evidence.end for d in log.deliveries):
                found.append(f"{sender} delivered nothing to {host} at all")
    if not evidence.senders:
        found.append("there is no sender")
    for switch in changed:
        found += coverage(evidence, switch)
    for publication in published:
        if not holders(evidence, publication):
            found.append(f"no sender's cache is known to have held the old RRset of {publication.owner} as the new "
                         f"one was published")
    return found


# --- the end state --------------------------------------------------------------------------------------------------


def _last(looks, at):
    """The last answer not later than ``at``, or None."""
    answered = [look for look in looks if look.value is not None and look.before <= at]
    return answered[-1] if answered else None


def _served_keys(evidence, host, at):
    """Keys that the host's addresses present at an epoch (set); None in it where that is not known."""
    keys = set()
    for endpoint in evidence.sightings.endpoints(host):
        look = _last(evidence.sightings.chains[endpoint], at)
        known = look and look.value and at - look.after <= GAP
        keys.add(match.spki_sha256(evidence.sightings.certificates[look.value[0]]) if known else None)
    return keys


def end_state(evidence, new_keys=True, extra=0, wanted=None):
    """What is not as it must be at the end (list of text).

    :param new_keys: every host must serve one key that it did not serve as the window opened.
    :param extra: how many records beside ``3 1 1`` of the served key must be there (a standby's: 1), made for no key
        served earlier.
    :param wanted: {owner name: [record text]} instead of what is derived from the served key.
    """
    wrong = []
    for owner, host in sorted(evidence.sightings.owners.items()):
        old, new = _served_keys(evidence, host, evidence.start), _served_keys(evidence, host, evidence.end)
        if None in new or len(new) != 1:
            wrong.append(f"{host} does not present one key at all its addresses at the end")
            continue
        (key,) = new
        if new_keys and (None in old or key in old):
            wrong.append(f"{host} presents at the end the key it presented at the start" if key in old
                         else f"what {host} presented at the start is not known")
        wrong += _records_wrong(evidence, owner, key, old - new - {None}, extra, (wanted or {}).get(owner))
    return wrong


def _records_wrong(evidence, owner, key, old_keys, extra, wanted):
    wrong, versions = [], set()
    for source in evidence.sightings.sources(owner):
        look = _last(evidence.sightings.rrsets[source], evidence.end)
        at = f"{owner} on {source.server} ({source.address})"
        if not look or evidence.end - look.after > GAP:
            wrong.append(f"{at}: not known at the end")
            continue
        records = set(look.value.records)
        versions.add(look.value.records)
        if wanted is not None:
            if records != set(wanted):
                wrong.append(f"{at}: {short(records)} instead of {short(wanted)}")
            continue
        if f"3 1 1 {key}" not in records:
            wrong.append(f"{at}: no 3 1 1 of the served key {key[:8]}")
        if len(records) != 1 + extra:
            wrong.append(f"{at}: {len(records)} records ({short(records)}) instead of {1 + extra}")
        if any(f"3 1 1 {k}" in records for k in old_keys):
            wrong.append(f"{at}: still has the record of the old key")
    if len(versions) > 1:
        wrong.append(f"{owner}: the servers differ")
    return wrong


def short(records):
    """Records for people: digests cut short."""
    return ", ".join(sorted(f"{r[:14]}…" if len(r) > 15 else r for r in records)) or "nothing"


# --- the whole ------------------------------------------------------------------------------------------------------


def judge(evidence, check_end=False, new_keys=True, extra=0, wanted=None):
    """The verdict: a dict of JSON types.

    ``outcome`` is FAIL when anything went wrong, else VOID when the evidence does not suffice, else PASS.
    """
    deliveries, failures, mismatches = evidence.deliveries(), evidence.failures(), exposures(evidence)
    changed, published = switches(evidence), publications(evidence)
    exposure = total([(m.start, m.end) for m in mismatches])
    reasons = _failure_reasons(evidence, failures) + _exposure_reasons(evidence, mismatches)
    if check_end:
        reasons += end_state(evidence, new_keys, extra, wanted)
    void = doubts(evidence, changed, published)
    since = evidence.start
    return {
        "outcome": "FAIL" if reasons else "VOID" if void else "PASS",
        "hosts": len(evidence.sightings.hosts),
        "senders": sorted(evidence.senders),
        "from": evidence.start,
        "to": evidence.end,
        "deliveries": len(deliveries),
        "verified": sum(1 for d in deliveries if not d.failed),
        "failed": len(failures),
        "exposure": exposure,
        "exposure_by_host": {
            host: total([(m.start, m.end) for m in mismatches if m.host == host]) for host in evidence.sightings.hosts
        },
        "reasons": reasons,
        "void": void,
        "unseen": unseen(evidence),
        "blind": sum(b - a for a, b in blind_times(evidence)),
        "silence": silence(evidence),
        "switches": [
            {"host": s.host, "start": s.start - since, "end": s.end - since, "old": s.old, "new": s.new}
            for s in changed
        ],
        "publications": [
            {"owner": p.owner, "start": p.start - since, "end": p.end - since, "ttl": p.ttl,
             "caches": holders(evidence, p)}
            for p in published
        ],
        "mismatches": [
            {"host": m.host, "start": m.start - since, "end": m.end - since, "server": m.server,
             "records": list(m.records), "leaf": m.leaf, "unmatched": list(m.unmatched)}
            for m in mismatches
        ],
        "failures": [
            f if isinstance(f, str) else {"sender": f.sender, "host": f.host, "at": f.at - since, "status": f.status,
                                          "verified": f.verified, "reason": f.reason}
            for f in failures
        ],
    }


def silence(evidence):
    """The longest time that any sender delivered nothing to a host: {"s1 mx1": seconds}."""
    found = {}
    for sender, log in sorted(evidence.senders.items()):
        for host in evidence.sightings.hosts:
            times = sorted(d.at for d in log.deliveries if d.host == host and evidence.start <= d.at <= evidence.end)
            edges = [evidence.start] + times + [evidence.end]
            found[f"{sender} {host}"] = round(max(b - a for a, b in zip(edges, edges[1:])), 1)
    return found


def _failure_reasons(evidence, failures):
    groups = {}
    for failure in failures:
        if isinstance(failure, str):
            groups.setdefault(failure, []).append(None)
        else:
            groups.setdefault((failure.sender, failure.host, failure.reason), []).append(failure.at)
    found = []
    for group, times in groups.items():
        if isinstance(group, str):
            found.append(group)
            continue
        sender, host, reason = group
        found.append(f"{sender} to {host}: {len(times)} failed from +{min(times) - evidence.start:.1f} s to "
                     f"+{max(times) - evidence.start:.1f} s: {reason}")
    return found


def _exposure_reasons(evidence, mismatches):
    found = []
    for host in sorted({m.host for m in mismatches}):
        mine = [m for m in mismatches if m.host == host]
        first = min(mine, key=lambda m: m.start)
        found.append(
            f"{host} was exposed for {total([(m.start, m.end) for m in mine]):.1f} s from "
            f"+{first.start - evidence.start:.1f} s on: a cache could hold {short(first.records)} of {first.server} "
            f"while the key {first.leaf[:8] or '(none)'} was presented ({', '.join(first.unmatched)} not matched)"
        )
    return found


def seconds(value):
    """Exposure for the last line: 0 only if it is 0, else rounded up to a tenth."""
    return f"{math.ceil(value * 10 - 1e-9) / 10:.1f}" if value > 0 else "0"


def explain(result):
    """The verdict for people, line by line (list of text); :func:`render` ends it."""
    lines = []
    for publication in result["publications"]:
        held = "; ".join(f"{who} {how}" for who, how in sorted(publication["caches"].items()))
        lines.append(f"published at {publication['owner']} +{publication['end']:.1f} s; old RRset in caches: "
                     f"{held or 'not known'}")
    for switch in result["switches"]:
        lines.append(f"{switch['host']} switched +{switch['start']:.1f} s to +{switch['end']:.1f} s: "
                     f"{_digests(switch['old'])} -> {_digests(switch['new'])}")
    lines.append("longest time without a delivery: " + ", ".join(f"{k} {v} s" for k, v in result["silence"].items()))
    lines += [f"wrong: {reason}" for reason in result["reasons"]]
    lines += [f"void: {reason}" for reason in result["void"]]
    return lines


def _digests(keys):
    return ", ".join(key[:8] for key in keys) or "(no TLS)"


def render(result, name="demo"):
    """The one line that ends a demo: ``demo: PASS hosts=2 deliveries=<n> verified=<n> failed=0 exposure=0``.

    A void verdict is no PASS: the line says FAIL and that the evidence does not suffice.
    """
    figures = (f"hosts={result['hosts']} deliveries={result['deliveries']} verified={result['verified']} "
               f"failed={result['failed']} exposure={seconds(result['exposure'])}")
    if result["outcome"] == "PASS":
        return f"{name}: PASS {figures}"
    reasons = list(result["reasons"])
    if result["void"]:
        reasons.append("void: " + "; ".join(result["void"][:3]) + ("; ..." if len(result["void"]) > 3 else ""))
    return f"{name}: FAIL {figures}: {'; '.join(reasons)}"
