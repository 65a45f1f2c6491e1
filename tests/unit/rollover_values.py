# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records, chains, versions and looks in one word each, for tests of the pure core."""

from __future__ import annotations

import hashlib

from ansible_collections.mailops.dane.plugins.module_utils._memory import Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Chain, Timing, Version
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record

OWNER = "_25._tcp.mx1.example.test."
#: The time at which the tests begin.
T0 = 1_700_000_000.0
#: lifetime(10) = 2 * 10 + 1: small numbers that tell factor, floor and slack apart.
TIMING = Timing(factor=2, floor=0, slack=1, linger=30, ceiling=50)


def digest(*what):
    """A digest of words: the same words, the same digest (hex)."""
    return hashlib.sha256(repr(what).encode()).hexdigest()


def record(what, combination="3 1 1"):
    """The record of a key (usage 3, selector 1), of a certificate (selector 0) or of an issuer (usage 2)."""
    usage, selector, mtype = map(int, combination.split())
    hashed = digest("data", usage, selector, what)
    return Record(usage, selector, mtype, {0: "sha256:" + hashed, 1: hashed, 2: hashed + digest(what)}[mtype])


def chain(key, certificate=1, issuer="ca", algorithm="ecdsa"):
    """The chain of a key. Another certificate number is a renewal with the same key."""
    matches = {record(key, f"3 1 {mtype}") for mtype in range(3)}
    matches |= {record((key, certificate), f"3 0 {mtype}") for mtype in range(3)}
    matches |= {record(issuer, f"2 {selector} {mtype}") for selector in range(2) for mtype in range(3)}
    return Chain(digest("chain", key, certificate, issuer), digest("spki", key), algorithm, frozenset(matches))


def version(*records, ttl=10, path=(OWNER,)):
    """A version of the RRset at OWNER."""
    return Version(frozenset(records), ttl, path)


def server(number, outcome):
    """What one server said: a Version, or the name of another outcome."""
    told = {"name": f"ns{number}.example.test.", "address": f"192.0.2.{number}", "serial": None, "rrsig_expires": None,
            "detail": "", "version": None}
    if isinstance(outcome, Version):
        return {**told, "outcome": "version", "version": outcome.to_dict()}
    return {**told, "outcome": outcome}


def look(at, *outcomes, owner=OWNER, security="secure"):
    """One look; the servers are numbered from 1; None leaves a number out."""
    servers = [server(number, outcome) for number, outcome in enumerate(outcomes, 1) if outcome is not None]
    return {"owner": owner, "zone": "example.test.", "security": security, "taken_at": at, "servers": servers,
            "findings": []}


def seen(*looks, timing=TIMING, nothing_before=False):
    """The memory after some looks. What was before them is known to be nothing but the first of them."""
    name = Name(OWNER)
    for number, one in enumerate(looks):
        name = name.observe(one, timing, nothing_before)
        if not number and not nothing_before:
            name = name._replace(unknown_until=0.0)
    return name


def endpoint(number=1, name="mx1.example.test", algorithm="ecdsa", sni=""):
    """An endpoint dict."""
    return {"name": name, "address": f"198.51.100.{number}", "port": 25, "starttls": "smtp", "algorithm": algorithm,
            "sni": sni}


def outcome(at, presented, number=1, **where):
    """What one endpoint presented: a Chain, or the name of another outcome."""
    found = {"endpoint": endpoint(number, **where), "detail": "", "at": at, "chain": None}
    if isinstance(presented, Chain):
        return {**found, "outcome": "chain", "chain": presented.to_dict()}
    return {**found, "outcome": presented}
