# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of certbot's lineages is whose: for each key algorithm, the current one and the one that takes turns with it.

Pure. Private to this collection.

Two lineages take turns for each algorithm. The first algorithm of a host has those without a suffix (``NAME``, ``NAME-2``),
so that a lineage that is there is adopted whatever its key is; another one has its own (``NAME-rsa``, ``NAME-rsa-2``), because
all keys change in one run, and then each needs its next certificate at the same time. What algorithm a lineage has is
read from its key, never from its name.

A *key* here is ``{"lineage", "spki", "spki512", "algorithm", "made"}``: a lineage that exists, the SHA-256 and SHA-512
digests of its key, its algorithm, and the time of its file (epoch seconds). A *host* is that of ``_plan``.
"""

from __future__ import annotations

from ._errors import DaneError
from ._ledger import Ledger
from ._operation import COMPROMISE, standby_lineage

#: What certbot makes and handshakes tell apart. A host that has nothing yet gets the first.
ALGORITHMS = ("ecdsa", "rsa")


class LineageError(DaneError):
    """A name or an algorithm that cannot be used."""


def directories(name):
    """The names of all lineages that a host may have, those without a suffix first (list of str)."""
    return [slot + turn for slot in (name, *(f"{name}-{algorithm}" for algorithm in ALGORITHMS)) for turn in ("", "-2")]


def impossible_types(wanted):
    """One sentence for what is wrong with the option ``dane_key_types`` (list of str)."""
    given = wanted if isinstance(wanted, (list, tuple)) else [wanted]
    if given == list(wanted) and set(map(str, given)) <= set(ALGORITHMS) and len(set(given)) == len(given):
        return []
    return [f"dane_key_types: Cannot use {wanted!r:.100}: expected a list of {' and '.join(ALGORITHMS)}, each at most once; "
            "empty for what is served now"]


def served(keys, host):
    """The algorithms that a host serves under DANE now, in the order of its chain file (list of str).

    A key counts when certbot has it or a record is published for it: the self-signed one that a mail server was
    installed with says nothing about what its operator wants.

    :param keys: keys of lineages. :param host: with ``ledger`` and ``file_keys``.
    """
    ledger, file_keys = Ledger.from_dict(host["ledger"]), host["file_keys"]
    published = {record for name in ledger.names for version in name.served() for record in version.records}
    recorded = {seen.chain.spki for seen in ledger.chains.chains if seen.chain.matches & published}
    ours = recorded | {key["spki"] for key in keys}
    presented = {chain.spki: chain.algorithm for chain in ledger.chains.presented()}
    choices = (
        [key["algorithm"] for key in file_keys if key["spki"] in ours],
        [key["algorithm"] for key in file_keys] if ledger.published else [],
        # Before the first run there is no such file; what others present at a shared name may count as well.
        [] if file_keys else sorted(presented[spki] for spki in presented if spki in recorded),
        [key["algorithm"] for key in keys if key["spki"] in presented][:1],
        [key["algorithm"] for key in keys if key["spki"] not in ledger.retired][:1],
    )
    found = (_known(choice) for choice in choices)
    return next(filter(None, found), list(ALGORITHMS[:1]))


def _known(algorithms):
    return [one for one in dict.fromkeys(algorithms) if one in ALGORITHMS]


def of_algorithms(keys, name, wanted, host):
    """The lineages of each algorithm.

    :param name: the option ``dane_certbot_name``. :param wanted: algorithms (list); the rest as for :func:`served`.
    :returns: list of dicts, in the order of the chain file, what is new behind it: ``algorithm``; ``current``: the lineage
        whose key is in the chain file, else one whose key is presented, else the first whose key was never retired, else
        empty; ``fresh``: one whose key was never served, else empty; ``standby``: one whose key was never served and is
        published, else empty, also where it is the current one because its algorithm is yet to be served; ``other``: the
        one that takes turns with the current one; ``other_exists``: whether that exists and gets another key.
    """
    ledger = Ledger.from_dict(host["ledger"])
    presented = {chain.spki for chain in ledger.chains.presented()}
    in_file = [key["spki"] for key in host["file_keys"]]
    there = {key["lineage"]: key for key in keys}
    ordered = dict.fromkeys([key["algorithm"] for key in host["file_keys"] if key["algorithm"] in wanted] + list(wanted))
    found = []
    for algorithm in ordered:
        mine = [key for key in keys if key["algorithm"] == algorithm]
        current = _first([key for key in mine if key["spki"] in in_file]
                         + [key for key in mine if key["spki"] in presented]
                         + [key for key in mine if key["spki"] not in ledger.retired])
        fresh = _first([key for key in mine if key["lineage"] != current
                        and key["spki"] not in ledger.retired | presented | set(in_file)])
        standby = standby_lineage(mine, host)
        # Where it is the current one for want of another, and a key of its algorithm is served, that key's lineage is lost.
        added = algorithm not in [key["algorithm"] for key in host["file_keys"]]
        other = _other(name, algorithm, current, there, in_file, next(iter(ordered)))
        found.append({"algorithm": algorithm, "current": current, "fresh": fresh,
                      "standby": "" if standby == current and added else standby, "other": other,
                      "other_exists": other in there})
    return found


def there(names, found, directory):
    """The lineages that have a key: ``{"name", "made"}`` for each, with the time at which its key was made (epoch; list).

    :param names: of the lineages that may be there. :param found: a line for each file, ``<time> <path>``, with the time of
        what a symbolic link leads to: certbot makes new links at each renewal, and only a new key is a new file.
    :param directory: of the lineages.
    """
    times = {path: float(time) for time, _blank, path in (line.partition(" ") for line in found)}
    paths = {name: f"{directory}/{name}/privkey.pem" for name in names}
    return [{"name": name, "made": times[path]} for name, path in paths.items() if path in times]


def _first(keys):
    return keys[0]["lineage"] if keys else ""


def _other(name, algorithm, current, there, in_file, first):
    bare = (there.get(name) or there.get(name + "-2") or {"algorithm": first})["algorithm"]
    slots = [name] if algorithm == bare else []
    for slot in [*slots, f"{name}-{algorithm}"]:
        for lineage in (slot, slot + "-2"):
            # Somebody may have put a key that is served into the other one.
            if lineage != current and (lineage not in there or there[lineage]["spki"] not in in_file):
                return lineage
    raise LineageError(f"Cannot make another {algorithm} key: the keys of all lineages of that name are served, expected two "
                       f"of {name}-{algorithm} and {name}-{algorithm}-2 at most")


def following(units, keys, host, given=False):
    """For each algorithm the lineage that a rekey is to serve: the list ``units`` with ``next``, empty when it is to be made.

    An operation notes one key. The chain file is replaced as a whole, so when that key is in it, all of them are. Before
    that, the key of another algorithm is its standby, but after a compromise, when whoever was on the host may have that as
    well; else the one that was made for this operation, by a run that died before it was served. An older key is no new
    one: it was abandoned, or it was served and the ledger that knew is lost.

    :param units: what :func:`of_algorithms` gave. :param host: with ``operation``, which is open. :param given: the operator
        brings a key: no standby is taken for it.
    """
    operation = host["operation"]
    target = operation["target_spki"]
    deployed = bool(target) and target in [key["spki"] for key in host["file_keys"]]
    spkis = {key["lineage"]: key for key in keys}
    with_target = [key["lineage"] for key in keys if target and key["spki"] == target]
    algorithm = [spkis[lineage]["algorithm"] for lineage in with_target][:1]
    found = []
    for unit in units:
        fresh = spkis.get(unit["fresh"])
        made = unit["fresh"] if fresh and fresh["made"] >= operation["started"] else ""
        if deployed:
            lineage = unit["current"]
        elif [unit["algorithm"]] == algorithm:
            lineage = with_target[0]
        elif target and not algorithm:
            lineage = ""
        else:
            lineage = not given and operation["kind"] != COMPROMISE and unit["standby"] or made
        found.append({**unit, "next": lineage})
    return found


def parts(units, which):
    """What a chain file is made of: ``{"lineage", "exists"}`` for each algorithm (list).

    :param units: what :func:`of_algorithms` or :func:`following` gave. :param which: ``current`` or ``next``; where that is
        empty, it is the other lineage that was, or would be, obtained.
    """
    return [{"lineage": unit[which] or unit["other"], "exists": bool(unit[which])} for unit in units]


def standbys(units, used, make):
    """As :func:`parts`, of the standby keys that there are, and those that would be made (list).

    :param used: lineages that are about to be served (list). :param make: whether one is made where there is none.
    """
    found = []
    for unit in units:
        there = unit["standby"] if unit["standby"] not in used else ""
        # In check mode there may be none yet, and the first would be the one to be served.
        ahead = unit["other"] + ("" if unit["current"] else "-2")
        if there or make:
            found.append({"lineage": there or ahead, "exists": bool(there), "algorithm": unit["algorithm"],
                          "other_exists": unit["other_exists"]})
    return found


def chain_files(found, directory):
    """The files of :func:`parts` in the directory of the lineages, as options of chain_assemble (list of dict)."""
    live = [f"{directory}/{part['lineage']}/" for part in found]
    return [{"privatekey_path": path + "privkey.pem", "certificate_path": path + "cert.pem", "issuers": [path + "chain.pem"]}
            for path in live]
