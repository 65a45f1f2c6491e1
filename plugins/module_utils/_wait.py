# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The propagation wait: one look and its answer, and the words for what is being waited for.

Private to this collection. :func:`one_look` runs where dnspython is; :func:`progress` runs on the controller, whose
Python need not have it.
"""

from __future__ import annotations

from . import _dns
from ._errors import DnsError, LedgerError, RecordError
from ._memory import Name
from ._rollover import Answer, Chain, all_of, may_deploy, problems
from ._tlsa import Record
from ._waivers import at_your_word, waive_servers


def one_look(names, memories, candidates, timing, settings, clock, waivers=(), override=None, records=None):
    """Look at all names once and ask whether the candidates may be served, and the records are everywhere.

    :param names: owner names. :param memories: owner name to JSON of ``_memory.Name``.
    :param candidates: owner name to list of ``{"host", "chain", "replaced"}`` (JSON of chains),
        and ``further``, those of other algorithms that are to be served with it.
    :param timing: ``_rollover.Timing``. :param settings: ``_dns.Settings``.
    :param clock: gives the time (seconds since the epoch). :param waivers: tuple of ``_waivers.Waiver``.
    :param override: ``_waivers.Override`` or None: counts for what the candidates and the records ask.
    :param records: owner name to the records (text) that every version has to have that a sender may hold.
    :returns: dict with ``names``, ``answer``, ``answers`` (by owner name), ``base_domains``, ``now``.
    :raises DnsError: the resolver cannot be asked. :raises LedgerError: a memory or candidate that is none.
    :raises RecordError: a name that is not an owner name, candidates or records for a name that is not among the names,
        or a record that is none.
    """
    bases = _base_domains(names)
    memories = {_dns.canonical(owner): memory for owner, memory in memories.items()}
    candidates = {_dns.canonical(owner): _candidates(owner, found) for owner, found in candidates.items()}
    records = {_dns.canonical(owner): _records(owner, texts) for owner, texts in (records or {}).items()}
    strange = (set(candidates) | set(records)) - set(map(_dns.canonical, names))
    if strange:
        raise RecordError(
            f"Cannot answer for {', '.join(sorted(strange))}: there are candidates or records, but it is not looked at")
    memories = {owner: Name.from_dict(owner, memory) for owner, memory in memories.items() if memory}
    looks = _dns.look(names, settings, {owner: memory.leaving() for owner, memory in memories.items()})
    looks = {owner: waive_servers(look.to_dict(), waivers, clock()) for owner, look in looks.items()}
    seen, answers = [], {}
    now = clock()
    for owner in sorted(looks):
        memory = memories.get(owner, Name(owner)).observe(looks[owner], timing)
        seen.append({
            "name": owner, "look": looks[owner], "memory": memory.to_dict(), "states": states(memory, now, timing)})
        wrong = problems(memory, now, timing)
        asked = [at_your_word(may_deploy(new, memory, replaced, now, timing), override, now)
                 for new, replaced in candidates.get(owner, ())]
        asked = asked or [Answer("no", tuple(wrong)) if wrong else Answer("yes")]
        there = everywhere(memory, records.get(owner, frozenset()), now, timing)
        answers[owner] = all_of([*asked, at_your_word(there, override, now)])
    return {"names": seen, "answer": all_of(answers.values()).to_dict(),
            "answers": {owner: answer.to_dict() for owner, answer in answers.items()},
            "base_domains": _addressed(bases, settings), "now": now}


def everywhere(memory, records, now, timing):
    """Whether every version that a sender may hold has these records (``_rollover.Answer``).

    Before a combination takes the place of another one (RFC 7671 sections 8.2 and 8.3).

    :param memory: ``_memory.Name``. :param records: frozenset of ``_tlsa.Record``.
    """
    reasons = []
    for seen in memory.may_be_seen(now, timing):
        missing = sorted(map(str, records - seen.version.records))
        if missing:
            until = None if seen.gone_since is None else seen.gone_since + timing.lifetime(seen.version.ttl)
            where = f"may be in caches for {max(0, until - now):.0f} s more" if until is not None else (
                "is still served by " + ", ".join(sorted(seen.servers)) if seen.servers else "is not known to be gone")
            reasons.append({
                "code": "record-missing", "owner": memory.owner, "until": until, "version": seen.version.to_dict(),
                "servers": sorted(seen.servers),
                "text": f"{memory.owner}: a version without {', '.join(text[:22] for text in missing)} {where}"})
    times = [reason["until"] for reason in reasons]
    return Answer("no", tuple(reasons), None if None in times else max(times)) if reasons else Answer("yes")


def _records(owner, texts):
    try:
        return frozenset(Record.parse(text).brief() for text in texts)
    except TypeError as exc:
        raise RecordError(f"Cannot read the records for {owner!r:.200}: expected a list of texts") from exc


def _base_domains(names):
    found = set()
    for name in names:
        port, protocol, base = ([*_dns.canonical(name).split(".", 2), "", ""])[:3]
        if not (port.startswith("_") and port[1:].isdigit() and protocol.startswith("_") and base):
            raise RecordError(f"Cannot look at {name!r}: expected an owner name such as _25._tcp.mx1.example.org")
        found.add(base.rstrip("."))
    return sorted(found)


def _candidates(owner, found):
    try:
        return [(tuple(map(Chain.from_dict, [one["chain"], *one.get("further", ())])),
                 [Chain.from_dict(chain) for chain in one["replaced"]]) for one in found]
    except (AttributeError, KeyError, TypeError) as exc:
        raise LedgerError(
            f"Cannot read the candidates for {owner!r}: expected a list of dictionaries with chain and replaced") from exc


def _addressed(bases, settings):
    # A host without an address is named by whoever needs one; here it must not hide what was seen.
    found = _dns.addresses_of(bases, settings)
    return [
        {"name": base, "addresses": [], "ttl": 0, "problem": one.message} if isinstance(one, DnsError)
        else {"name": base, "addresses": list(one.addresses), "ttl": one.ttl, "problem": ""}
        for base, one in found.items()
    ]


def states(memory, now, timing):
    """The state of every record that may be seen, by its text (dict)."""
    records = sorted({record for seen in memory.versions for record in seen.version.records})
    return {str(record): memory.state(record, now, timing) for record in records}


def progress(result):
    """One line for a person: what is being waited for, and for how long at least (str)."""
    answer = result["answer"]
    if answer["yes"]:
        return "every server has it and no cache holds an older version"
    texts = list(dict.fromkeys(reason["text"] for reason in answer["reasons"]))
    more = f" (and {len(texts) - 3} more)" if len(texts) > 3 else ""
    left = ""
    if answer["safe_at"] is not None:
        left = f"about {max(0, answer['safe_at'] - result['now']):.0f} s left: "
    return left + "; ".join(texts[:3]) + more


def standing(result):
    """What stands in the way, without the figures that change with every look (list): equal means nothing happened."""
    return [
        [reason["code"], reason.get("owner"), reason.get("version"), reason.get("servers"), reason.get("server")]
        for reason in result["answer"]["reasons"]
    ]


def last_words(result):
    """What each server said last, a line each (list of str), for the failure of a wait."""
    lines = []
    for name in result.get("names") or ():
        for server in name["look"]["servers"]:
            version = server.get("version")
            said = server["outcome"] + (f" ({server['detail']})" if server.get("detail") else "")
            if version is not None:
                said = ("serves " + ", ".join(version["records"]) if version["records"] else "serves no record")
                said += f", TTL {version['ttl']}"
            lines.append(f"{name['name']} {server['name'] or 'server'} {server['address']}: {said}")
    return lines
