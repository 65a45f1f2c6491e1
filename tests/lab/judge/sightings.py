# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The witness's log as values: what each server and each mail host showed, from when to when.

Between two looks everything is read against the rollover: what was seen may have lasted until the look that shows
something else, and what is new may have begun right after the last look that did not show it.
"""

from __future__ import annotations

import base64
import json
import math
from typing import NamedTuple

PERIOD = 0.5  # seconds between looks at one target
GAP = 2.0  # a target not looked at for longer than this makes the verdict void
# What a look says where TLS began and the connection ended: who cannot give TLS ends so, and who is being shut down.
CUT_OFF = "connection ended in the handshake"


class Look(NamedTuple):
    """One observation of one target. ``value`` is None where the target did not answer."""

    before: float
    after: float
    value: object
    detail: str = ""


class RRset(NamedTuple):
    """What a server served: the records (sorted text) and the TTL (of the SOA's minimum where there are none)."""

    records: tuple
    ttl: int


class Source(NamedTuple):
    """One address of an authoritative server, asked for one owner name."""

    owner: str
    server: str
    address: str


class Endpoint(NamedTuple):
    """One address of a mail host."""

    host: str
    address: str


class Run(NamedTuple):
    """The same value from ``first`` to ``last`` as seen, and at most from ``start`` to ``end``."""

    value: object
    start: float
    first: float
    last: float
    end: float


class Sightings:
    """Everything a witness wrote down.

    :ivar rrsets: {Source: [Look of RRset]}
    :ivar chains: {Endpoint: [Look of tuple of certificate ids]}; the empty tuple: no TLS there.
    :ivar certificates: {id: DER}
    :ivar owners: {owner name: host whose chain it must match}
    """

    def __init__(self, owners):
        self.owners = dict(owners)
        self.rrsets = {}
        self.chains = {}
        self.certificates = {}

    @property
    def hosts(self):
        """The mail hosts, sorted."""
        return sorted(set(self.owners.values()))

    def sources(self, owner):
        """Every Source of one owner name."""
        return [source for source in self.rrsets if source.owner == owner]

    def endpoints(self, host):
        """Every Endpoint of one host."""
        return [endpoint for endpoint in self.chains if endpoint.host == host]

    def chain(self, ids):
        """The DER certificates behind a tuple of ids."""
        return [self.certificates[i] for i in ids]

    def targets(self):
        """(target, its looks) of everything that is watched."""
        yield from self.rrsets.items()
        yield from self.chains.items()

    def add(self, entry):
        """Take in one entry of the log (dict)."""
        kind = entry["kind"]
        if kind == "plan":
            self.owners.update(entry["owners"])
            for item in entry["sources"]:
                self.rrsets.setdefault(Source(*item), [])
            for item in entry["endpoints"]:
                self.chains.setdefault(Endpoint(*item), [])
        elif kind == "certificate":
            self.certificates[entry["id"]] = base64.b64decode(entry["der"])
        elif kind == "rrset":
            value = None if entry["records"] is None else RRset(tuple(entry["records"]), entry["ttl"])
            looks = self.rrsets.setdefault(Source(entry["owner"], entry["server"], entry["address"]), [])
            looks.append(Look(entry["before"], entry["after"], value, entry.get("detail", "")))
        elif kind == "chain":
            value = None if entry["chain"] is None else tuple(entry["chain"])
            looks = self.chains.setdefault(Endpoint(entry["host"], entry["address"]), [])
            looks.append(Look(entry["before"], entry["after"], value, entry.get("detail", "")))


def read(path):
    """Read a witness's log (JSON lines). A last line cut short by a kill is left out."""
    sightings = Sightings({})
    with open(path, encoding="utf-8") as log:
        for line in log:
            if line.endswith("\n"):
                sightings.add(json.loads(line))
    return sightings


def runs(looks):
    """Merge a target's looks into Runs. A target that did not answer keeps what it had; the last run has no end."""
    found = []
    previous = None
    for look in looks:
        if look.value is None:
            continue
        if found and found[-1].value == look.value:
            found[-1] = found[-1]._replace(last=look.after)
        else:
            if found:
                found[-1] = found[-1]._replace(end=look.after)
            start = previous.before if previous else look.before
            found.append(Run(look.value, start, look.after, look.after, math.inf))
        previous = look
    return found
