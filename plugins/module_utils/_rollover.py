# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two questions of a TLSA rollover. Pure: no I/O, no clock, standard library only. Private to this collection.

RFC 7671 section 8 asks that for every parameter combination in a TLSA RRset at least one record match the chain that
the server presents. A rollover has two sides that change at different times, and a sender may combine any RRset that
it may still hold with any chain that it may still meet. So there is one rule:

    Whatever changes on one side must suit everything that may still be seen on the other.

and two questions: :func:`may_publish` for a change of the RRset, :func:`may_deploy` for a change of the chain. What may
still be seen is the business of ``_memory``; here is what suits what, and how long things may be seen (:class:`Timing`).

Times are seconds since the epoch (float) and come from the caller; durations are seconds (int).
"""

from __future__ import annotations

from typing import FrozenSet, NamedTuple, Optional, Tuple

from . import _fields
from ._errors import LedgerError
from ._tlsa import DANE_EE, DANE_TA, SPKI, Record, unusable_reason


class Timing(NamedTuple):
    """How long things may still be seen after they went, and how long a look is worth something. In seconds but for
    ``factor`` and ``lame_looks``.

    ``factor``: RFC 7671 section 8.1 says two TTLs or more. ``floor``: for resolvers that raise short TTLs. ``slack``:
    senders' own caches, the time between lookup and handshake, and clocks that differ. ``linger``: processes that
    outlive a reload.
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

    @property
    def door_seconds(self):
        """How long a door may take from its question to its deed (seconds): as old as its view may be, and once more."""
        return 2 * self.view_max_age

    def lifetime(self, ttl):
        """How long caches may hold what was served with this TTL (seconds, RFC 7671 section 8.1)."""
        return max(self.factor * ttl, self.floor) + self.slack


class Version(NamedTuple):
    """What a lookup of an owner name gives at one server at one time; no records: nothing is there.

    ``records`` are in brief form (``_tlsa.Record.brief``). ``ttl`` is the sum of the TTLs along the path, because a
    cached CNAME may lead to a late lookup of its target; for an empty version it is the negative TTL (RFC 2308 section 5,
    RFC 8198 section 5.4), and what comes from a wildcard adds that (RFC 8198 section 5.3, RFC 9077).
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
            return cls(_fields.records(data["records"]), _fields.whole_number(data["ttl"]),
                       tuple(_fields.texts(data.get("path", ()))))
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot read a version of an RRset: {_fields.cause(exc)}") from exc

    def to_dict(self):
        """The JSON form."""
        return {"records": sorted(map(str, self.records)), "ttl": self.ttl, "path": list(self.path)}

    @property
    def usable(self):
        """The records that we count on senders to heed for SMTP (RFC 7672 section 3.1.3, RFC 6698 section 4.1)."""
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
            return cls(_fields.text(data["id"]), _fields.text(data["spki"]), _fields.text(data["algorithm"]),
                       _fields.records(data["matches"]))
        except _fields.MALFORMED as exc:
            raise LedgerError(f"Cannot read a chain: {_fields.cause(exc)}") from exc

    def to_dict(self):
        """The JSON form."""
        return {
            "id": self.id, "spki": self.spki, "algorithm": self.algorithm, "matches": sorted(map(str, self.matches)),
        }


def matched(chain, version):
    """The usable combinations of the version in which some record matches the chain (RFC 7671 section 8)."""
    return {record.combination for record in version.usable if record in chain.matches}


def unmatched(chain, version):
    """The other usable combinations: a sender that heeds only one of these, as digest agility lets it (RFC 7671 section
    9, RFC 7672 section 5), refuses the chain."""
    return {record.combination for record in version.usable} - matched(chain, version)


def fine(chain, version, empty_is_fine=False):
    """Whether a sender that holds this version accepts this chain, whichever combination it picks.

    An RRset that is empty is no DANE: an outage to mandatory senders and a downgrade to others. One without usable
    records authenticates nobody (RFC 7672 section 2.2). So that is fine only while a name is being enabled or retired
    (``empty_is_fine``).
    """
    if not version.usable:
        return empty_is_fine
    return not unmatched(chain, version)


# From good to bad.
YES = ("yes", "no worse", "at your word")


class Answer(NamedTuple):
    """The answer to one of the two questions.

    ``verdict``: ``yes``; ``no worse`` (yes, but what is there now is not fine to begin with); ``at your word`` (a no that
    the operator has overridden, see ``_waivers``); ``no``.
    ``reasons``: dicts with ``text`` and machine-readable keys (``code``, ``owner``, ``chain``, ``version``, ...).
    ``safe_at``: with ``no``, the earliest time at which it could become yes, or None when time alone cannot make it
    one. ``safe_at`` minus now IS the propagation wait.
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
    """One answer for many names: yes when all are, and then as good as the worst; with every reason and the latest
    ``safe_at``."""
    answers = list(answers)
    reasons = tuple(reason for answer in answers for reason in answer.reasons)
    refused = [answer for answer in answers if not answer.yes]
    if refused:
        times = [answer.safe_at for answer in refused]
        return Answer("no", reasons, None if None in times else max(times))
    return Answer(max((answer.verdict for answer in answers), key=YES.index, default="yes"), reasons)


def _no(reasons):
    times = [reason["until"] for reason in reasons]
    return Answer("no", tuple(reasons), None if None in times else max(times))


def may_publish(new, chains, served, owner="", empty_is_fine=False, chains_known=True, gone_at=None, security="secure",
                replaced=None, remembered=()):
    """May the RRset at this owner name become ``new`` now? (RFC 7671 sections 8, 8.3 and 8.4)

    Its chains come from the memories of several hosts, so they are given one by one, and not as a memory.

    :param new: the :class:`Version` to be.
    :param chains: every :class:`Chain` that may be seen under the name.
    :param served: the versions that servers give now.
    :param empty_is_fine: the name is being enabled or retired.
    :param chains_known: whether a complete look at the endpoints stands behind ``chains``.
    :param gone_at: id of a chain to the time (epoch seconds) from which it can no longer be met; a chain that is not in
        it is still presented.
    :param security: of the zone, as the last look found it.
    :param replaced: the version in whose place the new one comes, as the server gives it that makes the change; None where
        nothing is remembered.
    :param remembered: the versions that count as being there (``_memory.Name.there``).
    :returns: :class:`Answer`.

    What is replaced may be in caches for two of its TTLs (section 8.1), and nobody will see it any more: so it has to be
    remembered before, with its TTL.
    """
    served, chains = list(served), list(chains)
    if security != "secure" and new.usable:
        return _no([_not_secure(owner, security)])
    if replaced is not None and not any(
            seen.records == replaced.records and seen.ttl >= replaced.ttl for seen in remembered):
        return _no([_reason(
            "replaced-unseen", owner, f"the server that takes the change gives the version {_show(replaced)}, which no look at "
            "the authoritative servers has found, so nobody would wait for caches to let it go: run again, for a new look; if "
            "none of them ever gives it, name that server in dane_extra_servers", version=replaced.to_dict())])
    if not new.usable and not empty_is_fine and any(version.usable for version in served):
        return _no([_reason(
            "empty", owner, "would be left without a usable record: an outage to mandatory senders, a downgrade to "
            "others; publish the next record first")])
    if served and all(_adds_alternatives(new, version) for version in served):
        return Answer("yes")
    if not chains_known:
        return _no([_reason(
            "chains-unknown", owner, "not every endpoint has been looked at, or not since its ledger began, so what this "
            "change must match is not known: run again, or name an address that is gone for good in dane_waive")])
    if not chains and new.usable:
        return _no([_reason(
            "no-chain", owner, "no endpoint presents a chain, so no record can match one: let the service offer TLS first")])
    refused = [chain for chain in chains if not fine(chain, new, empty_is_fine) and not (
        served and all(_publishing_is_no_worse(chain, new, version) for version in served))]
    if not refused:
        return Answer("yes" if all(fine(chain, new, empty_is_fine) for chain in chains) else "no worse")
    return _no([_chain_unmatched(chain, new, owner, (gone_at or {}).get(chain.id)) for chain in refused])


def _chain_unmatched(chain, new, owner, until):
    missing = ", ".join(str(combination) for combination in sorted(unmatched(chain, new))) or "any combination"
    where = "is presented" if until is None else "may be met for some time more, as processes that serve it live on"
    return _reason(
        "chain-unmatched", owner, f"the chain of key {chain.spki[:16]} {where}, and the new RRset would not match it in "
        f"{missing}", until=until, chain=chain.id, spki=chain.spki)


def _adds_alternatives(new, old):
    # More records in the same combinations: whatever matched before matches still, for every chain, known or not.
    return new.usable >= old.usable and bool(old.usable) and (
        {record.combination for record in new.usable} == {record.combination for record in old.usable})


def _publishing_is_no_worse(chain, new, old):
    return unmatched(chain, new) <= unmatched(chain, old) and matched(chain, old) <= matched(chain, new)


def may_deploy(new, name, replaced, now, timing, empty_is_fine=False):
    """May the chains ``new`` be presented under this owner name from now on? (RFC 7671 section 8.1, RFC 7672 section 4)

    :param new: the chains of one deployment unit: a :class:`Chain` for each key algorithm (non-empty tuple).
    :param name: what is remembered of the owner name (``_memory.Name``), a fresh look already in it.
    :param replaced: the chains that senders meet today where ``new`` will be presented.
    :param now: the time (seconds since the epoch).
    :param timing: :class:`Timing`.
    :param empty_is_fine: the name is being enabled or retired.
    :returns: :class:`Answer`.

    A renewal, the same keys and the same issuers, matches whatever the old chain matched, so neither unknown history nor
    a server that is not heard stands in its way, and a memory whose last look is up to ``look_max_age`` old will do. The
    exception is a record over a whole leaf (3 0 x) that this memory never saw.
    """
    renewal = _is_renewal(new, replaced)
    reasons = _stale(name, now, timing.look_max_age, timing) if renewal else problems(name, now, timing)
    verdict = "yes"
    for seen in name.may_be_seen(now, timing):
        worse = [chain for chain in new if not fine(chain, seen.version, empty_is_fine)]
        if worse and all(_deploying_is_no_worse(chain, new, replaced, seen.version) for chain in worse):
            verdict = "no worse"
        elif worse:
            reasons += [_version_unmatched(chain, name, seen, now, timing) for chain in worse]
    if now < name.unknown_until and not renewal:
        reasons.append(_reason(
            "history-unknown", name.owner, "versions that this ledger has not seen may be in caches for "
            f"{name.unknown_until - now:.0f} s more, and there is nothing to do but to wait", until=name.unknown_until))
    return _no(reasons) if reasons else Answer(verdict)


def problems(name, now, timing):
    """Why nothing may be decided about an owner name at all: reasons as in :class:`Answer` (list of dict), empty when
    nothing stands in the way."""
    if name.looked_at is not None and name.security != "secure":
        found = [_not_secure(name.owner, name.security)]
    else:
        found = _stale(name, now, timing.view_max_age, timing)
    # Caches keep nothing longer than its signature (RFC 4035 section 5.3.3): what is fetched now has to be good as long
    # as it may be used.
    needed = now + max((version.ttl for version in name.served()), default=0) + timing.slack
    if name.signed_until is not None and name.signed_until < needed:
        found.append(_reason(
            "signature-ends", name.owner, f"a signature (RRSIG) that some server gives ends in "
            f"{name.signed_until - now:.0f} s: see that the zone is being signed and every secondary is up to date, or "
            "lower the TTL, which should be a small part of a signature's life", signed_until=name.signed_until))
    return found + [_unheard(name, address) for address in name.silent]


def _unheard(name, address):
    if address in name.unanswered:
        code, what = "server-unknown", "has never answered, so what it serves is not known"
    else:
        # What it gave last is no promise: one that starts gives what is on its disk.
        code, what = "server-silent", "does not answer, and may come back with what it gave before; see that it runs"
    return _reason(
        code, name.owner, f"server {address} {what}; if it is gone for good, name it in dane_waive", server=address)


def _stale(name, now, max_age, timing):
    if name.heard_at is not None and -timing.view_max_age <= now - name.heard_at <= max_age:
        return []
    if name.looked_at is not None and abs(now - name.looked_at) <= timing.view_max_age:
        mute = ", ".join(name.silent) or "all are lame or waived"
        return [_reason("nobody-heard", name.owner, f"no server answers with authority ({mute}): see that they run, and that "
                        "port 53 is open from here, UDP and TCP")]
    return [_reason("view-stale", name.owner, f"the last look at its servers is not of the last {max_age} s: look again "
                    "(mailops.dane.tlsa_wait, on the host dane-gate look); if it was taken just now, the clocks differ")]


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
    return bool(compared) and all(_replaces(chain, old, version) for old in compared)


def _replaces(chain, old, version):
    # A chain that we count as matching nothing may satisfy DANE-TA all the same: by an anchor that is in the record and
    # not in the chain (RFC 7671 sections 5.2.2 and 5.2.3), or by the next-hop domain as its name (RFC 7672 section
    # 3.2.2). Then only a renewal is no worse for sure.
    counted = matched(old, version) or all(record.usage != DANE_TA for record in version.usable)
    return matched(old, version) <= matched(chain, version) and (bool(counted) or _same_but_leaf(old, chain))


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


_MUTE = " (no answer)"


def _reason(code, owner, text, until=None, **more):
    return {"code": code, "owner": owner, "text": f"{owner}: {text}", "until": until, **more}


def _not_secure(owner, security):
    return _reason("not-secure", owner, f"the answer is {security or 'unknown'}, not secure: DANE needs a signed zone that "
                   "validates", security=security)


def _show(version):
    if not version.records:
        return f"without records (negative TTL {version.ttl})"
    return "{" + ", ".join(f"{r.combination} {r.data[:16]}" for r in sorted(version.records)) + f"}} (TTL {version.ttl})"
