# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts begin a rekey or go on with one, and why: operations that are open, keys that are due, keys that somebody else
may have, keys that lie ready; and whether it is worth asking again right away.

Pure; the time is a parameter. Private to this collection. A *host* is the dict that ``_plan`` describes.
"""

from __future__ import annotations

import datetime
import hashlib

from ._errors import PlanError
from ._ledger import Ledger
from ._plan import file_spkis, memory
from ._rollover import Chain, Timing
from ._tlsa import DANE_EE, SPKI, Record


# The kind of an operation that trusts no key that lay on the host before it began.
COMPROMISE = "compromise"
# Where a standby key may be kept, other than on its host.
OFFLINE = "offline"
# Seconds for which it is worth asking again: a view of the DNS is good for a minute.
SOON = 30


def decide(hosts, mode="auto", now=None, reason="routine"):
    """Which hosts take part in a rekey, and with which operation.

    A run that finds an operation open completes it and starts none, so that a plain re-run after an interruption does
    exactly what is left.

    :param hosts: list of host dicts.
    :param mode: ``auto``; ``new`` begins an operation on the idle hosts as well; ``abandon`` begins one on all; ``due``
        begins one on those idle hosts whose key is due (:func:`due_at`), whatever is open on others.
    :param now: the time (epoch seconds), for ``due``.
    :param reason: ``compromise``: somebody else may have the keys on these hosts. An operation that is open for another
        reason is then given up, because the key that it is about lies there, too.
    :returns: dict host name to the open operation (JSON), ``"new"``, or ``None``.
    :raises PlanError: a host that was never enabled, or a compromise that is to wait until keys are due.
    """
    if reason == COMPROMISE and mode == "due":
        raise PlanError("Cannot wait for due keys when keys are compromised: run without dane_rekey=due, and with -l for the "
                        "hosts concerned")
    operations = {host["host"]: None if gives_up(host, mode, reason) else host["ledger"]["operation"] for host in hosts}
    for host in hosts:
        ledger = Ledger.from_dict(host["ledger"])
        missing = [owner for owner in host["owners"] if not ledger.published_at(owner)]
        if missing:
            raise PlanError(
                f"Cannot rekey {host['host']}: no record at {', '.join(missing)} is known to be ours; run enable.yml first")
    if mode == "due":
        begin = {host["host"] for host in hosts if is_due(host, now)}
    else:
        begin = set(operations) if mode != "auto" or not any(operations.values()) else set()
    return {name: operation or ("new" if name in begin else None) for name, operation in operations.items()}


def gives_up(host, mode, reason):
    """Whether an operation that is open on a host is given up (bool), by the arguments of :func:`decide`."""
    operation = host["ledger"]["operation"]
    return mode == "abandon" or (reason == COMPROMISE and bool(operation) and operation["kind"] != COMPROMISE)


def burnt(host, reason, lineage_keys):
    """The keys of a host that are never to be served or published from now on, though none of them was served yet.

    That of the operation that is given up; and when the host is compromised, whatever lies ready there. What is served goes
    on being served until its successor is in every cache: else nobody who verifies could deliver. It is retired then.

    :param lineage_keys: the keys of the host's lineages (list of digests).
    :returns: sorted list of digests, for the ledger to retire.
    """
    operation = host["ledger"]["operation"] or {}
    lying_there = {operation.get("target_spki", ""), *(lineage_keys if reason == COMPROMISE else ())}
    presented = {chain.spki for chain in Ledger.from_dict(host["ledger"]).chains.presented()}
    return sorted(lying_there - presented - {*file_spkis(host), ""})


def expected_wait(host, hosts):
    """How long a new key of a host has to wait for caches at least, from when every server has its record (seconds)."""
    timing = Timing(**host["timing"])
    ttls = [version.ttl for owner in host["owners"] for version in memory(hosts, owner).served()]
    return timing.lifetime(max([host["ttl"], *ttls]))


def warning(hosts, decision, reason):
    """What is said before the keys of compromised hosts are changed: a sentence for each host (list of str).

    :param decision: what :func:`decide` gave. :param reason: as there.
    """
    told = []
    for host in hosts:
        operation = decision[host["host"]]
        kind = reason if operation == "new" else (operation or {}).get("kind")
        if kind != COMPROMISE:
            continue
        seconds = expected_wait(host, hosts)
        wait = f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
        told.append(
            f"{host['host']}: key {' and '.join(spki[:16] for spki in file_spkis(host)) or 'unknown'} is compromised, and so "
            f"is every key that lies ready on the host. {_successor(host)}, and it is served as soon as its record is in every "
            f"cache: {wait} after the last server has it at the earliest{_offline_words(host)}. Until then the compromised "
            "key is "
            "served, because nobody who verifies could deliver otherwise. Whoever holds it can deceive senders until "
            f"{until(host)}, whatever we withdraw: the records are signed until then, and can be replayed")
    return sorted(told)


def _successor(host):
    return "That in dane_csr_privatekey takes its place" if host.get("key_given") else "A new one is made"


def _offline_words(host):
    if host.get("standby_store") != OFFLINE:
        return ""
    if host.get("key_given"):
        return ", or at once if it is the standby key that was kept offline"
    return " (the standby key that is kept offline needs no wait: bring it by dane_csr_privatekey)"


def until(host):
    """When the last signature ends that was seen over the records of a host (UTC, ``2026-12-31 23:59``; str)."""
    ends = host.get("replay_until")
    if not ends:
        return "a time that is not known"
    return f"{datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=ends):%Y-%m-%d %H:%M} UTC"


def standby_lineage(keys, host):
    """The lineage with the standby key of a host (str), empty when there is none.

    It is one that was never served, and whose record is published: by us, or, should the ledger be lost, by whoever signs
    the zone. The mere age of a key says nothing: it may have been served before the ledger began.

    :param keys: the lineages that exist: ``{"lineage", "spki", "spki512", "made"}``.
    """
    published, used = _published(host), used_keys(host)
    for key in keys:
        on_key = {Record(DANE_EE, SPKI, 1, key["spki"]), Record(DANE_EE, SPKI, 2, key["spki512"])}
        if key["spki"] not in used and on_key & published:
            return key["lineage"]
    return ""


def _published(host):
    ledger = Ledger.from_dict(host["ledger"])
    return {record for owner in host["owners"] for records in (
        ledger.published_at(owner), *(version.records for version in ledger.name(owner).served())) for record in records}


def used_keys(host):
    """The keys that are no standby: they are, or were, served by a host, or never will be (sorted list of digests)."""
    ledger = Ledger.from_dict(host["ledger"])
    return sorted(ledger.retired | {chain.spki for chain in ledger.chains.presented()} | set(file_spkis(host)))


def not_exported(kept, host):
    """Of the standby keys that are kept elsewhere, those that may not have got there yet: no record of them is published,
    which comes after. What its keeper has put away later is not fetched once more.

    :param kept: what the module standby_key returns (list of dict). :returns: those of them.
    """
    published = _published(host)
    return [key for key in kept if not Chain.from_dict(key["chain"]).matches & published]


def key_lifetime(name, max_age, spread):
    """After which time a key of this host is due: ``max_age`` less a part of the spread that is the host's own.

    The part comes from the host's name alone, so it is the same in every run and on every controller, and hosts that
    were enabled on one day do not all roll on one day a year later. It makes the life of a key shorter, never longer:
    no key is to become older than the operator said.

    :param name: the host's name in the inventory. :param max_age: in seconds. :param spread: per cent of it.
    :returns: seconds (int).
    """
    part = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2.0 ** 32
    return int(max_age - max_age * spread / 100 * part)


def due_at(host):
    """When the served key of a host is due (epoch seconds), or None: the age of the key is not known."""
    if host.get("key_since") is None:
        return None
    return host["key_since"] + key_lifetime(host["host"], host["key_max_age"], host["key_spread"])


def is_due(host, now):
    """Whether the served key of a host is due.

    A key whose age is not known is not: else a host whose age can never be read would roll with every run, until its
    CA refuses. :func:`schedule` names it instead, and ``dane_rekey=new`` gives it a key whose age is known.
    """
    due = due_at(host)
    return due is not None and now >= due


def schedule(hosts, mode, now):
    """One sentence for each host about when its key is due, the soonest first (list of str); none in another mode."""
    told = []
    for host in hosts if mode == "due" else ():
        operation, due = host["ledger"]["operation"], due_at(host)
        key = f"{host['host']}: key {(host.get('file_spki') or 'unknown')[:16]}"
        if operation:
            told.append((0, f"{host['host']}: {operation['kind']} {operation['id']} is open and goes on"))
        elif due is None:
            told.append((1, f"{key}: no certificate says how old it is, so it does not become due by itself. See that the "
                         f"chain file can be read, or give the host a new key: -l {host['host']} -e dane_rekey=new"))
        else:
            since = f"known since {day(host['key_since'])}"
            told.append((due, f"{key}, {since}, is due since {day(due)}" if now >= due else
                         f"{key}, {since}, is not due before {day(due)}, in {(due - now) / 86400:.0f} days"))
    return [text for _when, text in sorted(told)]


def day(when):
    """The day (UTC, ``2026-12-31``) of a time in epoch seconds (str)."""
    return f"{datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=when):%Y-%m-%d}"


def soon(result, now):
    """Whether a deployment was refused for no more than ``SOON`` seconds (bool): then it is worth asking again.

    :param result: of the module chain_deploy. :param now: epoch seconds.
    """
    safe_at = (result.get("answer") or {}).get("safe_at")
    return bool(result.get("failed")) and safe_at is not None and safe_at <= now + SOON
