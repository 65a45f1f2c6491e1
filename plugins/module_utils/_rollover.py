# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two questions of a TLSA rollover. Pure: no I/O, no clock, standard library only. Private to this collection.

RFC 7671 section 8 asks that for every parameter combination in a TLSA RRset at least one record match the chain that
the server presents. A rollover has two sides that change at different times, and a sender may combine any RRset that
it may still hold with any chain that it may still meet. So there is one rule:

    Whatever changes on one side must suit everything that may still be seen on the other.

and two questions: :func:`may_publish` for a change of the RRset, :func:`may_deploy` for a change of the chain. All the
rest of this module is bookkeeping of what may still be seen:

* DNS: a *version* of the RRset may be seen while any authoritative server gives it, and then for its *lifetime*, the
  time that caches may keep it (:class:`Timing`). :class:`Name` is that memory for one owner name.
* TLS: a *chain* may be seen while any endpoint presents it, and then for *linger*, because processes that were
  started before the reload still serve it. :class:`Chains` is that memory for one host.

Both memories have the same three moves: a look goes in (``observe``), something that is about to be done goes in
(``intend``), and the question goes out (``may_be_seen``). All of them are values: every move returns a new one.

Times are seconds since the epoch (float) and come from the caller; durations are seconds (int).
"""

from __future__ import annotations

import datetime
import hashlib
import math
from typing import Dict, FrozenSet, NamedTuple, Optional, Tuple

from ._errors import LedgerError, RecordError, WaiverError
from ._tlsa import DANE_EE, SPKI, Record, unusable_reason

LEDGER_FORMAT = 1
# A look is evidence of the present only while it is young: the doors refuse an older one.
VIEW_MAX_AGE = 60
# On a host that cannot see the DNS, a renewal of the same key may be judged by a look that is no older than this.
LOOK_MAX_AGE = 7 * 86400
# A server that answers, but not with authority for the zone, is lame only after this many looks over this time:
# before, it may just be starting.
LAME_LOOKS = 3
LAME_SECONDS = 600

HIDDEN, RUMOURED, OMNIPRESENT, UNRETENTIVE = "HIDDEN", "RUMOURED", "OMNIPRESENT", "UNRETENTIVE"


class Timing(NamedTuple):
    """How long things may still be seen after they went. All in seconds but ``factor``.

    ``factor``: RFC 7671 section 8.1 says two TTLs or more. ``floor``: for resolvers that raise short TTLs. ``slack``:
    senders' own caches and the time between lookup and handshake. ``linger``: processes that outlive a reload.
    ``ceiling``: how long a version from before the ledger's first look may be in caches at least: nobody knows its TTL.
    """

    factor: int = 2
    floor: int = 900
    slack: int = 120
    linger: int = 300
    ceiling: int = 86400

    def lifetime(self, ttl):
        """How long caches may hold what was served with this TTL (seconds, RFC 7671 section 8.1)."""
        return max(self.factor * ttl, self.floor) + self.slack


class Version(NamedTuple):
    """What a lookup of an owner name gives at one server at one time; no records: nothing is there.

    ``records`` are brief. ``ttl`` is the sum of the TTLs along the path, because a cached CNAME may lead to a late
    lookup of its target; for an empty version it is the negative TTL (RFC 2308 section 5, RFC 8198).
    """

    records: FrozenSet[Record]
    ttl: int
    path: Tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form ``{"records": [text], "ttl": seconds, "path": [names]}``.

        :raises LedgerError: it is not that.
        """
        try:
            return cls(_records(data["records"]), _seconds(data["ttl"]), _texts(data.get("path") or ()))
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot read a version of an RRset: {_cause(exc)}") from exc

    def to_dict(self):
        """The JSON form."""
        return {"records": sorted(map(str, self.records)), "ttl": self.ttl, "path": list(self.path)}

    @property
    def id(self):
        """A short name for the version, the same wherever it is seen (str)."""
        return hashlib.sha256(repr((sorted(map(str, self.records)), self.ttl, self.path)).encode()).hexdigest()[:16]

    @property
    def usable(self):
        """The records that senders heed for SMTP (RFC 7672 section 3.1.3)."""
        return frozenset(record for record in self.records if not unusable_reason(record))


class Chain(NamedTuple):
    """What an endpoint presents, as far as the questions need it: the brief records that it matches."""

    id: str
    spki: str
    algorithm: str
    matches: FrozenSet[Record]

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form that ``_chain.describe`` makes; other keys in it are not needed here.

        :raises LedgerError: it is not that.
        """
        try:
            return cls(str(data["id"]), str(data["spki"]), str(data["algorithm"]), _records(data["matches"]))
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot read a chain: {_cause(exc)}") from exc

    def to_dict(self):
        """The JSON form."""
        return {
            "id": self.id, "spki": self.spki, "algorithm": self.algorithm, "matches": sorted(map(str, self.matches)),
        }


# ---------------------------------------------------------------------------------------------------- what suits what


def matched(chain, version):
    """The usable combinations of the version in which some record matches the chain (RFC 7671 section 8)."""
    return {record.combination for record in version.usable if record in chain.matches}


def unmatched(chain, version):
    """The other usable combinations: a sender that picks one of these refuses the chain (RFC 7671 section 9)."""
    return {record.combination for record in version.usable} - matched(chain, version)


def fine(chain, version, empty_is_fine=False):
    """Whether a sender that holds this version accepts this chain, whichever combination it picks.

    Without usable records there is no DANE: an outage to mandatory senders and a downgrade to others, so that is fine
    only while a name is being enabled or retired (``empty_is_fine``).
    """
    if not version.usable:
        return empty_is_fine
    return not unmatched(chain, version)


class Answer(NamedTuple):
    """The answer to one of the two questions.

    ``verdict``: ``yes``; ``no worse`` (yes, but what is there now is not fine to begin with); ``no``.
    ``reasons``: dicts with ``text`` and machine-readable keys (``code``, ``owner``, ``chain``, ``version``, ...).
    ``safe_at``: with ``no``, the earliest time at which it could become yes, or None while something that stands in
    the way is still being served. ``safe_at`` minus now IS the propagation wait.
    """

    verdict: str
    reasons: Tuple[dict, ...] = ()
    safe_at: Optional[float] = None

    @property
    def yes(self):
        """Whether the step may be taken."""
        return self.verdict != "no"

    def to_dict(self):
        """The JSON form."""
        return {
            "verdict": self.verdict, "yes": self.yes, "reasons": list(self.reasons), "safe_at": self.safe_at,
            "text": "; ".join(reason["text"] for reason in self.reasons),
        }


def all_of(answers):
    """One answer for many names: yes when all are, with every reason and the latest ``safe_at``."""
    answers = list(answers)
    reasons = tuple(reason for answer in answers for reason in answer.reasons)
    refused = [answer for answer in answers if not answer.yes]
    if refused:
        times = [answer.safe_at for answer in refused]
        return Answer("no", reasons, None if None in times else max(times))
    return Answer("no worse" if any(answer.verdict == "no worse" for answer in answers) else "yes", reasons)


def may_publish(new, chains, served, owner="", empty_is_fine=False, chains_known=True):
    """May the RRset at this owner name become ``new`` now? (RFC 7671 section 8)

    :param new: the :class:`Version` to be.
    :param chains: every :class:`Chain` that may be seen under the name.
    :param served: the versions that servers give now.
    :param empty_is_fine: the name is being enabled or retired.
    :param chains_known: whether a complete look at the endpoints stands behind ``chains``.
    :returns: :class:`Answer`; ``safe_at`` is always None here: what must go first is a chain, and the end of its
        linger is known to :class:`Chains`.
    """
    served = list(served)
    if not new.usable and not empty_is_fine and any(version.usable for version in served):
        return Answer("no", ({"code": "empty", "owner": owner, "text": (
            f"{owner} would be left without a usable record: an outage to mandatory senders, a downgrade to others")},))
    if served and all(_adds_alternatives(new, version) for version in served):
        return Answer("yes")
    chains = list(chains)
    if chains_known and not chains and new.usable:
        return Answer("no", ({"code": "no-chain", "owner": owner, "text": (
            f"{owner}: no endpoint presents a chain, so no record can match one")},))
    if not chains_known:
        return Answer("no", ({"code": "chains-unknown", "owner": owner, "text": (
            f"{owner}: not every endpoint has been looked at, so what this change must match is not known")},))
    verdict, reasons = "yes", []
    for chain in chains:
        if fine(chain, new, empty_is_fine):
            continue
        if served and all(_publishing_is_no_worse(chain, new, version) for version in served):
            verdict = "no worse"
            continue
        missing = ", ".join(str(combination) for combination in sorted(unmatched(chain, new))) or "any combination"
        reasons.append({"code": "chain-unmatched", "owner": owner, "chain": chain.id, "spki": chain.spki, "text": (
            f"{owner}: the chain of key {chain.spki[:16]} may still be seen, and the new RRset would not match it "
            f"in {missing}")})
    return Answer("no", tuple(reasons)) if reasons else Answer(verdict)


def _adds_alternatives(new, old):
    # More records in the same combinations: whatever matched before matches still, for every chain, known or not.
    return new.usable >= old.usable and bool(old.usable) and (
        {record.combination for record in new.usable} == {record.combination for record in old.usable})


def _publishing_is_no_worse(chain, new, old):
    return unmatched(chain, new) <= unmatched(chain, old) and matched(chain, old) <= matched(chain, new)


def may_deploy(new, name, replaced, now, timing, empty_is_fine=False, max_age=VIEW_MAX_AGE):
    """May ``new`` be presented under this owner name from now on? (RFC 7671 section 8.1, RFC 7672 section 4)

    :param new: the :class:`Chain` to be.
    :param name: the :class:`Name` memory of the owner name, a fresh look already in it.
    :param replaced: the chains that it replaces: what senders meet today.
    :param now: the time (seconds since the epoch).
    :param timing: :class:`Timing`.
    :param empty_is_fine: the name is being enabled or retired.
    :param max_age: how old the last look may be (seconds) for a chain with the same key and issuers as those that it
        replaces. For any other it is ``VIEW_MAX_AGE``, whatever is given here.
    :returns: :class:`Answer`.
    """
    reasons, times, verdict = [], [], "yes"
    replaced = list(replaced)
    renewal = bool(replaced) and all(_same_but_leaf(old, new) for old in replaced)
    for problem in name.problems(now, max_age if renewal else VIEW_MAX_AGE):
        reasons.append(problem)
        times.append(None)
    for seen in name.may_be_seen(now, timing):
        if fine(new, seen.version, empty_is_fine):
            continue
        if replaced and all(matched(old, seen.version) <= matched(new, seen.version) for old in replaced):
            verdict = "no worse"
            continue
        until = None if seen.gone_since is None else seen.gone_since + timing.lifetime(seen.version.ttl)
        missing = ", ".join(str(combination) for combination in sorted(unmatched(new, seen.version)))
        if until is not None:
            where = f"may be in caches for {max(0, until - now):.0f} s more"
        else:
            where = "is still served by " + ", ".join(sorted(seen.servers)) if seen.servers else "is not known to be gone"
        lacks = f"does not match this chain in {missing}" if missing else "has no usable record"
        reasons.append({
            "code": "version-unmatched", "owner": name.owner, "version": seen.version.to_dict(), "until": until,
            "servers": sorted(seen.servers), "text": f"{name.owner}: the version {_show(seen.version)} {where} and {lacks}",
        })
        times.append(until)
    if now < name.unknown_until and not renewal:
        reasons.append({"code": "history-unknown", "owner": name.owner, "until": name.unknown_until, "text": (
            f"{name.owner}: what was published before this ledger began may be in caches for "
            f"{name.unknown_until - now:.0f} s more")})
        times.append(name.unknown_until)
    if reasons:
        return Answer("no", tuple(reasons), None if None in times else max(times))
    return Answer(verdict)


def _same_but_leaf(old, new):
    # A renewal: same key, same issuers. Only records over the whole leaf (3 0 x) could tell the two apart.
    keep = {record for record in old.matches if (record.usage, record.selector) == (DANE_EE, SPKI) or record.usage != DANE_EE}
    return keep <= new.matches


def _show(version):
    if not version.records:
        return "without records"
    return "{" + ", ".join(f"{r.combination} {r.data[:16]}" for r in sorted(version.records)) + f"}} (TTL {version.ttl})"


# -------------------------------------------------------------------------------------------- memory of the DNS side


class SeenVersion(NamedTuple):
    """A version, who gave it last, and since when nobody has (None: still there)."""

    version: Version
    servers: FrozenSet[str]
    gone_since: Optional[float]


class Name(NamedTuple):
    """What may be seen in the DNS at one owner name.

    ``lame``: servers that answer without authority: address to (first such look, number of looks).
    ``unanswered``: servers of the last look of which nothing was ever seen. ``unknown_until``: until then a version
    from before the first look may be in caches. ``security``: as the last look found it.
    """

    owner: str
    versions: Tuple[SeenVersion, ...] = ()
    lame: Tuple[Tuple[str, float, int], ...] = ()
    unanswered: Tuple[str, ...] = ()
    looked_at: Optional[float] = None
    unknown_until: float = 0.0
    security: str = ""

    def observe(self, look, timing, nothing_before=False):
        """Take in one look at all servers of the name.

        *Gone since* is the time of the last answer of the first complete look in which nobody had the version: before
        that, somebody may have handed it out. A silent server keeps what it gave last, and may meanwhile give what
        the others gave: a look with one is not complete, and nothing is declared gone. One that was never seen to
        give anything stands in the way of every decision, and what it gave before it is first heard is not known.

        :param look: the JSON form of ``_dns.look`` for this owner name.
        :param timing: :class:`Timing`, for the first look: what was before is not known.
        :param nothing_before: the operator enables the name: an RRset that is empty everywhere now has no history.
        :returns: a new :class:`Name`.
        :raises LedgerError: the look is of another owner name.
        """
        if look["owner"] != self.owner:
            raise LedgerError(f"Cannot take in a look at {look['owner']!r}: this is the memory of {self.owner!r}")
        taken_at = float(look["taken_at"])
        memory = {seen.version: (set(seen.servers), seen.gone_since) for seen in self.versions}
        lame = {address: (since, looks) for address, since, looks in self.lame}
        asked, unanswered, heard, kept = set(), [], set(), False
        for server in look["servers"]:
            address = server["address"]
            asked.add(address)
            if server["outcome"] == "version":
                lame.pop(address, None)
                heard.add(address)
                _forget(memory, address)
                memory.setdefault(Version.from_dict(server["version"]), (set(), None))[0].add(address)
                continue
            if server["outcome"] == "waived":
                _forget(memory, address)
                continue
            if server["outcome"] == "does-not-serve":
                since, looks = lame.get(address, (taken_at, 0))
                lame[address] = (since, looks + 1)
                if looks + 1 >= LAME_LOOKS and taken_at - since >= LAME_SECONDS:
                    _forget(memory, address)
                    continue
            kept = True
            if not any(address in servers for servers, gone in memory.values()):
                unanswered.append(address)
        for servers, _gone in memory.values():
            servers &= asked
        complete = bool(heard) and not kept and look["security"] == "secure"
        versions = tuple(
            SeenVersion(version, frozenset(servers), None if servers else (taken_at if gone is None and complete else gone))
            for version, (servers, gone) in memory.items()
        )
        unknown_until = self.unknown_until
        first = self.looked_at is None or heard.intersection(self.unanswered)
        nothing_before = nothing_before or self.looked_at is not None and not self.unknown_until
        if first and not (nothing_before and all(not seen.version.records for seen in versions)):
            longest = max(seen.version.ttl for seen in versions) if versions else 0
            unknown_until = max(unknown_until, taken_at + max(timing.lifetime(longest), timing.ceiling))
        return self._replace(
            versions=versions, unanswered=tuple(sorted(unanswered)), security=look["security"], looked_at=taken_at,
            lame=tuple((address, since, looks) for address, (since, looks) in sorted(lame.items()) if address in asked),
            unknown_until=unknown_until,
        )

    def intend(self, version):
        """Note that this version is about to be published: it may be seen from now on."""
        others = tuple(seen for seen in self.versions if seen.version != version)
        known = next((seen for seen in self.versions if seen.version == version), None)
        return self._replace(versions=others + (SeenVersion(version, known.servers if known else frozenset(), None),))

    def may_be_seen(self, now, timing):
        """The versions that a sender may hold at ``now`` (list of :class:`SeenVersion`)."""
        return [
            seen for seen in self.versions
            if seen.gone_since is None or now < seen.gone_since + timing.lifetime(seen.version.ttl)
        ]

    def served(self):
        """The versions that some server gave at its last answer (list of :class:`Version`)."""
        return [seen.version for seen in self.versions if seen.servers]

    def problems(self, now, max_age=VIEW_MAX_AGE):
        """Why nothing may be decided about this name at all (list of reason dicts); empty when all is well."""
        found = []
        if self.looked_at is None or now - self.looked_at > max_age or self.looked_at - now > VIEW_MAX_AGE:
            found.append({"code": "view-stale", "owner": self.owner, "text": (
                f"{self.owner}: the last look at its servers is not of the last {max_age} s; if it is, "
                "the clocks differ")})
        elif self.security != "secure":
            found.append({"code": "not-secure", "owner": self.owner, "security": self.security, "text": (
                f"{self.owner}: the answer is {self.security or 'unknown'}, not secure: DANE needs a signed zone "
                "that validates")})
        found += [{"code": "server-unknown", "owner": self.owner, "server": address, "text": (
            f"{self.owner}: server {address} has never answered, so what it serves is not known; if it is gone for good, "
            "name it in dane_waive")}
            for address in self.unanswered]
        return found

    def state(self, record, now, timing):
        """The state of a record, for display (after the key states of BIND's dnssec-policy and OpenDNSSEC)."""
        record = record.brief()
        seen = self.may_be_seen(now, timing)
        holding = [one for one in seen if record in one.version.records]
        if not holding:
            return HIDDEN
        if len(holding) == len(seen):
            return OMNIPRESENT
        return RUMOURED if any(one.servers or one.gone_since is None for one in holding) else UNRETENTIVE

    def pruned(self, now, timing):
        """The same memory without what nobody can hold any more."""
        return self._replace(versions=tuple(self.may_be_seen(now, timing)))

    def merge(self, other):
        """The cautious union of two hosts' memories of one name: seen by either is seen, gone is gone for both."""
        memory: Dict[Version, SeenVersion] = {seen.version: seen for seen in self.versions}
        for seen in other.versions:
            mine = memory.get(seen.version)
            if mine is None:
                memory[seen.version] = seen
                continue
            gone = None if mine.gone_since is None or seen.gone_since is None else max(mine.gone_since, seen.gone_since)
            memory[seen.version] = SeenVersion(seen.version, mine.servers | seen.servers, gone)
        newer = self if (self.looked_at or 0) >= (other.looked_at or 0) else other
        return newer._replace(
            versions=tuple(memory.values()), unknown_until=max(self.unknown_until, other.unknown_until))

    def succeeded_by(self, newer):
        """What ``newer``, a memory that began as a copy of this one, made of it since.

        Versions that it does not know, and intents, stay: somebody may have noted them here meanwhile.
        """
        if (newer.looked_at or 0) < (self.looked_at or 0):
            return self.merge(newer)
        intents = {seen.version for seen in self.versions if not seen.servers and seen.gone_since is None}
        kept = tuple(seen for seen in newer.versions if seen.gone_since is None or seen.version not in intents)
        known = {seen.version for seen in kept}
        return newer._replace(versions=kept + tuple(seen for seen in self.versions if seen.version not in known))

    def to_dict(self):
        """The JSON form, for the ledger."""
        return {
            "versions": [
                {**seen.version.to_dict(), "servers": sorted(seen.servers), "gone_since": seen.gone_since}
                for seen in self.versions
            ],
            "lame": [list(entry) for entry in self.lame], "unanswered": list(self.unanswered),
            "looked_at": self.looked_at, "unknown_until": self.unknown_until, "security": self.security,
        }

    @classmethod
    def from_dict(cls, owner, data):
        """Read the JSON form.

        :raises LedgerError: it is not that.
        """
        try:
            return cls(
                str(owner),
                tuple(SeenVersion(Version.from_dict(seen), frozenset(_texts(seen["servers"])), _time(seen["gone_since"]))
                      for seen in data["versions"]),
                tuple((str(address), _number(since), _seconds(looks)) for address, since, looks in data["lame"]),
                _texts(data["unanswered"]), _time(data["looked_at"]), _number(data["unknown_until"]),
                str(data["security"]),
            )
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot read the memory of {owner!r} in the ledger: {_cause(exc)}") from exc


def _forget(memory, address):
    for servers, _gone in memory.values():
        servers.discard(address)


# -------------------------------------------------------------------------------------------- memory of the TLS side


class SeenChain(NamedTuple):
    """A chain, which endpoints presented it last, and since when none has (None: still there)."""

    chain: Chain
    endpoints: FrozenSet[str]
    gone_since: Optional[float]


def endpoint_key(endpoint):
    """The text that identifies an endpoint in the ledger: name, address, port, algorithm and server name."""
    return "|".join(str(endpoint[part]) for part in ("name", "address", "port", "algorithm", "sni"))


class Chains(NamedTuple):
    """What may be presented at the endpoints one host looks at.

    ``unanswered``: endpoints of the last look of which nothing was ever seen.
    """

    chains: Tuple[SeenChain, ...] = ()
    unanswered: Tuple[str, ...] = ()
    looked_at: Optional[float] = None

    def observe(self, outcomes):
        """Take in one look at all endpoints: the list of outcomes that ``_probe.look`` gives.

        The same rules as for versions: a silent endpoint keeps what it presented last, and may meanwhile present what
        the others do; *gone since* is the time of the last outcome of the first look without a silent endpoint in
        which nobody presented the chain.
        """
        outcomes = list(outcomes)
        memory = {seen.chain: (set(seen.endpoints), seen.gone_since) for seen in self.chains}
        asked, unanswered = set(), set()
        for outcome in outcomes:
            asked.add(endpoint_key(outcome["endpoint"]))
        for key in {endpoint_key(outcome["endpoint"]) for outcome in outcomes if outcome["outcome"] != "silent"}:
            _forget(memory, key)
        for outcome in outcomes:
            key = endpoint_key(outcome["endpoint"])
            if outcome["outcome"] == "chain":
                memory.setdefault(Chain.from_dict(outcome["chain"]), (set(), None))[0].add(key)
        answered = {endpoint_key(outcome["endpoint"]) for outcome in outcomes if outcome["outcome"] != "silent"}
        for key in asked - answered:
            if not any(key in endpoints for endpoints, gone in memory.values()):
                unanswered.add(key)
        complete = asked == answered and any(outcome["outcome"] not in ("silent", "waived") for outcome in outcomes)
        taken_at = max([float(outcome["at"]) for outcome in outcomes], default=0.0)
        chains = []
        for chain, (endpoints, gone) in memory.items():
            endpoints &= asked
            chains.append(SeenChain(
                chain, frozenset(endpoints), None if endpoints else (taken_at if gone is None and complete else gone)))
        looked_at = taken_at if asked and not unanswered else self.looked_at
        return Chains(tuple(chains), tuple(sorted(unanswered)), looked_at)

    def intend(self, chain):
        """Note that this chain is about to be presented: it may be seen from now on."""
        others = tuple(seen for seen in self.chains if seen.chain != chain)
        known = next((seen for seen in self.chains if seen.chain == chain), None)
        return self._replace(chains=others + (SeenChain(chain, known.endpoints if known else frozenset(), None),))

    def may_be_seen(self, now, timing):
        """The chains that a sender may meet at ``now`` (list of :class:`SeenChain`)."""
        return [seen for seen in self.chains if seen.gone_since is None or now < seen.gone_since + timing.linger]

    def presented(self):
        """The chains that some endpoint presented at its last outcome (list of :class:`Chain`)."""
        return [seen.chain for seen in self.chains if seen.endpoints]

    def lingers_until(self, spki, timing):
        """When chains of this key can no longer be met: a time, 0.0 for never seen, None while still presented."""
        times = [seen.gone_since for seen in self.chains if seen.chain.spki == spki]
        if None in times:
            return None
        return max(times, default=-timing.linger) + timing.linger

    def pruned(self, now, timing):
        """The same memory without what nobody can meet any more."""
        return self._replace(chains=tuple(self.may_be_seen(now, timing)))

    def to_dict(self):
        """The JSON form, for the ledger."""
        return {
            "chains": [
                {**seen.chain.to_dict(), "endpoints": sorted(seen.endpoints), "gone_since": seen.gone_since}
                for seen in self.chains
            ],
            "unanswered": list(self.unanswered), "looked_at": self.looked_at,
        }

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form.

        :raises LedgerError: it is not that.
        """
        try:
            return cls(
                tuple(SeenChain(Chain.from_dict(seen), frozenset(_texts(seen["endpoints"])), _time(seen["gone_since"]))
                      for seen in data["chains"]),
                _texts(data["unanswered"]), _time(data["looked_at"]),
            )
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot read the memory of chains in the ledger: {_cause(exc)}") from exc


# ------------------------------------------------------------------------------------------------------------- waivers


class Waiver(NamedTuple):
    """An operator's word that a silent ``server`` or ``endpoint`` need not be heard, until a time (epoch seconds)."""

    what: str
    name: str
    until: float
    reason: str

    def __str__(self):
        day = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=self.until - 1)
        return f"{self.what} {self.name} until {day:%Y-%m-%d}: {self.reason}"


def parse_waivers(options):
    """Read ``[{"what": "server", "name": "192.0.2.1", "until": "2026-12-31", "reason": "..."}]``.

    :returns: tuple of :class:`Waiver`; ``until`` includes the whole day named, UTC.
    :raises WaiverError: an entry that lacks something, or whose day is none.
    """
    found = []
    for entry in options or ():
        missing = [part for part in Waiver._fields if not str(entry.get(part) or "").strip()]
        if missing or entry["what"] not in ("server", "endpoint"):
            raise WaiverError(
                f"Cannot use waiver {entry!r}: expected what (server or endpoint), name (its address), until "
                f"(YYYY-MM-DD) and reason" + (f"; {', '.join(missing)} is missing" if missing else ""))
        try:
            day = datetime.date.fromisoformat(str(entry["until"]).strip()[:10])
        except ValueError as exc:
            raise WaiverError(f"Cannot use waiver {entry!r}: until is not a day such as 2026-12-31: {exc}") from exc
        until = ((day - datetime.date(1970, 1, 1)).days + 1) * 86400.0
        found.append(Waiver(entry["what"], str(entry["name"]).strip(), until, str(entry["reason"]).strip()))
    return tuple(found)


def waive_servers(look, waivers, now):
    """The look with the outcome ``waived`` for silent and lame servers that a waiver in force names, by address or name.

    A server that answers needs no waiver: what it gives counts, waived or not.
    """
    servers = []
    for server in look["servers"]:
        if server["outcome"] != "version":
            server = _waive(server, "server", {server["address"], str(server.get("name") or "").rstrip(".")}, waivers, now)
        servers.append(server)
    return {**look, "servers": servers}


def waive_endpoints(outcomes, waivers, now):
    """The outcomes with ``waived`` for silent endpoints whose address a waiver in force names."""
    return [
        _waive(outcome, "endpoint", {outcome["endpoint"]["address"]}, waivers, now)
        if outcome["outcome"] == "silent" else outcome
        for outcome in outcomes
    ]


def _waive(found, what, names, waivers, now):
    for waiver in waivers:
        if waiver.what == what and waiver.name.rstrip(".") in names:
            if now < waiver.until:
                return {**found, "outcome": "waived", "detail": f"waived, {waiver} (was: {found['detail']})"}
            return {**found, "detail": f"{found['detail']}; the waiver has run out: {waiver}"}
    return found


# ---------------------------------------------------------------------------------------------------------- the ledger


class Operation(NamedTuple):
    """What a run has begun: written before the first change and cleared after the last.

    ``target_spki`` is empty until the next key exists, then its digest: a re-run goes on with that key and no other.
    """

    id: str
    kind: str
    target_spki: str
    started: float


class Ledger(NamedTuple):
    """All that a host remembers, digests only.

    ``published``: the records we published or adopted, by owner name: nothing else is ever withdrawn.
    ``retired``: keys that were served once and replaced: they are never published or deployed again.
    """

    names: Tuple[Name, ...] = ()
    chains: Chains = Chains()
    operation: Optional[Operation] = None
    published: Tuple[Tuple[str, FrozenSet[Record]], ...] = ()
    retired: FrozenSet[str] = frozenset()

    def name(self, owner):
        """The memory of an owner name; a new one when there is none."""
        return next((name for name in self.names if name.owner == owner), Name(owner))

    def with_name(self, name):
        """The ledger with this memory of a name in place of the old one."""
        return self._replace(names=tuple(n for n in self.names if n.owner != name.owner) + (name,))

    def published_at(self, owner):
        """The records at an owner name that are ours to withdraw (frozenset of Record)."""
        return dict(self.published).get(owner, frozenset())

    def with_published(self, owner, records):
        """The ledger with the records that are ours at an owner name replaced."""
        kept = tuple(entry for entry in self.published if entry[0] != owner)
        brief = frozenset(record.brief() for record in records)
        return self._replace(published=kept + (((owner, brief),) if brief else ()))

    def to_dict(self):
        """The JSON form of the whole ledger."""
        return {
            "format": LEDGER_FORMAT,
            "names": {name.owner: name.to_dict() for name in self.names},
            "chains": self.chains.to_dict(),
            "operation": self.operation._asdict() if self.operation else None,
            "published": {owner: sorted(map(str, records)) for owner, records in self.published},
            "retired": sorted(self.retired),
        }

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form.

        :raises LedgerError: it is not that, or of another format.
        """
        if not isinstance(data, dict) or data.get("format") != LEDGER_FORMAT:
            found = data.get("format") if isinstance(data, dict) else type(data).__name__
            raise LedgerError(f"Cannot read the ledger: expected format {LEDGER_FORMAT}, found {found!r}")
        try:
            operation = data["operation"]
            return cls(
                tuple(Name.from_dict(owner, name) for owner, name in data["names"].items()),
                Chains.from_dict(data["chains"]),
                Operation(str(operation["id"]), str(operation["kind"]), str(operation["target_spki"]),
                          _number(operation["started"])) if operation else None,
                tuple((str(owner), _records(records)) for owner, records in data["published"].items()),
                frozenset(_texts(data["retired"])),
            )
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot read the ledger: {_cause(exc)}") from exc


# ------------------------------------------------------------------------------------------------------------- JSON
# Ledgers are edited by hand and damaged by disks. What is read wrong here is forgotten, or is seen for ever.

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecordError)


def _cause(exc):
    return f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)


def _texts(value):
    if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"expected a list of texts, found {value!r:.60}")
    return tuple(str(text) for text in value)


def _records(texts):
    return frozenset(Record.parse(text).brief() for text in _texts(texts))


def _number(value):
    # Every comparison with NaN is false, and so would end every wait.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f"expected a number, found {value!r:.60}")
    return float(value)


def _seconds(value):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise TypeError(f"expected a whole number that is not negative, found {value!r:.60}")
    return value


def _time(value):
    return None if value is None else _number(value)
