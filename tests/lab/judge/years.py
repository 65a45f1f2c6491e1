# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a long time has seen, told by the witness's log and the senders': renewals, rekeys, changes of CA. Pure functions.

A mail host that is being restarted answers nobody. Mail that finds nothing there is lost to the restart and not to DANE,
so it is counted apart: only in the time of the restart, only for that host, and only where no connection came about. And a
handshake of the witness that a shutdown cuts off shows no chain, just as a host that does not answer.
"""

from __future__ import annotations

import copy
import re
from typing import NamedTuple

from . import match, verdict
from .sightings import CUT_OFF, runs

# The part of a long time in which the witness may have seen nothing, because the machine was busy.
BLIND = 0.01

_NO_CONNECTION = re.compile(
    r"Connection refused|Connection timed out|No route to host|Host is unreachable|Connection reset by peer|"
    r"lost connection with|conversation with \S+ timed out")


class Outage(NamedTuple):
    """A mail host was restarted and could not answer from ``start`` to ``end`` (epochs)."""

    host: str
    start: float
    end: float


class Presented(NamedTuple):
    """One certificate of a mail host, in the order in which they were first seen."""

    first: float
    key: str
    issuer: str


class Counts(NamedTuple):
    """What one mail host has done."""

    renewals: int
    rekeys: int
    ca_changes: int


def presented(evidence, host):
    """Every certificate that a host presented up to the end of the window, by time (list of Presented)."""
    first = {}
    for endpoint in evidence.sightings.endpoints(host):
        for run in runs(evidence.sightings.chains[endpoint]):
            if run.value and run.first <= evidence.end:
                leaf = run.value[0]
                first[leaf] = min(run.first, first.get(leaf, run.first))
    return [_described(evidence.sightings.certificates[leaf], at) for leaf, at in sorted(first.items(), key=lambda one: one[1])]


def _described(der, at):
    return Presented(at, match.spki_sha256(der), match.issuer(der))


def counts(evidence, host):
    """How often a host changed its certificate in the window, with the same key and with another (Counts)."""
    seen = presented(evidence, host)
    steps = [(old, new) for old, new in zip(seen, seen[1:]) if new.first >= evidence.start]
    return Counts(
        sum(old.key == new.key for old, new in steps),
        sum(old.key != new.key for old, new in steps),
        sum(old.issuer != new.issuer for old, new in steps))


class Years(verdict.Evidence):
    """Evidence in which mail and the witness met a host in its restart, and that is no failure and no exposure.

    :param evidence: verdict.Evidence. :param outages: list of Outage.
    """

    def __init__(self, evidence, outages):
        sightings = copy.copy(evidence.sightings)
        sightings.chains = {endpoint: [self._uncut(look, endpoint.host, outages) for look in looks]
                            for endpoint, looks in sightings.chains.items()}
        super().__init__(sightings, evidence.senders, evidence.start, evidence.end, evidence.names, evidence.fetches)
        self.outages = outages

    @staticmethod
    def _uncut(look, host, outages):
        cut = look.detail.startswith(CUT_OFF) and any(
            outage.host == host and outage.start <= look.after and look.before <= outage.end for outage in outages)
        return look._replace(value=None) if cut else look

    def failures(self):
        return [failure for failure in super().failures() if not self._by_a_restart(failure)]

    def lost_to_restarts(self):
        """How many messages found nothing there."""
        return len(super().failures()) - len(self.failures())

    def _by_a_restart(self, failure):
        return not isinstance(failure, str) and not failure.stumbled and bool(_NO_CONNECTION.search(failure.reason)) and any(
            outage.host == failure.host and outage.start <= failure.at <= outage.end for outage in self.outages)


def closing_line(result, figures, least, wrong=()):
    """The last line of a run, and whether all is well: ``years: renewals=60 ... failed=0 exposure=0``.

    :param result: of verdict.judge. :param figures: {name: number}. :param least: {name: the least that will do}.
    :param wrong: what else went wrong (list of text).
    """
    wrong = [*wrong, *result["reasons"]]
    # Who did not look saw no exposure. A look that came late among thousands, or a sender that was quiet before a renewal,
    # is said and takes nothing from the verdict.
    wrong += [f"void: {reason}" for reason in result["unseen"]]
    if result["blind"] > BLIND * (result["to"] - result["from"]):
        wrong.append(f"void: the witness saw nothing for {result['blind']:.0f} s of {result['to'] - result['from']:.0f} s")
    wrong += [f"{name}: {number} instead of {least[name]} or more" for name, number in figures.items() if number < least[name]]
    if not result["deliveries"]:
        wrong.append("nothing was delivered")
    line = " ".join(f"{name}={number}" for name, number in figures.items())
    line += f" deliveries={result['deliveries']} failed={result['failed']} exposure={verdict.seconds(result['exposure'])}"
    good = not (wrong or result["failed"] or result["exposure"])
    return (f"years: {line}" if good else f"years: FAIL {line}: {'; '.join(wrong)}"), good
