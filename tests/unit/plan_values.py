# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts as the roles build them, and what a plan says, for the tests of what a batch wants."""

from __future__ import annotations

from ansible_collections.mailops.dane.plugins.module_utils._ledger import Ledger
from ansible_collections.mailops.dane.plugins.module_utils._memory import Chains, Name
from rollover_values import OWNER, T0, TIMING, chain, look, outcome, record, version

OTHER = "_25._tcp.mx2.example.test."
A, B, C, D = (chain(key) for key in "ABCD")
EMPTY, ONLY_A = version(ttl=60), version(record("A"))
BOTH = version(record("A"), record("B"))


def host(number=1, serves=A, served=(ONLY_A,), ours=(), candidate=None, operation=None, history=(), owner=OWNER,
         **more):
    """The dict that the roles build. `served`: what each server gives. `history`: earlier looks at the endpoint."""
    chains = Chains()
    for at, one in [*history, (T0, serves)]:
        found = outcome(at, one, number, name=owner.split(".", 2)[2].rstrip("."))
        chains = chains.observe([found], TIMING, nothing_before=True)
    ledger = Ledger(chains=chains).with_name(Name(owner).observe(look(T0, *served, owner=owner), TIMING))
    ledger = ledger.with_published(owner, ours)
    told = ledger.to_dict()
    told["operation"] = None if operation is None else {
        "id": "1", "kind": "rekey", "target_spki": operation if isinstance(operation, str) else operation.spki,
        "started": T0}
    return {"host": f"mx{number}", "active": True, "owners": [owner], "combinations": ["3 1 1"], "ttl": 10,
            "timing": TIMING._asdict(), "ledger": told, "candidate": candidate and candidate.to_dict(),
            "file_spki": getattr(serves, "spki", ""), **more}


def rdata(plan, owner=OWNER):
    """The records in a plan for one owner name (set of text)."""
    return {text for entry in plan["records"] if entry["name"] == owner for text in entry["rdata"]}


def texts(*records):
    return {str(one) for one in records}


def elsewhere(of):
    """What the module standby_key says of a key: there is no certificate yet."""
    told = {"id": of.spki, "spki": of.spki, "algorithm": of.algorithm, "issuer_records": [],
            "matches": sorted(str(one) for one in of.matches if (one.usage, one.selector) == (3, 1))}
    return {"path": f"/standby/{of.spki[:16]}", "algorithm": of.algorithm, "spki": of.spki, "chain": told}
