# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may still be seen: the memory of one owner name (:class:`Name`), and of the endpoints of one host (:class:`Chains`).

Pure, no clock, standard library only. Private to this collection. The questions that are asked of it are in ``_rollover``.

* DNS: a *version* of the RRset may be seen while any authoritative server gives it, and then for its *lifetime*, the
  time that caches may keep it (``_rollover.Timing``).
* TLS: a *chain* may be seen while any endpoint presents it, and then for *linger*, because processes that were started
  before the reload still serve it.

Both memories have the same three moves: a look goes in (``observe``), something that is about to be done goes in
(``intend``), and the question goes out (``may_be_seen``). All of them are values: every move returns a new one. Times are
seconds since the epoch (float) and come from the caller; durations are seconds (int).
"""

from __future__ import annotations

from typing import Dict, FrozenSet, NamedTuple, Optional, Tuple

from . import _fields
from ._errors import LedgerError
from ._rollover import Chain, Version

HIDDEN, RUMOURED, OMNIPRESENT, UNRETENTIVE = "HIDDEN", "RUMOURED", "OMNIPRESENT", "UNRETENTIVE"


class Source(NamedTuple):
    """A server or an endpoint: one that gave something, or that has not been heard yet.

    ``ttl``: how long caches may lead senders there (seconds: of the NS and address records, or of the address alone).
    ``left``: since when nothing leads there any more, None while something does.
    """

    key: str
    ttl: int
    left: Optional[float] = None


# -------------------------------------------------------------------------------------------- memory of the DNS side


class SeenVersion(NamedTuple):
    """A version, who gave it last, and since when nobody has (None: still there).

    ``open_until``: until then a door may be about to publish it, although no look has seen it yet.
    """

    version: Version
    servers: FrozenSet[str]
    gone_since: Optional[float]
    open_until: float = 0.0


class Name(NamedTuple):
    """What may be seen in the DNS at one owner name.

    ``sources``: the servers. ``lame``: servers that answer without authority: (address, first such look, number of
    looks). ``silent``: servers that the last look did not hear; ``unanswered``: those of them of which nothing is known.
    ``looked_at``: the last look. ``heard_at``: the last one that is evidence, as the zone validated and some server
    answered. ``unknown_until``: until then a version that this memory does not know may be in caches. ``security`` and
    ``signed_until`` (the end of the first signature that ends, epoch seconds): as the last look found them.
    """

    owner: str
    versions: Tuple[SeenVersion, ...] = ()
    sources: Tuple[Source, ...] = ()
    lame: Tuple[Tuple[str, float, int], ...] = ()
    silent: Tuple[str, ...] = ()
    unanswered: Tuple[str, ...] = ()
    looked_at: Optional[float] = None
    heard_at: Optional[float] = None
    unknown_until: float = 0.0
    security: str = ""
    signed_until: Optional[float] = None

    def observe(self, look, timing, nothing_before=False):
        """Take in one look at all servers of the name: see :func:`_take_in`.

        A server that gives no version although it answers is silent until it is *lame*. One that was never seen to give
        anything stands in the way of every decision, and what it gave before it is heard at last is not known; nor is
        what was published before the first look, or since one that is too long ago. A look that hears nobody, or in
        which the zone does not validate, does not make the memory younger.

        :param look: the JSON form of ``_dns.look`` for this owner name.
        :param timing: :class:`Timing`.
        :param nothing_before: the operator enables the name: an RRset that is empty everywhere now has no history.
        :returns: a new :class:`Name`.
        :raises LedgerError: the look is of another owner name, or none at all.
        """
        try:
            if look["owner"] != self.owner:
                raise ValueError(f"this is the memory of {self.owner!r}")
            at, security = _fields.seconds(look["taken_at"]), _fields.text(look["security"])
            ends = [_fields.seconds(server["rrsig_expires"]) for server in look["servers"]
                    if server.get("rrsig_expires") is not None]
            found, lame = self._sort(look["servers"], at, timing)
            found = self._out_of_sight(
                found._replace(evidence=security == "secure"), _fields.items(look.get("ip_versions", ())))
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot take in the look {str(look):.80} at {self.owner!r}: {_fields.cause(exc)}") from exc
        if self.looked_at is not None and at < self.looked_at:
            # It knows better: somebody else has looked since. And no look makes an older one young.
            return self
        versions, sources, unanswered = _take_in(self.versions, self.sources, found, timing)
        versions = tuple(SeenVersion(*one) for one in versions)
        at_last = _heard_at_last(self.unanswered, unanswered, found)
        return self._replace(
            versions=versions, sources=sources, lame=lame, unanswered=unanswered, looked_at=at, security=security,
            heard_at=at if found.evidence and found.gave else self.heard_at,
            silent=tuple(source.key for source in sources if source.key not in found.gave),
            signed_until=min(ends, default=None), unknown_until=max(
                self.unknown_until, self._history_unknown_until(at, at_last, versions, timing, nothing_before)))

    def _sort(self, servers, at, timing):
        """The servers' words as :class:`_Look`, and the servers that answered without authority."""
        gave, silent, ttls, left, waived, lame = {}, set(), {}, set(), set(), {}
        before = {address: (since, looks) for address, since, looks in self.lame}
        for server in servers:
            address = _fields.text(server["address"])
            ttls[address] = _fields.whole_number(server.get("ttl") or 0)
            if server.get("left"):
                left.add(address)
            if server["outcome"] == "version":
                gave[address] = {Version.from_dict(server["version"])}
            elif server["outcome"] in ("does-not-serve", "silent"):
                since, looks = before.get(address, (at, 0))
                if server["outcome"] == "does-not-serve":
                    # A look that is taken in twice is one look.
                    looks += self.looked_at is None or at > self.looked_at
                    lame[address] = (since, looks)
                elif address in before:
                    lame[address] = (since, looks)
                # One that is lame stays so when it is not heard once: it had nothing to give.
                if looks < timing.lame_looks or at - since < timing.lame_seconds:
                    silent.add(address)
            elif server["outcome"] == "waived":
                waived.add(address)
            else:
                raise ValueError(f"{server['outcome']!r:.60} is no outcome")
        found = _Look(at, gave, frozenset(silent), ttls, frozenset(left), frozenset(waived))
        return found, tuple((address, *lame[address]) for address in sorted(lame))

    def _out_of_sight(self, look, ip_versions):
        """The look with the sources waived whose IP version the operator does not look at any more."""
        hidden = {source.key for source in self.sources if ip_versions and (6 if ":" in source.key else 4) not in ip_versions}
        return look._replace(
            ttls={**dict.fromkeys(hidden, 0), **look.ttls}, left=look.left | hidden, waived=look.waived | hidden)

    def _history_unknown_until(self, at, at_last, versions, timing, nothing_before):
        first = self.heard_at is None
        stale = not first and at - self.heard_at > timing.look_max_age
        if not (first or stale or at_last):
            return 0.0
        # Without a time until which history is unknown the name began empty: it is being enabled, and a server that is
        # heard at last says that there is nothing.
        began_empty = not first and not stale and not self.unknown_until
        if (nothing_before or began_empty) and all(not seen.version.records for seen in versions):
            return 0.0
        longest = max((seen.version.ttl for seen in versions), default=0)
        return at + max(timing.lifetime(longest), timing.ceiling)

    def intend(self, version, now, timing):
        """Note that this version is about to be published: it may be seen from ``now`` on.

        The view by which a door lets it through is good for ``view_max_age``; the update takes its time, too, and clocks
        may differ by a little: until then it may still be on its way.
        """
        others = tuple(seen for seen in self.versions if seen.version != version)
        known = next((seen for seen in self.versions if seen.version == version), None)
        return self._replace(versions=others + (SeenVersion(
            version, known.servers if known else frozenset(), None, now + timing.door_seconds),))

    def settled(self, version):
        """Note that the door is closed again, whatever came of it: from now on looks tell what there is."""
        return self._replace(versions=tuple(
            seen._replace(open_until=0.0) if seen.version == version else seen for seen in self.versions))

    def may_be_seen(self, now, timing):
        """The versions that a sender may hold at ``now`` (list of :class:`SeenVersion`)."""
        return [
            seen for seen in self.versions
            if seen.gone_since is None or now < seen.gone_since + timing.lifetime(seen.version.ttl)
        ]

    def served(self):
        """The versions that some server gave at its last answer (list of :class:`Version`)."""
        return [seen.version for seen in self.versions if seen.servers]

    def there(self):
        """The versions that some server gave when it was last heard, or that may come any moment (list of
        :class:`Version`): of these, when one goes, it is noted when."""
        return [seen.version for seen in self.versions if seen.gone_since is None]

    def leaving(self):
        """The servers to which nothing leads any more, but caches may: to be asked as well (list of str)."""
        return [source.key for source in self.sources if source.left is not None]

    def state(self, record, now, timing):
        """The state of a record, for display (after the key states of BIND's dnssec-policy and OpenDNSSEC)."""
        record = record.brief()
        seen = self.may_be_seen(now, timing)
        holding = [one for one in seen if record in one.version.records]
        if not holding:
            return HIDDEN
        if len(holding) == len(seen):
            return OMNIPRESENT
        return RUMOURED if any(one.gone_since is None for one in holding) else UNRETENTIVE

    def pruned(self, now, timing):
        """The same memory without what nobody can hold any more."""
        longest = max((seen.version.ttl for seen in self.versions), default=0)
        longest_open = now + timing.door_seconds
        return self._replace(
            # A clock that was far ahead when something was noted must not make anybody wait for years.
            versions=tuple(seen._replace(open_until=min(seen.open_until, longest_open))
                           for seen in self.may_be_seen(now, timing)),
            unknown_until=min(self.unknown_until, now + max(timing.lifetime(longest), timing.ceiling)))

    def moved(self, ahead, behind, now):
        """The same memory by a clock that has jumped ahead or fell behind (seconds) and now shows ``now``.

        A wait is measured by the least time that may have passed, and the age of a look by the most.
        """
        return self._replace(
            versions=tuple(seen._replace(
                gone_since=_moved(seen.gone_since, ahead, now), open_until=seen.open_until and seen.open_until + ahead)
                for seen in self.versions),
            sources=tuple(source._replace(left=_moved(source.left, ahead, now)) for source in self.sources),
            lame=tuple((address, _moved(since, ahead, now), looks) for address, since, looks in self.lame),
            looked_at=_moved(self.looked_at, -behind, now), heard_at=_moved(self.heard_at, -behind, now),
            unknown_until=self.unknown_until and self.unknown_until + ahead)

    def merge(self, other):
        """The cautious union of two memories of one name, of two hosts or of a host and a run that works for it.

        What is gone for one is gone for both, if that was found by a look after the other's last one.
        """
        newer, older = (self, other) if (self.looked_at or 0) >= (other.looked_at or 0) else (other, self)
        memory: Dict[Version, SeenVersion] = {seen.version: seen for seen in older.versions}
        for seen in newer.versions:
            known = memory.get(seen.version)
            memory[seen.version] = seen if known is None else _united(seen, known, older)
        sources = {source.key: source for source in older.sources}
        for source in newer.sources:
            longest = max(source.ttl, sources[source.key].ttl) if source.key in sources else source.ttl
            sources[source.key] = source._replace(ttl=longest)
        return newer._replace(
            heard_at=max((name.heard_at for name in (newer, older) if name.heard_at is not None), default=None),
            versions=tuple(memory.values()), unknown_until=max(self.unknown_until, other.unknown_until),
            sources=tuple(sources.values()))

    def to_dict(self):
        """The JSON form, for the ledger."""
        return {
            "versions": [
                {**seen.version.to_dict(), "servers": sorted(seen.servers), "gone_since": seen.gone_since,
                 "open_until": seen.open_until} for seen in self.versions
            ],
            "sources": [list(source) for source in self.sources],
            "lame": [list(entry) for entry in self.lame], "silent": list(self.silent),
            "unanswered": list(self.unanswered), "looked_at": self.looked_at, "heard_at": self.heard_at,
            "unknown_until": self.unknown_until, "security": self.security, "signed_until": self.signed_until,
        }

    @classmethod
    def from_dict(cls, owner, data):
        """Read the JSON form.

        :raises LedgerError: it is not that.
        """
        try:
            return cls(
                _fields.text(owner),
                _once(SeenVersion(
                    Version.from_dict(seen), *_still(seen["servers"], seen["gone_since"]), _fields.seconds(seen["open_until"]))
                    for seen in _fields.items(data["versions"])),
                _sources(data["sources"]),
                tuple((_fields.text(address), _fields.seconds(since), _fields.whole_number(looks))
                      for address, since, looks in _fields.items(data["lame"])),
                tuple(_fields.texts(data["silent"])), tuple(_fields.texts(data["unanswered"])),
                _fields.seconds_or_none(data["looked_at"]), _fields.seconds_or_none(data["heard_at"]),
                _fields.seconds(data["unknown_until"]), _fields.text(data["security"]),
                _fields.seconds_or_none(data["signed_until"]),
            )
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot read the memory of {owner!r} in the ledger: {_fields.cause(exc)}") from exc


def _united(newer, older, older_memory):
    """What two memories know of one version; ``newer`` is of the one that looked last."""
    gone = None
    if newer.gone_since is not None and older.gone_since is not None:
        gone = max(newer.gone_since, older.gone_since)
    elif newer.gone_since is not None and newer.gone_since > max(older_memory.looked_at or 0, older.open_until):
        gone = newer.gone_since
    servers = frozenset() if gone is not None else newer.servers or older.servers
    return SeenVersion(newer.version, servers, gone, max(newer.open_until, older.open_until))


# -------------------------------------------------------------------------------------------- memory of the TLS side


class SeenChain(NamedTuple):
    """A chain, which endpoints presented it last, and since when none has (None: still there)."""

    chain: Chain
    endpoints: FrozenSet[str]
    gone_since: Optional[float]


def endpoint_key(endpoint):
    """The text that identifies an endpoint in the ledger: address, name, port, algorithm and server name."""
    return "|".join(str(endpoint[part]) for part in ("address", "name", "port", "algorithm", "sni"))


def left_endpoints(chains, endpoints):
    """The endpoints at addresses that are gone, but may be cached: to be looked at beside ``endpoints`` (list of dict)."""
    found = []
    for key in chains.leaving():
        address, _bar, rest = key.partition("|")
        found += [{**one, "address": address, "left": True} for one in endpoints
                  if endpoint_key(one).partition("|")[2] == rest][:1]
    return found


class Chains(NamedTuple):
    """What may be presented at the endpoints one host looks at.

    ``sources``: the endpoints. ``unanswered``: endpoints of the last look of which nothing is known. ``unknown_until``:
    until then a chain that this memory does not know may be met.
    """

    chains: Tuple[SeenChain, ...] = ()
    sources: Tuple[Source, ...] = ()
    unanswered: Tuple[str, ...] = ()
    looked_at: Optional[float] = None
    unknown_until: float = 0.0

    def observe(self, outcomes, timing, nothing_before=False):
        """Take in one look at all endpoints: see :func:`_take_in`. An endpoint that answers without a chain (an alert,
        no TLS) is heard.

        :param outcomes: the list of outcomes that ``_probe.look`` gives.
        :param timing: :class:`Timing`.
        :param nothing_before: the operator enables the names, no record is published, and the chain that answers is
            taken to be the only one. Else processes from before this look may linger with another.
        :returns: a new :class:`Chains`.
        :raises LedgerError: the outcomes are none.
        """
        try:
            look = self._sort(outcomes)
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot take in the outcomes {str(outcomes):.80}: {_fields.cause(exc)}") from exc
        if self.looked_at is not None and look.at < self.looked_at:
            return self
        # An endpoint can leave with its address; a service that is no longer looked at is none of ours.
        ours = {key.partition("|")[2] for key in look.ttls}
        sources = tuple(source for source in self.sources if source.key.partition("|")[2] in ours)
        # What a host is about to present is decided under its lock: no look comes in between.
        chains, sources, unanswered = _take_in([(*seen, 0.0) for seen in self.chains], sources, look, timing)
        looked_at, unknown_until = self.looked_at, self.unknown_until
        if _heard_at_last(self.unanswered, unanswered, look) or looked_at is None and not nothing_before:
            unknown_until = look.at + timing.linger
        # One that hears nobody is blind, and no evidence of the present.
        if look.gave and not unanswered:
            looked_at = look.at
        return Chains(tuple(SeenChain(*one[:3]) for one in chains), sources, unanswered, looked_at, unknown_until)

    @staticmethod
    def _sort(outcomes):
        """The outcomes as :class:`_Look`."""
        gave, silent, ttls, left, waived, at = {}, set(), {}, set(), set(), 0.0
        for outcome in outcomes:
            endpoint, found = outcome["endpoint"], outcome["outcome"]
            key, at = endpoint_key(endpoint), max(at, _fields.seconds(outcome["at"]))
            ttls[key] = _fields.whole_number(endpoint.get("ttl") or 0)
            if endpoint.get("left"):
                left.add(key)
            if found == "silent":
                silent.add(key)
            elif found == "chain":
                gave.setdefault(key, set()).add(Chain.from_dict(outcome["chain"]))
            elif found in ("no-chain-for-algorithm", "no-tls"):
                gave.setdefault(key, set())
            elif found == "waived":
                waived.add(key)
            else:
                raise ValueError(f"{found!r:.60} is no outcome")
        # Of several handshakes with one endpoint those that succeed say what it presents.
        return _Look(at, gave, frozenset(silent - set(gave)), ttls, frozenset(left), frozenset(waived - set(gave) - silent))

    def intend(self, chain):
        """Note that this chain is about to be presented: it may be seen from now on."""
        others = tuple(seen for seen in self.chains if seen.chain != chain)
        known = next((seen for seen in self.chains if seen.chain == chain), None)
        return self._replace(chains=others + (SeenChain(chain, known.endpoints if known else frozenset(), None),))

    def may_be_seen(self, now, timing):
        """The chains that a sender may meet at ``now`` (list of :class:`SeenChain`)."""
        return [seen for seen in self.chains if seen.gone_since is None or now < seen.gone_since + timing.linger]

    def known(self, now):
        """Whether :meth:`may_be_seen` is all that may be met: nothing presents what is not known, as far as it is heard."""
        return self.looked_at is not None and not self.unanswered and now >= self.unknown_until

    def presented(self):
        """The chains that some endpoint presented at its last outcome (list of :class:`Chain`)."""
        return [seen.chain for seen in self.chains if seen.endpoints]

    def presented_at(self, endpoints):
        """Those of them that one of these endpoints (keys) presented (list of :class:`Chain`)."""
        return [seen.chain for seen in self.chains if seen.endpoints & set(endpoints)]

    def leaving(self):
        """The endpoints to which no address leads any more, but caches may: to be asked as well (list of keys)."""
        return [source.key for source in self.sources if source.left is not None]

    def pruned(self, now, timing):
        """The same memory without what nobody can meet any more."""
        return self._replace(
            chains=tuple(self.may_be_seen(now, timing)), unknown_until=min(self.unknown_until, now + timing.linger))

    def moved(self, ahead, behind, now):
        """As :meth:`Name.moved`."""
        return self._replace(
            chains=tuple(seen._replace(gone_since=_moved(seen.gone_since, ahead, now)) for seen in self.chains),
            sources=tuple(source._replace(left=_moved(source.left, ahead, now)) for source in self.sources),
            looked_at=_moved(self.looked_at, -behind, now),
            unknown_until=self.unknown_until and self.unknown_until + ahead)

    def to_dict(self):
        """The JSON form, for the ledger."""
        return {
            "chains": [
                {**seen.chain.to_dict(), "endpoints": sorted(seen.endpoints), "gone_since": seen.gone_since}
                for seen in self.chains
            ],
            "sources": [list(source) for source in self.sources], "unanswered": list(self.unanswered),
            "looked_at": self.looked_at, "unknown_until": self.unknown_until,
        }

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form.

        :raises LedgerError: it is not that.
        """
        try:
            return cls(
                _once(SeenChain(Chain.from_dict(seen), *_still(seen["endpoints"], seen["gone_since"]))
                      for seen in _fields.items(data["chains"])),
                _sources(data["sources"]), tuple(_fields.texts(data["unanswered"])),
                _fields.seconds_or_none(data["looked_at"]), _fields.seconds(data["unknown_until"]),
            )
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot read the memory of chains in the ledger: {_fields.cause(exc)}") from exc


# ---------------------------------------------------------------------------------------------- what both memories do


class _Look(NamedTuple):
    """What one look found on either side.

    ``gave``: each source that answered, and what it gave (a set, which may be empty). ``silent``: those that did not.
    ``ttls``: TTL of what leads to a source. ``left``: those asked only because caches may still lead to them.
    ``waived``: those that the operator says need not be heard. ``evidence``: whether the look may prove that something
    has gone.
    """

    at: float
    gave: dict
    silent: FrozenSet[str]
    ttls: dict
    left: FrozenSet[str]
    waived: FrozenSet[str]
    evidence: bool = True


def _take_in(seen, sources, look, timing):
    """The one rule of both memories: (seen, sources, silent sources of which nothing is known).

    What a source gives may be seen. A silent one keeps what it gave last, and may meanwhile give anything else that is
    noted here: so nothing is declared gone by a look with a silent source. *Gone since* is the time of the last answer
    of the first look that heard everybody and in which nobody gave it: before that, somebody may have handed it out. A
    source to which nothing leads any more counts as long as caches may lead to it, asked or not. What a door is about to
    do is not ended by a look that may have come before the deed.

    :param seen: tuples of a thing, the keys of its sources, when it went, and until when a door may be open for it.

    Of a source that answers without giving anything (no chain, lame) nothing is kept, nor what leads to it.
    """
    known = _still_led_to(sources, look, timing)

    def counts(key):
        return key in known or key not in look.left

    gave = {key: things for key, things in look.gave.items() if counts(key)}
    silent = set(filter(counts, look.silent)) | {key for key in known if key not in look.gave and key not in look.ttls}
    holders = {thing: (silent & keys, gone, open_until) for thing, keys, gone, open_until in seen}
    for key, things in gave.items():
        for thing in things:
            holders.setdefault(thing, (set(), None, 0.0))[0].add(key)
    complete = look.evidence and bool(gave) and not silent
    after = []
    for thing, (keys, gone, open_until) in holders.items():
        if keys:
            gone = None
        elif gone is None and complete and look.at > open_until:
            gone = look.at
        after.append((thing, frozenset(keys), gone, open_until))
    holding = {key for _thing, keys, _gone, _open_until in after for key in keys}
    unanswered = silent - holding
    sources = [known.get(key) or Source(key, look.ttls.get(key, 0)) for key in sorted(holding | unanswered)]
    return tuple(after), tuple(sources), tuple(sorted(unanswered))


def _heard_at_last(before, after, look):
    """Whether a source of which nothing was known is heard, or counts no longer: what it gave before is not known."""
    return bool(set(before) - set(after) - look.waived)


def _still_led_to(sources, look, timing):
    """The known sources that senders may still be led to, by key."""
    found = {}
    for source in sources:
        if source.key in look.ttls and source.key not in look.left:
            # A resolver's TTLs count down, and one that was lowered is still cached as it was: the longest counts.
            found[source.key] = Source(source.key, max(source.ttl, look.ttls[source.key]))
            continue
        left = look.at if source.left is None else source.left
        if look.at < left + timing.lifetime(source.ttl):
            found[source.key] = source._replace(left=left)
    return found


def _moved(time, by, now):
    # What seems to be of the future is of now: a clock that was set back must not shorten a wait, nor make it endless.
    return None if time is None else max(0.0, min(time + by, now))


# ------------------------------------------------------------------------------------------------------------ reading


def _still(sources, gone_since):
    sources, gone_since = frozenset(_fields.texts(sources)), _fields.seconds_or_none(gone_since)
    if sources and gone_since is not None:
        raise ValueError(f"gone since {gone_since:.0f}, and yet given by {', '.join(sorted(sources))}")
    return sources, gone_since


def _once(entries):
    entries = tuple(entries)
    if len({entry[0] for entry in entries}) != len(entries):
        raise ValueError("something is listed twice")
    return entries


def _sources(value):
    return tuple(Source(_fields.text(key), _fields.whole_number(ttl), _fields.seconds_or_none(left))
                 for key, ttl, left in _fields.items(value))
