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
from typing import Dict, FrozenSet, NamedTuple, Optional, Tuple

from ._errors import LedgerError, RecordError, WaiverError
from ._tlsa import DANE_EE, SPKI, Record, unusable_reason

LEDGER_FORMAT = 2
HIDDEN, RUMOURED, OMNIPRESENT, UNRETENTIVE = "HIDDEN", "RUMOURED", "OMNIPRESENT", "UNRETENTIVE"


class Timing(NamedTuple):
    """How long things may still be seen after they went, and how long a look is worth something. In seconds but for
    ``factor`` and ``lame_looks``.

    ``factor``: RFC 7671 section 8.1 says two TTLs or more. ``floor``: for resolvers that raise short TTLs. ``slack``:
    senders' own caches and the time between lookup and handshake. ``linger``: processes that outlive a reload.
    ``ceiling``: how long a version from before the ledger's first look may be in caches at least: nobody knows its TTL.
    ``view_max_age``: a look is evidence of the present only while it is younger. ``look_max_age``: a ledger whose last
    look is older no longer knows what was published. ``lame_looks``, ``lame_seconds``: a server that answers, but not
    with authority for the zone, is lame only after so many looks over so much time: before, it may just be starting.
    """

    factor: int = 2
    floor: int = 900
    slack: int = 120
    linger: int = 300
    ceiling: int = 86400
    view_max_age: int = 60
    look_max_age: int = 7 * 86400
    lame_looks: int = 3
    lame_seconds: int = 600

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
            return cls(_records(data["records"]), _seconds(data["ttl"]), tuple(_texts(data.get("path", ()))))
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
        """The records that senders heed for SMTP (RFC 7672 section 3.1.3, RFC 6698 section 4.1)."""
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
            return cls(_text(data["id"]), _text(data["spki"]), _text(data["algorithm"]), _records(data["matches"]))
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
    """The other usable combinations: a sender that heeds only one of these refuses the chain (RFC 7671 section 8)."""
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


def may_publish(new, chains, served, owner="", empty_is_fine=False, chains_known=True, gone_at=None, security="secure"):
    """May the RRset at this owner name become ``new`` now? (RFC 7671 section 8)

    :param new: the :class:`Version` to be.
    :param chains: every :class:`Chain` that may be seen under the name.
    :param served: the versions that servers give now.
    :param empty_is_fine: the name is being enabled or retired.
    :param chains_known: whether a complete look at the endpoints stands behind ``chains``.
    :param gone_at: id of a chain to the time (epoch seconds) from which it can no longer be met; a chain that is not in
        it is still presented.
    :param security: of the zone, as the last look found it.
    :returns: :class:`Answer`.
    """
    served, chains = list(served), list(chains)
    if security != "secure" and new.usable:
        return Answer("no", (_not_secure(owner, security),))
    if not new.usable and not empty_is_fine and any(version.usable for version in served):
        return Answer("no", (_reason(
            "empty", owner, "would be left without a usable record: an outage to mandatory senders, a downgrade to "
            "others; publish the next record first"),))
    if served and all(_adds_alternatives(new, version) for version in served):
        return Answer("yes")
    if not chains_known:
        return Answer("no", (_reason(
            "chains-unknown", owner, "not every endpoint has been looked at, or not since its ledger began, so what this "
            "change must match is not known: run again, or name an address that is gone for good in dane_waive"),))
    if not chains and new.usable:
        return Answer("no", (_reason(
            "no-chain", owner, "no endpoint presents a chain, so no record can match one: let the service offer TLS first"),))
    refused = [chain for chain in chains if not fine(chain, new, empty_is_fine) and not (
        served and all(_publishing_is_no_worse(chain, new, version) for version in served))]
    if not refused:
        return Answer("yes" if all(fine(chain, new, empty_is_fine) for chain in chains) else "no worse")
    reasons, times = [], []
    for chain in refused:
        missing = ", ".join(str(combination) for combination in sorted(unmatched(chain, new))) or "any combination"
        times.append((gone_at or {}).get(chain.id))
        reasons.append(_reason(
            "chain-unmatched", owner, f"the chain of key {chain.spki[:16]} "
            + ("is presented" if times[-1] is None else "may be met for some time more, as processes that serve it live on")
            + f", and the new RRset would not match it in {missing}", chain=chain.id, spki=chain.spki, until=times[-1]))
    return Answer("no", tuple(reasons), None if None in times else max(times))


def _adds_alternatives(new, old):
    # More records in the same combinations: whatever matched before matches still, for every chain, known or not.
    return new.usable >= old.usable and bool(old.usable) and (
        {record.combination for record in new.usable} == {record.combination for record in old.usable})


def _publishing_is_no_worse(chain, new, old):
    return unmatched(chain, new) <= unmatched(chain, old) and matched(chain, old) <= matched(chain, new)


def may_deploy(new, name, replaced, now, timing, empty_is_fine=False):
    """May the chains ``new`` be presented under this owner name from now on? (RFC 7671 section 8.1, RFC 7672 section 4)

    :param new: the chains of one deployment unit: a :class:`Chain` for each key algorithm (non-empty tuple).
    :param name: the :class:`Name` memory of the owner name, a fresh look already in it.
    :param replaced: the chains that senders meet today where ``new`` will be presented.
    :param now: the time (seconds since the epoch).
    :param timing: :class:`Timing`.
    :param empty_is_fine: the name is being enabled or retired.
    :returns: :class:`Answer`. For a renewal, the same keys and issuers, nothing that is not known can matter, but for
        records over a whole leaf (3 0 x): it may be judged by a memory whose last look is up to ``look_max_age`` old.
    """
    renewal = _is_renewal(new, replaced)
    reasons = name.stale(now, timing.look_max_age, timing) if renewal else name.problems(now, timing)
    verdict = "yes"
    for seen in name.may_be_seen(now, timing):
        worse = [chain for chain in new if not fine(chain, seen.version, empty_is_fine)]
        if worse and all(_deploying_is_no_worse(chain, new, replaced, seen.version) for chain in worse):
            verdict = "no worse"
        elif worse:
            reasons += [_version_unmatched(chain, name, seen, now, timing) for chain in worse]
    if now < name.unknown_until and not renewal:
        reasons.append(_reason(
            "history-unknown", name.owner, "what was published before this ledger began may be in caches for "
            f"{name.unknown_until - now:.0f} s more, and there is nothing to do but to wait", until=name.unknown_until))
    if not reasons:
        return Answer(verdict)
    times = [reason["until"] for reason in reasons]
    return Answer("no", tuple(reasons), None if None in times else max(times))


def _is_renewal(new, replaced):
    return bool(replaced) and all(any(_same_but_leaf(old, chain) for chain in new) for old in replaced) and all(
        any(_same_but_leaf(old, chain) for old in replaced) for chain in new)


def _same_but_leaf(old, new):
    # Same key, same issuers. Only records over the whole leaf (3 0 x) could tell the two apart.
    keep = {record for record in old.matches if (record.usage, record.selector) == (DANE_EE, SPKI) or record.usage != DANE_EE}
    return keep <= new.matches


def _deploying_is_no_worse(chain, new, replaced, version):
    # A sender who met the same algorithm before meets this chain now; whoever met one that goes away, or to whom this
    # algorithm is new, may have met any.
    same = [old for old in replaced if old.algorithm == chain.algorithm]
    kept = {other.algorithm for other in new}
    compared = (same or list(replaced)) + [old for old in replaced if old.algorithm not in kept]
    return bool(compared) and all(matched(old, version) <= matched(chain, version) for old in compared)


def _version_unmatched(chain, name, seen, now, timing):
    until = None if seen.gone_since is None else seen.gone_since + timing.lifetime(seen.version.ttl)
    missing = ", ".join(str(combination) for combination in sorted(unmatched(chain, seen.version)))
    where = f"may be in caches for {max(0, until - now):.0f} s more" if until is not None else _who_has_it(name, seen)
    lacks = f"does not match the chain of key {chain.spki[:16]} in {missing}" if missing else "has no usable record"
    return _reason(
        "version-unmatched", name.owner, f"the version {_show(seen.version)} {where} and {lacks}", until=until,
        version=seen.version.to_dict(), servers=sorted(seen.servers), chain=chain.id)


def _who_has_it(name, seen):
    heard, mute = sorted(seen.servers - set(name.silent)), sorted(seen.servers & set(name.silent))
    told = []
    if heard:
        told.append("is still served by " + ", ".join(heard))
    if mute:
        told.append("was last given by " + ", ".join(mute) + _MUTE)
    if not told and name.silent:
        told.append("is not known to be gone while nothing is heard of " + ", ".join(name.silent) + _MUTE)
    return " and ".join(told) or "is not known to be gone"


_MUTE = " (no answer; see that it runs, or name it in dane_waive if it is gone for good)"


def _reason(code, owner, text, until=None, **more):
    return {"code": code, "owner": owner, "text": f"{owner}: {text}", "until": until, **more}


def _not_secure(owner, security):
    return _reason("not-secure", owner, f"the answer is {security or 'unknown'}, not secure: DANE needs a signed zone that "
                   "validates", security=security)


def _show(version):
    if not version.records:
        return "without records"
    return "{" + ", ".join(f"{r.combination} {r.data[:16]}" for r in sorted(version.records)) + f"}} (TTL {version.ttl})"


# ---------------------------------------------------------------------------------------------- what both memories do


class Source(NamedTuple):
    """Who gives versions or presents chains, or never answered and may: a server or an endpoint.

    ``ttl``: how long caches may lead senders there (seconds: of the NS and address records, or of the address alone).
    ``left``: since when nothing leads there any more, None while something does.
    """

    key: str
    ttl: int
    left: Optional[float] = None


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

    What a source gives may be seen. A silent one keeps what it gave last, and may meanwhile give what the others give:
    so nothing is declared gone by a look with a silent source. *Gone since* is the time of the last answer of the first
    look that heard everybody and in which nobody gave it: before that, somebody may have handed it out. A source to
    which nothing leads any more counts as long as caches may lead to it, asked or not. What a door is about to do is not
    ended by a look that may have come before the deed.

    :param seen: tuples of a thing, the keys of its sources, when it went, and until when a door may be open for it.
    """
    known = _still_led_to(sources, look, timing)
    gave = {key: things for key, things in look.gave.items() if key in known or key not in look.left}
    silent = {key for key in look.silent if key in known or key not in look.left} | {
        key for key in known if key not in look.gave and key not in look.ttls}
    holders = {thing: ({key for key in keys if key in silent}, gone, door) for thing, keys, gone, door in seen}
    for key, things in gave.items():
        for thing in things:
            holders.setdefault(thing, (set(), None, 0.0))[0].add(key)
    complete = look.evidence and bool(gave) and not silent
    after = []
    for thing, (keys, gone, door) in holders.items():
        if keys:
            gone = None
        elif gone is None and complete and look.at > door:
            gone = look.at
        after.append((thing, frozenset(keys), gone, door))
    holding = {key for _thing, keys, _gone, _door in after for key in keys}
    unanswered = silent - holding
    sources = [known.get(key) or Source(key, look.ttls.get(key, 0)) for key in sorted(holding | unanswered)]
    return tuple(after), tuple(sources), tuple(sorted(unanswered))


def _first_words(before, after, look):
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
    return None if time is None else min(time + by, now)


# -------------------------------------------------------------------------------------------- memory of the DNS side


class SeenVersion(NamedTuple):
    """A version, who gave it last, and since when nobody has (None: still there).

    ``open_until``: until then a door may be about to publish it, although no look has seen it yet.
    """

    version: Version
    servers: FrozenSet[str]
    gone_since: Optional[float]
    open_until: float = 0.0


def _both(newer, older, older_name):
    """What two memories know of one version; ``newer`` is of the one that looked last."""
    gone = None
    if newer.gone_since is not None and older.gone_since is not None:
        gone = max(newer.gone_since, older.gone_since)
    elif newer.gone_since is not None and newer.gone_since > max(older_name.looked_at or 0, older.open_until):
        gone = newer.gone_since
    servers = frozenset() if gone is not None else newer.servers or older.servers
    return SeenVersion(newer.version, servers, gone, max(newer.open_until, older.open_until))


class Name(NamedTuple):
    """What may be seen in the DNS at one owner name.

    ``sources``: the servers. ``lame``: servers that answer without authority: (address, first such look, number of
    looks). ``silent``: servers that the last look did not hear; ``unanswered``: those of them of which nothing is known.
    ``unknown_until``: until then a version that this memory does not know may be in caches. ``security`` and
    ``signed_until`` (the end of the first signature that ends, epoch seconds): as the last look found them.
    """

    owner: str
    versions: Tuple[SeenVersion, ...] = ()
    sources: Tuple[Source, ...] = ()
    lame: Tuple[Tuple[str, float, int], ...] = ()
    silent: Tuple[str, ...] = ()
    unanswered: Tuple[str, ...] = ()
    looked_at: Optional[float] = None
    unknown_until: float = 0.0
    security: str = ""
    signed_until: Optional[float] = None

    def observe(self, look, timing, nothing_before=False):
        """Take in one look at all servers of the name: see :func:`_take_in`.

        A server that gives no version although it answers is silent until it is *lame*. One that was never seen to give
        anything stands in the way of every decision, and what it gave before it is first heard is not known; nor is
        what was published before the first look, or since one that is too long ago.

        :param look: the JSON form of ``_dns.look`` for this owner name.
        :param timing: :class:`Timing`.
        :param nothing_before: the operator enables the name: an RRset that is empty everywhere now has no history.
        :returns: a new :class:`Name`.
        :raises LedgerError: the look is of another owner name, or none at all.
        """
        try:
            if look["owner"] != self.owner:
                raise ValueError(f"this is the memory of {self.owner!r}")
            at, security = _time(look["taken_at"]), _text(look["security"])
            ends = [_time(server["rrsig_expires"]) for server in look["servers"] if server.get("rrsig_expires") is not None]
            found, lame = self._sort(look["servers"], at, timing)
            found = self._out_of_sight(found._replace(evidence=security == "secure"), _list(look.get("ip_versions", ())))
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot take in the look {str(look):.80} at {self.owner!r}: {_cause(exc)}") from exc
        if self.looked_at is not None and at < self.looked_at:
            # It knows better: somebody else has looked since. And no look makes an older one young.
            return self
        versions, sources, unanswered = _take_in(self.versions, self.sources, found, timing)
        versions = tuple(SeenVersion(*one) for one in versions)
        first_words = _first_words(self.unanswered, unanswered, found)
        return self._replace(
            versions=versions, sources=sources, lame=lame, unanswered=unanswered, looked_at=at, security=security,
            silent=tuple(source.key for source in sources if source.key not in found.gave),
            signed_until=min(ends, default=None), unknown_until=max(
                self.unknown_until, self._history_unknown_until(at, first_words, versions, timing, nothing_before)))

    def _sort(self, servers, at, timing):
        """The servers' words as :class:`_Look`, and the servers that answered without authority."""
        gave, silent, ttls, left, waived, lame = {}, set(), {}, set(), set(), {}
        before = {address: (since, looks) for address, since, looks in self.lame}
        for server in servers:
            address = _text(server["address"])
            ttls[address] = _seconds(server.get("ttl") or 0)
            if server.get("left"):
                left.add(address)
            if server["outcome"] == "version":
                gave[address] = {Version.from_dict(server["version"])}
            elif server["outcome"] == "does-not-serve":
                since, looks = before.get(address, (at, 0))
                # A look that is taken in twice is one look.
                looks += self.looked_at is None or at > self.looked_at
                lame[address] = (since, looks)
                if looks < timing.lame_looks or at - since < timing.lame_seconds:
                    silent.add(address)
            elif server["outcome"] == "silent":
                silent.add(address)
                if address in before:
                    lame[address] = before[address]
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

    def _history_unknown_until(self, at, first_words, versions, timing, nothing_before):
        first = self.looked_at is None
        stale = not first and at - self.looked_at > timing.look_max_age
        if not (first or stale or first_words):
            return 0.0
        if nothing_before or not first and not stale and not self.unknown_until:
            # The name is being enabled: what a server is late to say for the first time is that there is nothing.
            if all(not seen.version.records for seen in versions):
                return 0.0
        longest = max((seen.version.ttl for seen in versions), default=0)
        return at + max(timing.lifetime(longest), timing.ceiling)

    def intend(self, version, now, timing):
        """Note that this version is about to be published: it may be seen from ``now`` on.

        The view by which a door lets it through is good for ``view_max_age``; the update takes its time, too, and clocks
        may differ by a little: so long it may still be about to happen.
        """
        others = tuple(seen for seen in self.versions if seen.version != version)
        known = next((seen for seen in self.versions if seen.version == version), None)
        return self._replace(versions=others + (SeenVersion(
            version, known.servers if known else frozenset(), None, now + 2 * timing.view_max_age),))

    def settled(self, version):
        """Note that this version has been published, or will not be: from now on looks tell what there is."""
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

    def leaving(self):
        """The servers to which nothing leads any more, but caches may: to be asked as well (list of str)."""
        return [source.key for source in self.sources if source.left is not None]

    def stale(self, now, max_age, timing):
        """The reason (list of one dict) not to decide by a look that is older than ``max_age`` (seconds), or of another
        clock; empty when it is not."""
        if self.looked_at is not None and -timing.view_max_age <= now - self.looked_at <= max_age:
            return []
        return [_reason("view-stale", self.owner, f"the last look at its servers is not of the last {max_age} s: look again "
                        "(mailops.dane.tlsa_wait, on the host dane-gate look); if it was taken just now, the clocks differ")]

    def problems(self, now, timing):
        """Why nothing may be decided about this name at all (list of reason dicts); empty when all is well."""
        found = self.stale(now, timing.view_max_age, timing)
        if not found and self.security != "secure":
            found.append(_not_secure(self.owner, self.security))
        if not found and not self.versions:
            found.append(_reason("nothing-seen", self.owner, "no server has ever said what it serves, so nothing can be "
                                 "matched: see that its name servers answer"))
        # Caches keep nothing longer than its signature (RFC 4035 section 5.3.3): what is fetched now has to be good as
        # long as it may be used.
        needed = now + max((version.ttl for version in self.served()), default=0) + timing.slack
        if self.signed_until is not None and self.signed_until < needed:
            found.append(_reason(
                "signature-ends", self.owner, f"a signature (RRSIG) that some server gives ends in "
                f"{self.signed_until - now:.0f} s: see that the zone is being signed and every secondary is up to date, or "
                "lower the TTL, which should be a small part of a signature's life", signed_until=self.signed_until))
        return found + [_reason(
            "server-unknown", self.owner, f"server {address} has never answered, so what it serves is not known; if it is "
            "gone for good, name it in dane_waive", server=address) for address in self.unanswered]

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
        door = now + 2 * timing.view_max_age
        return self._replace(
            # A clock that was far ahead when something was noted must not make anybody wait for years.
            versions=tuple(seen._replace(open_until=min(seen.open_until, door)) for seen in self.may_be_seen(now, timing)),
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
            looked_at=_moved(self.looked_at, -behind, now),
            unknown_until=self.unknown_until and self.unknown_until + ahead)

    def merge(self, other):
        """The cautious union of two memories of one name, of two hosts or of a host and a run that works for it.

        What is gone for one is gone for both, if that was found by a look after the other's last one.
        """
        newer, older = (self, other) if (self.looked_at or 0) >= (other.looked_at or 0) else (other, self)
        memory: Dict[Version, SeenVersion] = {seen.version: seen for seen in older.versions}
        for seen in newer.versions:
            known = memory.get(seen.version)
            memory[seen.version] = seen if known is None else _both(seen, known, older)
        sources = {source.key: source for source in older.sources}
        for source in newer.sources:
            longest = max(source.ttl, sources[source.key].ttl) if source.key in sources else source.ttl
            sources[source.key] = source._replace(ttl=longest)
        return newer._replace(
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
            "unanswered": list(self.unanswered), "looked_at": self.looked_at, "unknown_until": self.unknown_until,
            "security": self.security, "signed_until": self.signed_until,
        }

    @classmethod
    def from_dict(cls, owner, data):
        """Read the JSON form.

        :raises LedgerError: it is not that.
        """
        try:
            return cls(
                _text(owner),
                _once(SeenVersion(
                    Version.from_dict(seen), *_still(seen["servers"], seen["gone_since"]), _time(seen["open_until"]))
                    for seen in _list(data["versions"])),
                _sources(data["sources"]),
                tuple((_text(address), _time(since), _seconds(looks)) for address, since, looks in _list(data["lame"])),
                tuple(_texts(data["silent"])), tuple(_texts(data["unanswered"])), _maybe(data["looked_at"]),
                _time(data["unknown_until"]), _text(data["security"]), _maybe(data["signed_until"]),
            )
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot read the memory of {owner!r} in the ledger: {_cause(exc)}") from exc


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
        :param nothing_before: the operator enables the names, and no record is published: so no chain from before this
            look matters. Else processes from before it may linger.
        :returns: a new :class:`Chains`.
        :raises LedgerError: the outcomes are none.
        """
        try:
            look = self._sort(outcomes)
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot take in the outcomes {str(outcomes):.80}: {_cause(exc)}") from exc
        if self.looked_at is not None and look.at < self.looked_at:
            return self
        # An endpoint can leave with its address; a service that is no longer looked at is none of ours.
        ours = {key.partition("|")[2] for key in look.ttls}
        sources = tuple(source for source in self.sources if source.key.partition("|")[2] in ours)
        # What a host is about to present is decided under its lock: no look comes in between.
        chains, sources, unanswered = _take_in([(*seen, 0.0) for seen in self.chains], sources, look, timing)
        looked_at, unknown_until = self.looked_at, self.unknown_until
        if _first_words(self.unanswered, unanswered, look) or looked_at is None and not nothing_before:
            unknown_until = look.at + timing.linger
        if look.ttls and not unanswered:
            looked_at = look.at
        return Chains(tuple(SeenChain(*one[:3]) for one in chains), sources, unanswered, looked_at, unknown_until)

    @staticmethod
    def _sort(outcomes):
        """The outcomes as :class:`_Look`."""
        gave, silent, ttls, left, waived, at = {}, set(), {}, set(), set(), 0.0
        for outcome in outcomes:
            endpoint, found = outcome["endpoint"], outcome["outcome"]
            key, at = endpoint_key(endpoint), max(at, _time(outcome["at"]))
            ttls[key] = _seconds(endpoint.get("ttl") or 0)
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
        """Whether :meth:`may_be_seen` is all that may be met: a complete look stands behind it."""
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
                      for seen in _list(data["chains"])),
                _sources(data["sources"]), tuple(_texts(data["unanswered"])), _maybe(data["looked_at"]),
                _time(data["unknown_until"]),
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
    if not isinstance(options or (), (list, tuple)):
        raise WaiverError(f"Cannot use the waivers {options!r:.80}: expected a list of dictionaries")
    for entry in options or ():
        given = entry if isinstance(entry, dict) else {}
        missing = [part for part in Waiver._fields if not str(given.get(part) or "").strip()]
        if missing or entry["what"] not in ("server", "endpoint"):
            raise WaiverError(
                f"Cannot use waiver {entry!r}: expected what (server or endpoint), name (its address), until "
                f"(YYYY-MM-DD) and reason" + (f"; {', '.join(missing)} is missing" if missing else ""))
        try:
            # Newer Pythons would take other forms as well.
            day = datetime.datetime.strptime(str(entry["until"]).strip(), "%Y-%m-%d").date()
        except ValueError as exc:
            raise WaiverError(f"Cannot use waiver {entry!r}: until is not a day such as 2026-12-31: {exc}") from exc
        until = ((day - datetime.date(1970, 1, 1)).days + 1) * 86400.0
        found.append(Waiver(entry["what"], str(entry["name"]).strip(), until, str(entry["reason"]).strip()))
    return tuple(found)


def waive_servers(look, waivers, now):
    """The look with the outcome ``waived`` for silent and lame servers that a waiver in force names, by address or name.

    A server that answers needs no waiver: what it gives counts, waived or not. One that is not in the look, because
    nothing leads to it any more, can be waived by its address.
    """
    servers = [
        {"address": waiver.name, "outcome": "waived", "detail": f"waived, {waiver}", "name": "", "version": None, "left": True}
        for waiver in waivers if waiver.what == "server" and now < waiver.until
        and waiver.name not in {server["address"].partition(" ")[0] for server in look["servers"]}
    ]
    for server in look["servers"]:
        if server["outcome"] != "version":
            names = {server["address"].partition(" ")[0], str(server.get("name") or "").rstrip(".")}
            server = _waive(server, "server", names, waivers, now)
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

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form; None is None.

        :raises LedgerError: it is not that.
        """
        if data is None:
            return None
        try:
            return cls(_text(data["id"]), _text(data["kind"]), _text(data["target_spki"]), _time(data["started"]))
        except _MALFORMED as exc:
            raise LedgerError(
                f"Cannot read operation {data!r:.80}: expected id, kind, target_spki and started (seconds): {_cause(exc)}"
            ) from exc


class Clock(NamedTuple):
    """What a host knows of the time: ``wall`` (epoch seconds), ``boot`` (an id of this boot) and ``uptime`` (seconds)."""

    wall: float
    boot: str
    uptime: float


class Ledger(NamedTuple):
    """All that a host remembers, digests only.

    ``published``: the records we published or adopted, by owner name: nothing else is ever withdrawn.
    ``retired``: keys that were served once and replaced: they are never published or deployed again.
    ``clock``: when it was written.
    """

    names: Tuple[Name, ...] = ()
    chains: Chains = Chains()
    operation: Optional[Operation] = None
    published: Tuple[Tuple[str, FrozenSet[Record]], ...] = ()
    retired: FrozenSet[str] = frozenset()
    clock: Optional[Clock] = None

    def at(self, clock):
        """The ledger as read at ``clock`` (:class:`Clock`), with its stamps put right where the wall clock has jumped.

        Only so much time has passed for sure as the computer has been running. By what the wall clock says beyond that
        the stamps move on, too, so that a jump ahead shortens no wait; nor does one back, as no stamp is of the future.
        """
        jump = 0.0
        if self.clock is not None:
            sure = clock.uptime - (self.clock.uptime if clock.boot == self.clock.boot else 0.0)
            jump = clock.wall - self.clock.wall - sure
        ahead, behind = max(0.0, jump), max(0.0, -jump)
        return self._replace(
            names=tuple(name.moved(ahead, behind, clock.wall) for name in self.names),
            chains=self.chains.moved(ahead, behind, clock.wall), clock=clock)

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
            "clock": self.clock._asdict() if self.clock else None,
        }

    @classmethod
    def from_dict(cls, data):
        """Read the JSON form.

        :raises LedgerError: it is not that, or of another format.
        """
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        if isinstance(found, (bool, float)) or found != LEDGER_FORMAT:
            raise LedgerError(f"Cannot read the ledger: expected format {LEDGER_FORMAT}, found {found!r:.60}")
        try:
            clock = data["clock"]
            return cls(
                tuple(Name.from_dict(owner, name) for owner, name in data["names"].items()),
                Chains.from_dict(data["chains"]),
                Operation.from_dict(data["operation"]),
                tuple((_text(owner), _records(records)) for owner, records in data["published"].items()),
                frozenset(_texts(data["retired"])),
                None if clock is None else Clock(_time(clock["wall"]), _text(clock["boot"]), _time(clock["uptime"])),
            )
        except _MALFORMED as exc:
            raise LedgerError(f"Cannot read the ledger: {_cause(exc)}") from exc


# ------------------------------------------------------------------------------------------------------------- JSON
# Ledgers are edited by hand and damaged by disks. What is read wrong here is forgotten, or is seen for ever.

_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecordError)


def _cause(exc):
    return f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)


def _text(value):
    if not isinstance(value, str):
        raise TypeError(f"expected a text, found {value!r:.60}")
    # A lone surrogate could not be written down again.
    value.encode()
    return value


def _list(value):
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"expected a list, found {value!r:.60}")
    return value


def _texts(value):
    return [_text(text) for text in _list(value)]


def _records(texts):
    return frozenset(Record.parse(text).brief() for text in _texts(texts))


def _time(value):
    # Every comparison with NaN is false, and so would end every wait; and what went before 1970 is gone for good.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise TypeError(f"expected seconds, found {value!r:.60}")
    return float(value)


def _maybe(value):
    return None if value is None else _time(value)


def _seconds(value):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise TypeError(f"expected a whole number that is not negative, found {value!r:.60}")
    return value


def _still(sources, gone_since):
    sources, gone_since = frozenset(_texts(sources)), _maybe(gone_since)
    if sources and gone_since is not None:
        raise ValueError(f"gone since {gone_since:.0f}, and yet given by {', '.join(sorted(sources))}")
    return sources, gone_since


def _once(entries):
    entries = tuple(entries)
    if len({entry[0] for entry in entries}) != len(entries):
        raise ValueError("something is listed twice")
    return entries


def _sources(value):
    return tuple(Source(_text(key), _seconds(ttl), _maybe(left)) for key, ttl, left in _list(value))
