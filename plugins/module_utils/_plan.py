# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a batch of hosts wants of the DNS: from the hosts' ledgers and chains to the options of one module call.

Pure, no clock. Private to this collection. The order of the steps stands in the playbooks and the permission to take
them is the doors'; this only gathers what many hosts say about the same owner names.

A *host* here is the dict ``dane_host`` that the roles build for each mail host:
``host``, ``active`` (takes part in this run), ``owners`` (owner names), ``combinations`` (text, to keep published),
``ttl`` (seconds), ``timing`` (see ``_rollover.Timing``), ``ledger`` (JSON), ``file_spki`` (the key in its chain file),
``file_keys`` (all keys in it, ``{"spki", "algorithm"}``, where it has one for each of several algorithms),
``candidate`` (the chain to be served, JSON, or None), ``further`` (those of other key algorithms that are served from the
same file, a list), ``standby`` (the chain that stays published for the next rekey, or None), ``further_standby`` (those of
other key algorithms, a list), ``replay_until`` (epoch seconds of the last signature seen over its records, or 0),
``key_since`` (epoch seconds of the first certificate known of that key, or None), ``key_max_age`` (seconds) and
``key_spread`` (per cent of it), ``issuer_pool`` (records of issuers, text, to publish ahead), ``anchor`` (whether records
on issuers are about the first certificate above the leaf, or about the root).
"""

from __future__ import annotations

from ._errors import PlanError
from ._ledger import Ledger
from ._memory import OMNIPRESENT, Chains, Name
from ._rollover import Chain, Timing, Version, matched, unmatched
from ._tlsa import DANE_EE, DANE_TA, FULL, PKIX_EE, PKIX_TA, SPKI, Combination, Record, unusable_reason


# certbot renews when a third of a certificate's life is left.
RENEWED_BEFORE_END = 3
# So many issuers within the time for which they are remembered are no alternation yet.
MOST_ISSUERS = 4


def ledgers_of(hosts, owner):
    """The ledgers of the hosts that serve an owner name (list of Ledger)."""
    return [Ledger.from_dict(host["ledger"]) for host in hosts if owner in host["owners"]]


def memory(hosts, owner):
    """The cautious union of what the hosts remember of an owner name (Name)."""
    merged = None
    for ledger in ledgers_of(hosts, owner):
        merged = ledger.name(owner) if merged is None else merged.merge(ledger.name(owner))
    return merged if merged is not None else Name(owner)


def owners(hosts):
    """All owner names of the active hosts, sorted (list of str)."""
    return sorted({owner for host in hosts if host["active"] for owner in host["owners"]})


def memories(hosts):
    """The option ``memories`` of tlsa_wait: what the batch remembers of each owner name (JSON)."""
    return {owner: memory(hosts, owner).to_dict() for owner in owners(hosts)}


def candidates(hosts):
    """The option ``candidates`` of tlsa_wait: for each owner name the chains that are to be served, and for which."""
    found = {}
    for host in hosts:
        if host["active"] and host.get("candidate"):
            chains = Ledger.from_dict(host["ledger"]).chains.presented()
            # Those of other hosts that share a name are not replaced.
            mine = [chain for chain in chains if chain.spki in file_spkis(host)] or chains
            entry = {"host": host["host"], "chain": host["candidate"], "replaced": [chain.to_dict() for chain in mine]}
            if host.get("further"):
                entry["further"] = host["further"]
            for owner in host["owners"]:
                found.setdefault(owner, []).append(entry)
    return found


def views(hosts, now, enabling=False):
    """The option ``view`` of tlsa_record: what may be seen at the endpoints of each owner name."""
    found = {}
    for owner in owners(hosts):
        chains, times, known, gone_at, places = set(), [], True, {}, {}
        for host in hosts:
            if owner not in host["owners"]:
                continue
            seen = Chains.from_dict(host["ledger"]["chains"])
            timing = Timing(**host["timing"])
            known = known and seen.known(_by_its_clock(host, now))
            times.append(seen.looked_at or 0.0)
            for one in _may_be_met(host, now):
                chains.add(one.chain)
                places.setdefault(one.chain.id, set()).update(map(_place, one.endpoints))
                until = None if one.gone_since is None else one.gone_since + timing.linger
                before = gone_at.get(one.chain.id, until)
                gone_at[one.chain.id] = None if None in (until, before) else max(until, before)
        found[owner] = {
            "chains": [{**chain.to_dict(), "presented_at": sorted(places[chain.id])}
                       for chain in sorted(chains, key=lambda chain: (chain.id, sorted(chain.matches)))],
            "chains_known": known, "seen_at": min(times),
            "gone_at": {chain: until for chain, until in gone_at.items() if until is not None},
            "versions": [version.to_dict() for version in memory(hosts, owner).served()],
            "remembered": [version.to_dict() for version in memory(hosts, owner).there()],
            "security": memory(hosts, owner).security, "enabling": enabling,
        }
    return found


def _place(key):
    address, _name, port = key.split("|")[:3]
    return f"{address} port {port}"


def wanted_records(host):
    """The records that a host wants published: its combinations for every chain that it vouches for.

    Those are the chains in its own files. What somebody presents at an address of the name proves nothing, and a record
    would make every sender believe it: such chains only say what must stay matched.
    """
    chains = [Chain.from_dict(chain) for chain in ready(host) + standbys(host)]
    wanted = {Combination.parse(text) for text in host["combinations"]}
    keys = {record for chain in chains + own_chains(host) for record in chain.matches if record.usage == DANE_EE}
    return {record for record in keys | issuer_records(host) if record.combination in wanted}


def issuer_records(host):
    """The records of the issuers that a host may have certificates from (set of Record, usage 2, every digest).

    Of each chain the first issuer above the leaf. Those of the chains that are ready; those that its chains had lately,
    because authorities alternate at random (``_issuers``); and those that the operator expects (``issuer_pool``).
    """
    texts = [text for chain in ready(host) + standbys(host)
             for text in chain.get("issuer_records", ())]
    told = {Record.parse(text) for text in [*texts, *host.get("issuer_pool", ())]}
    return {record for record in told if record.usage == DANE_TA} | Ledger.from_dict(host["ledger"]).issuers.records()


def ready(host):
    """The chains that a host is to serve, one for each key algorithm (list of JSON); empty when there are none."""
    return [host["candidate"], *host.get("further", ())] if host.get("candidate") else []


def standbys(host):
    """The chains that stay published for the next rekey, one for each key algorithm (list of JSON)."""
    return [host["standby"], *host.get("further_standby", ())] if host.get("standby") else []


def file_spkis(host):
    """The digests of the keys in a host's chain file (list of text)."""
    return [key["spki"] for key in host.get("file_keys", ())] or list(filter(None, [host.get("file_spki")]))


def own_chains(host):
    """The chains of the keys in a host's chain file (list of Chain)."""
    return [seen.chain for seen in Ledger.from_dict(host["ledger"]).chains.chains if seen.chain.spki in file_spkis(host)]


def publish(hosts, now, enabling=False):
    """What is to be added: for tlsa_record with ``state: present``.

    A name without any usable record gets none before the chain that it is for is the only one that may be seen: until
    then a record would turn away senders who until now delivered without DANE. Likewise a new combination that a chain
    does not match which is about to be replaced, such as one without an issuer under 2 1 1: it comes after the deployment.

    :returns: dict with ``records`` (list of ``{"name", "rdata", "ttl"}``), ``intents`` and ``published`` (by owner
        name, for the ledgers) and ``later`` (owner names that have to wait for their deployment).
    """
    result = {"records": [], "intents": {}, "published": {}, "later": []}
    for owner in owners(hosts):
        mine = [host for host in hosts if owner in host["owners"]]
        served = memory(hosts, owner).served()
        if enabling and not any(version.usable for version in served) and not _only_candidates(mine, now):
            result["later"].append(owner)
            continue
        wanted = set().union(*(wanted_records(host) for host in mine))
        wanted |= {record for host in mine for chain in ready(host) for version in served
                   for record in _missing_alternatives(
                       Chain.from_dict(chain), Version(version.records | wanted, version.ttl))}
        # Where nothing would be left, the door says what is wrong.
        wanted = wanted - _too_early(mine, served, wanted) or wanted
        _check_kept(owner, mine, served, wanted)
        _check_pkix(owner, mine, served)
        _check_issuers(owner, mine, served)
        ttl = min(host["ttl"] for host in mine)
        adopted = {record for host in mine for version in served for record in version.usable
                   for chain in _vouched_for(host) if record in chain.matches}
        ours = set().union(*(ledger.published_at(owner) for ledger in ledgers_of(hosts, owner)))
        result["published"][owner] = sorted(map(str, wanted | adopted | ours))
        if served and all(wanted <= version.records for version in served):
            continue
        result["records"].append({"name": owner, "rdata": sorted(map(str, wanted)), "ttl": ttl})
        before = served or [Version(frozenset(), ttl)]
        result["intents"][owner] = _intents(before, lambda records, more=wanted: records | more, ttl)
    return result


def _vouched_for(host):
    # Whose records we may take for ours, and so withdraw one day: not those of whoever else answers at an address of the
    # name. A host without a chain file of ours yet is believed when there is nothing to confuse.
    if file_spkis(host):
        return own_chains(host)
    presented = Ledger.from_dict(host["ledger"]).chains.presented()
    return presented if len({chain.spki for chain in presented}) == len({chain.algorithm for chain in presented}) else []


def _too_early(hosts, served, wanted):
    there = {record.combination for version in served for record in version.usable}
    replaced = [chain for host in hosts if host.get("candidate") for chain in own_chains(host)]
    missing = {combination for chain in replaced for combination in unmatched(chain, Version(frozenset(wanted), 0))} - there
    return {record for record in wanted if record.combination in missing}


def _check_kept(owner, hosts, served, wanted):
    # What the served chain matches and the next one never will, because the record holds a whole key or certificate or is
    # of another issuer: better said now than after a day of waiting.
    for host in hosts:
        for version in served:
            new = Version(version.records | wanted, version.ttl)
            lost = {combination for candidate in map(Chain.from_dict, ready(host)) for chain in _replaced_by(candidate, host)
                    for combination in matched(chain, version) & unmatched(candidate, new)}
            if lost:
                raise PlanError(
                    f"Cannot publish at {owner}: the next key of {host['host']} would never match its records "
                    f"{', '.join(str(one) for one in sorted(lost))}. Remove those first (a combination may go as a whole, "
                    "RFC 7671 section 8.3), wait two TTLs, and run again")


def _check_pkix(owner, hosts, served):
    # SMTP knows no usages 0 and 1 (RFC 7672 section 3.1.3), so we never publish one; but clients of other services may
    # heed them beside PKIX validation. They match whatever 2 and 3 match (RFC 6698 section 2.1.1).
    pinned = {record for version in served for record in version.records if record.usage in (PKIX_TA, PKIX_EE)}
    for host in hosts:
        if not pinned or not ready(host) or _is_smtp(owner, host):
            continue
        now, then = (set().union(*(chain.matches for chain in chains))
                     for chains in (own_chains(host), map(Chain.from_dict, ready(host))))
        lost = [str(record) for record in sorted(pinned) if record._replace(usage=record.usage + 2) in now - then]
        if lost:
            raise PlanError(
                f"Cannot publish at {owner}: clients of a service other than SMTP may heed {', '.join(lost)}, which the "
                f"chain that {host['host']} serves matches and the next one will not, and this collection publishes none of "
                "usage 0 or 1. Remove it, so that 3 1 1 is left, wait two TTLs, and run again")


def _is_smtp(owner, host):
    # LMTP has the commands of SMTP, and its clients the rules. Who says nothing of services has the default.
    port = int(owner.partition(".")[0][1:])
    return all(service.get("starttls", "smtp") in ("smtp", "lmtp")
               for service in host.get("services", ()) if int(service["port"]) == port)


def _replaced_by(candidate, host):
    # In the place of which chains senders will meet this one: those of its algorithm; where that is new, of any.
    mine = own_chains(host)
    return [chain for chain in [one for one in mine if one.algorithm == candidate.algorithm] or mine
            if chain.spki != candidate.spki]


def _check_issuers(owner, hosts, served):
    for host in hosts:
        combinations_wanted = {Combination.parse(text) for text in host["combinations"]}
        on_issuers = [str(one) for one in sorted(combinations_wanted) if one.usage == DANE_TA]
        wait = Timing(**host["timing"]).lifetime(max([host["ttl"], *(version.ttl for version in served)]))
        for candidate in ready(host) if on_issuers else ():
            # RFC 7671 section 5.2.2, RFC 7672 section 3.1.2: the anchor has to be in the chain that is presented.
            if not candidate.get("issuer_records"):
                raise PlanError(
                    f"Cannot publish {', '.join(on_issuers)} at {owner}: the chain that {host['host']} is to serve has no "
                    f"{host.get('anchor', 'issuer')} that senders could verify it up to. See that the lineage's chain.pem "
                    "holds the issuing intermediate, or, if the authority signs with its root, set dane_anchor to root; or "
                    "keep records on the key alone: dane_records with 3 1 1")
            if len(on_issuers) == len(combinations_wanted) and host.get("anchor") != "root":
                _check_alternation(owner, host, on_issuers)
            lifetime = candidate.get("not_after", 0) - candidate.get("not_before", 0)
            if len(on_issuers) < len(combinations_wanted) or not wait * RENEWED_BEFORE_END >= lifetime > 0:
                continue
            raise PlanError(
                f"Cannot keep only {', '.join(on_issuers)} at {owner}: a certificate of {host['host']} lives "
                f"{lifetime / 3600:.1f} h and is renewed when a third of that is left, and the record of a new issuer needs "
                f"{wait / 3600:.1f} h to reach every cache: the old certificate could expire first. Add 3 1 1 to "
                "dane_records, lower dane_ttl, or take certificates that live longer")


def _check_alternation(owner, host, on_issuers):
    # One intermediate that takes turns with another, both replaced within half a year, are four. Beyond that the next
    # certificate may well be of yet another, each time: then it has to wait for a run of renew.yml and for all caches.
    issuers = {record for record in Ledger.from_dict(host["ledger"]).issuers.records() if record.combination == (2, 1, 1)}
    strange = issuers - {Record.parse(text) for text in host.get("issuer_pool", ())}
    if len(issuers) > MOST_ISSUERS and strange:
        raise PlanError(
            f"Cannot keep only {', '.join(on_issuers)} at {owner}: the certificates of {host['host']} came from {len(issuers)} "
            f"issuers in the last 180 days, and {len(strange)} of them are not in dane_issuer_pool, so the next may come from "
            "one whose record nobody has yet. Add 3 1 1 to dane_records; or name all issuers of the authority in "
            "dane_issuer_pool; or pin its root, with dane_anchor: root")


def _missing_alternatives(chain, version):
    # RFC 7671 section 8: every combination that is published has to match, also one that nobody asked us to keep.
    combinations_there = unmatched(chain, version)
    return {record for record in chain.matches if record.combination in combinations_there and record.mtype != FULL}


def _only_candidates(hosts, now):
    candidates = {chain["spki"] for host in hosts for chain in ready(host)}
    return {one.chain.spki for host in hosts for one in _may_be_met(host, now)} <= candidates


def _may_be_met(host, now):
    """The chains that a sender may meet at a host's endpoints (list of ``_memory.SeenChain``)."""
    return Chains.from_dict(host["ledger"]["chains"]).may_be_seen(_by_its_clock(host, now), Timing(**host["timing"]))


def _by_its_clock(host, now):
    # When the ledger was written, by the clock that stamped what is in it: what lies between that clock and the
    # controller's shortens no linger.
    clock = host["ledger"]["clock"]
    return clock["wall"] if clock else now


def absent(inventory, present):
    """Which hosts that are not in this run serve which base domains.

    :param inventory: name of a host to its base domains. :param present: the hosts of this run.
    :returns: base domain to the names of those hosts (dict of lists).
    """
    found = {}
    for host in sorted(set(inventory) - set(present)):
        for name in inventory[host]:
            found.setdefault(str(name).rstrip(".").lower(), []).append(host)
    return found


def withdraw(hosts, now, elsewhere=None):
    """What is to be removed: for tlsa_record with ``state: absent``.

    Only records that are ours, of keys that no endpoint presents and no host holds ready; and none at a name that a host
    serves which is not in this run: nobody knows which key it is about to serve. A combination that was given up goes
    once every RRset that a sender may hold has what is wanted instead (RFC 7671 sections 8.2 and 8.3).

    :param elsewhere: see :func:`absent`.
    :returns: dict with ``records``, ``intents`` and ``published`` as in :func:`publish`, ``kept`` (owner name to
        the records that stay because a chain that they match may still be seen) and ``held`` (owner name to the hosts
        that are not in this run, where that is why).
    """
    result = {"records": [], "intents": {}, "published": {}, "kept": {}, "held": {}}
    for owner in owners(hosts):
        mine = [host for host in hosts if owner in host["owners"]]
        wanted, there, ours, gone = _surplus(hosts, owner)
        served = memory(hosts, owner).served()
        chains = [one.chain for host in mine for one in _may_be_met(host, now)]
        # A host that is in the middle of a rekey has records out of a key that this run does not know.
        others = (elsewhere or {}).get(owner.split(".", 2)[2].rstrip("."))
        if gone and others:
            result["held"][owner] = others
        early = set() if _everywhere(hosts, owner, wanted, now) else _given_up(gone, wanted)
        stay = gone if others or any(_holds(host) for host in mine) else _needed(gone - early, there, chains) | early
        remove = gone - stay
        # What a chain that is presented matches stays for good, and is nothing to come back for.
        kept = stay - {record for ledger in ledgers_of(mine, owner) for chain in ledger.chains.presented()
                       for record in chain.matches} | early
        if kept:
            result["kept"][owner] = sorted(map(str, kept))
        result["published"][owner] = sorted(map(str, (ours & there) - remove | wanted & ours))
        if remove:
            result["records"].append({"name": owner, "rdata": sorted(map(str, remove))})
            result["intents"][owner] = _intents(served, lambda records, gone=remove: records - gone)
    return result


def awaited(hosts):
    """The option ``records`` of tlsa_wait: what every RRset that a sender may hold has to have, before the combinations
    that were given up may go (RFC 7671 sections 8.2 and 8.3). Owner name to list of text; empty when none was given up, or
    when what is wanted instead comes only after the deployment."""
    found = {}
    for owner in owners(hosts):
        wanted, _there, _ours, gone = _surplus(hosts, owner)
        mine = [host for host in hosts if owner in host["owners"]]
        if wanted and _given_up(gone, wanted) and not _too_early(mine, memory(hosts, owner).served(), wanted):
            found[owner] = sorted(map(str, wanted))
    return found


def _surplus(hosts, owner):
    """What is wanted at an owner name, what is there, what is ours, and what of ours is there and not wanted (sets)."""
    mine = [host for host in hosts if owner in host["owners"]]
    wanted = set().union(*(wanted_records(host) for host in mine))
    there = set().union(*(version.records for version in memory(hosts, owner).served()))
    ours = set().union(*(ledger.published_at(owner) for ledger in ledgers_of(hosts, owner)))
    return wanted, there, ours, (there & ours) - wanted - _beyond_options(mine)


def _given_up(gone, wanted):
    kept = {record.combination for record in wanted}
    return {record for record in gone if record.combination not in kept}


def _everywhere(hosts, owner, wanted, now):
    name = memory(hosts, owner)
    return all(name.state(record, now, Timing(**host["timing"])) == OMNIPRESENT
               for host in hosts if owner in host["owners"] for record in wanted)


def _intents(served, change, ttl=0):
    # Which of the served RRsets the primary has, and so what it makes of it, is known only when it is asked.
    longest = max([ttl] + [version.ttl for version in served])
    made = {frozenset(change(version.records)) for version in served}
    return [Version(records, longest).to_dict() for records in sorted(made, key=sorted)]


def agreed(noted, anew):
    """What of a plan to withdraw may be done: what was noted in the ledgers, and is still wanted now that it is noted.

    Between the two a host may have failed, or begun to serve another chain.

    :param noted: what :func:`withdraw` gave before the intents were noted. :param anew: what it gives afterwards.
    :returns: as :func:`withdraw`, with what is not agreed among ``kept``.
    """
    records = [entry for entry in anew["records"] if entry in noted["records"]]
    kept = dict(anew["kept"])
    for entry in noted["records"] + anew["records"]:
        if entry not in records:
            kept.setdefault(entry["name"], entry["rdata"])
    published = {owner: sorted({*texts, *kept.get(owner, [])}) for owner, texts in anew["published"].items()}
    return {**anew, "records": records, "kept": kept, "published": published, "intents": noted["intents"]}


def _beyond_options(hosts):
    # Adopted records that dane_records cannot ask for: as long as a chain that is served or ready matches them, they stay.
    chains = [chain for host in hosts for chain in Ledger.from_dict(host["ledger"]).chains.presented()]
    chains += [Chain.from_dict(chain) for host in hosts for chain in ready(host)]
    return {record for chain in chains for record in chain.matches if not expressible(record.combination)}


def expressible(combination):
    """Whether ``dane_records`` can ask for a parameter combination (bool): of what changes with every renewal, and of whole
    keys and certificates, no record is kept."""
    on_key = (combination.usage, combination.selector) == (DANE_EE, SPKI)
    return (on_key or combination.usage == DANE_TA) and combination.mtype != FULL


def _needed(gone, there, chains):
    # A combination that goes as a whole is missed by no chain (RFC 7671 section 8.3); one that stays has to match all.
    left = Version(frozenset(there - gone), 0)
    return {record for chain in chains for record in gone & chain.matches
            if not left.usable or record.combination in unmatched(chain, left)}


def _holds(host):
    operation = host["ledger"]["operation"]
    known = [chain["spki"] for chain in ready(host)]
    return bool(operation and operation["target_spki"] and operation["target_spki"] not in known)


def linger_seconds(hosts, now):
    """How long until only candidates may be seen at the active hosts' endpoints: seconds (int), 0 when that is so."""
    times = [0.0]
    for host in hosts:
        if host["active"]:
            its_now, linger = _by_its_clock(host, now), Timing(**host["timing"]).linger
            times.append(Chains.from_dict(host["ledger"]["chains"]).unknown_until - its_now)
            times += [one.gone_since + linger - its_now for one in _may_be_met(host, now) if one.gone_since is not None]
    return int(max(times)) + 1 if max(times) > 0 else 0


def foreign(hosts):
    """Published records that match nothing we know and are not ours: named, never touched (owner name to texts)."""
    found = {}
    for owner in owners(hosts):
        there = {record for version in memory(hosts, owner).served() for record in version.records}
        known = set().union(*(wanted_records(host) for host in hosts if owner in host["owners"]))
        ours = set().union(*(ledger.published_at(owner) for ledger in ledgers_of(hosts, owner)))
        matching = {record for host in hosts if owner in host["owners"]
                    for chain in Ledger.from_dict(host["ledger"]).chains.presented() for record in chain.matches}
        rest = [str(record) + (f" ({unusable_reason(record)})" if unusable_reason(record) else "")
                for record in sorted(there - known - ours - matching)]
        if rest:
            found[owner] = rest
    return found


def looked_at(base_domains, endpoints):
    """Where the endpoints of each base domain are looked at: at the addresses of the option, or those of the DNS.

    :param base_domains: what tlsa_wait returns (list of dict). :param endpoints: ``dane_endpoints``.
    :returns: the same list with those addresses; the TTL stays, as it tells how long caches lead to the host.
    """
    given = {str(name).rstrip(".").lower(): addresses for name, addresses in endpoints.items()}
    return [{**entry, "addresses": given[entry["name"]], "problem": ""} if entry["name"] in given else entry
            for entry in base_domains]


def _places_of_others(ledger, ours):
    keys = {}
    for seen in Chains.from_dict(ledger["chains"]).chains if ledger and ours else ():
        for key in seen.endpoints:
            keys.setdefault(key.partition("|")[0], set()).add(seen.chain.spki)
    return {address for address, found in keys.items() if not found & set(ours)}


def problems(looks, outcomes, ledger=None, file_spkis=()):
    """What stands in the way of DANE at a host, found by one look at the DNS and the endpoints (list of str).

    :param looks: looks of the host's owner names. :param outcomes: outcomes of its endpoints.
    :param ledger: what the host remembers (JSON), and ``file_spkis`` the keys in its chain file: an address that presented
        only other keys when it was last heard is another host's, which shares the name, and its outage is not this one's.
    """
    found, theirs = [], _places_of_others(ledger, file_spkis)
    outcomes = [outcome for outcome in outcomes if str(outcome["endpoint"]["address"]) not in theirs]
    for look in looks:
        owner = look["owner"]
        if look["security"] != "secure":
            why = "; ".join(look["findings"]) or "the resolver does not vouch for it"
            found.append(f"{owner} is {look['security']}, not secure: DANE needs a signed zone that validates ({why})")
        elif not look["servers"]:
            found.append(f"{owner}: no authoritative server found: " + "; ".join(look["findings"]))
    without_tls = sorted({
        f"{outcome['endpoint']['address']} port {outcome['endpoint']['port']} offers no TLS ({outcome['detail']}); let the "
        "service offer it first, with any certificate"
        for outcome in outcomes if outcome["outcome"] == "no-tls"})
    silent = sorted({
        f"{outcome['endpoint']['address']} port {outcome['endpoint']['port']} does not answer ({outcome['detail']}); see that "
        "it runs and can be reached from this host, or name it in dane_waive if it is gone for good"
        for outcome in outcomes if outcome["outcome"] == "silent"})
    return found + without_tls + silent
