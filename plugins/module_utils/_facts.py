# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the DNS says and what endpoints present, put together: verdicts with reasons. Pure. Private to this collection.

A sender that looks at a mail host meets one of four outcomes, and they must never be mixed up:

* ``matched``: it authenticates the server;
* ``no records``: there is no DANE here (a sender that demands it keeps its mail);
* ``insecure``: whatever is there, DNSSEC does not vouch for it, and it is ignored;
* ``no match``: there are records, and the server is not the one they speak of. Mail is refused.

Next to them stand the ways in which nothing could be compared: ``unreachable`` (no answer, so nothing is known),
``no TLS`` (records, and a server that refuses TLS) and ``bogus`` (the DNS answer does not validate).

A sender's answer can come from any authoritative server and from any cache, so an endpoint's verdict is the worst over
all versions seen anywhere. That is how one secondary that fell back to an old zone shows.

All that is impure is in the ``world`` that :func:`observe` is given; see ``plugins/modules/tlsa_facts.py``.
"""

from __future__ import annotations

from typing import NamedTuple, Tuple

from ._errors import DaneError, RecordError
from ._rollover import Chain, Version, matched, unmatched
from ._tlsa import FULL, Record, check_publishable, lint, owner_name, unusable_reason

MATCHED, NO_RECORDS, INSECURE, NO_MATCH = "matched", "no records", "insecure", "no match"
UNREACHABLE, NO_TLS, BOGUS = "unreachable", "no TLS", "bogus"
WORST_FIRST = (NO_MATCH, BOGUS, NO_TLS, UNREACHABLE, INSECURE, NO_RECORDS, MATCHED)
#: With one of these a sender that verifies keeps or bounces mail.
BROKEN = (NO_MATCH, BOGUS, NO_TLS)

DNS, ENDPOINTS = "dns", "endpoints"
DAY = 86400
# Signers renew days ahead (BIND's default: five). With less than this left, whatever should sign does not.
RRSIG_SOON = 2 * DAY
# The longer the TTL, the longer the wait of every rollover, and of every repair.
TTL_LONG = DAY

ERROR, WARNING, NOTE = "error", "warning", "note"


class Service(NamedTuple):
    """What is looked at: a TLS service of a host (without final dot, lower case)."""

    host: str
    port: int
    starttls: str


class Request(NamedTuple):
    """What was asked for. ``parts``: ``dns``, ``endpoints`` or both. ``file``: there is a chain on disk to compare."""

    services: Tuple[Service, ...] = ()
    domains: Tuple[str, ...] = ()
    parts: Tuple[str, ...] = (DNS, ENDPOINTS)
    valid_days: float = 0
    file: bool = False


class Seen(NamedTuple):
    """A version of the RRset, and who gave it: dicts with ``name``, ``address``, ``serial``."""

    version: Version
    servers: Tuple[dict, ...]


def worst(verdicts):
    """The verdict that stands for several; None when there is none."""
    found = [verdict for verdict in verdicts if verdict is not None]
    return min(found, key=WORST_FIRST.index, default=None)


# ------------------------------------------------------------------------------------------------- one chain, one RRset


def heeded(records):
    """The records that a sender with digest agility looks at (RFC 7671 section 9): of each usage and selector those
    with the strongest digest, and those without a digest."""
    strongest = {}
    for record in records:
        key = (record.usage, record.selector)
        strongest[key] = max(strongest.get(key, FULL), record.mtype)
    return frozenset(
        record for record in records if record.mtype in (FULL, strongest[(record.usage, record.selector)]))


def judge(chain, version):
    """What a sender that holds this version makes of this chain: (verdict, code of the reason)."""
    if not version.usable:
        return NO_RECORDS, "no-usable-record" if version.records else "no-records"
    if heeded(version.usable) & chain.matches:
        return MATCHED, "matched"
    return NO_MATCH, "digest-agility" if version.usable & chain.matches else "no-match"


# ------------------------------------------------------------------------------------------------------------- the look


def observe(request, world):
    """Look, and say what it means.

    :param request: :class:`Request`.
    :param world: gives ``now()``, ``mail_hosts(domain)``, ``addresses(hosts)`` (host to ``_dns.Addresses`` or
        :class:`DaneError`), ``look(owners)`` and ``resolve(owners)`` (owner to JSON), ``shake(targets, valid_at)``
        (targets: pairs of :class:`Service` and addresses; gives outcomes of ``_probe``), ``file(names, valid_at)``.
    :returns: dict, the value of the fact ``tlsa``.
    :raises DaneError: the resolver or the file cannot be read at all, or an option makes no sense.
    """
    now = world.now()
    valid_at = now + request.valid_days * DAY
    domains = [_domain(name, world) for name in dict.fromkeys(map(_bare, request.domains))]
    services = _services(request, domains)
    addresses = world.addresses(sorted({service.host for service in services}))
    views = [_View(service, addresses[service.host]) for service in services]
    if DNS in request.parts:
        owners = sorted({owner for view in views for owner in view.candidates()})
        looks, resolved = world.look(owners), world.resolve(owners)
        for view in views:
            view.take_dns(looks, resolved)
    if ENDPOINTS in request.parts:
        targets = dict.fromkeys((view.target, tuple(view.addresses)) for view in views if view.addresses)
        outcomes = _grouped(world.shake(list(targets), valid_at), lambda outcome: Service(
            *(outcome["endpoint"][part] for part in ("name", "port", "starttls"))))
        for view in views:
            view.take_outcomes(outcomes.get(view.target, ()))
    file = world.file(sorted({view.base for view in views}), valid_at) if request.file else None
    return _facts(request, domains, views, file, now, valid_at)


def _facts(request, domains, views, file, now, valid_at):
    endpoints = [endpoint for view in views for endpoint in view.endpoints()]
    for domain in domains:
        _judge_domain(domain, views)
    findings = [finding for view in views for finding in view.findings(now, valid_at)]
    if file is not None:
        findings += _judge_file(file, views)
    answered = {(one["host"], one["address"], one["port"]) for one in endpoints if one["outcome"] != "silent"}
    facts = {
        "seen_at": now,
        "valid_at": valid_at,
        "verdict": worst([view.verdict for view in views] + [domain["verdict"] for domain in domains]),
        "examined": len(answered),
        "domains": domains,
        "services": [view.to_dict() for view in views],
        "endpoints": endpoints,
        "file": file,
        "findings": findings,
    }
    facts["report"] = report(facts, DNS in request.parts, ENDPOINTS in request.parts)
    return facts


def _grouped(things, key):
    groups = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return groups


def _bare(name):
    return str(name).strip().rstrip(".").lower()


def _domain(name, world):
    entry = {"domain": name, "hosts": [], "security": None, "implicit": False, "reasons": [], "seen_at": world.now()}
    try:
        found = world.mail_hosts(name)
    except DaneError as exc:
        entry["reasons"].append(_reason("domain-unknown", exc.message))
        return entry
    entry.update(security=found.security, implicit=found.implicit)
    for host in map(_bare, found.hosts):
        try:
            owner_name(host, 25)
            entry["hosts"].append(host)
        except RecordError as exc:
            entry["reasons"].append(_reason("host-unknown", exc.message))
    return entry


def _services(request, domains):
    wanted = [service._replace(host=_bare(service.host)) for service in request.services]
    for service in wanted:
        # What the operator wrote is refused at once; what the DNS says is only reported.
        owner_name(service.host, service.port)
    wanted += [Service(host, 25, "smtp") for domain in domains for host in domain["hosts"]]
    return list(dict.fromkeys(wanted))


def _judge_domain(domain, views):
    verdicts = [view.verdict for view in views
                if view.service.host in domain["hosts"] and view.service[1:] == (25, "smtp")]
    if domain["security"] == "insecure":
        domain["reasons"].append(_reason(
            "mx-insecure", f"the MX records of {domain['domain']} are not signed: who forges them chooses the host, so "
            "DANE at the hosts protects this domain only by luck; sign the zone"))
        verdicts.append(INSECURE)
    if domain["security"] == "bogus":
        domain["reasons"].append(_reason(
            "mx-bogus", f"the MX records of {domain['domain']} do not validate; repair the zone's signatures"))
        verdicts.append(BOGUS)
    if domain["reasons"] and not verdicts:
        verdicts.append(UNREACHABLE)
    domain["verdict"] = worst(verdicts)


def _reason(code, text, **fields):
    return {"code": code, "text": text, **fields}


# ---------------------------------------------------------------------------------------------------------- one service


class _View:
    """All that was seen of one service."""

    def __init__(self, service, addresses):
        self.service = service
        self.base = service.host
        self.failure = addresses if isinstance(addresses, DaneError) else None
        self.found = None if self.failure else addresses
        self.addresses = list(addresses.addresses) if self.found else []
        self.path = [_bare(name) for name in addresses.path] if self.found else []
        self.look = self.resolved = None
        self.versions = []
        self.outcomes = []

    # ---- base domain

    def bases(self):
        """Base domains in the order in which a sender tries them (RFC 7672 section 2.2.2): where aliases lead, if all
        of the way there is secure, and then the name itself."""
        expanded = self.path[-1:] if self.found and self.found.security == "secure" else []
        return list(dict.fromkeys([*expanded, self.service.host]))

    def candidates(self):
        """The owner names of all of them."""
        return [owner_name(base, self.service.port) for base in self.bases()]

    @property
    def owner(self):
        return owner_name(self.base, self.service.port)

    @property
    def target(self):
        return self.service._replace(host=self.base)

    # ---- taking in

    def take_dns(self, looks, resolved):
        for base, owner in zip(self.bases(), self.candidates()):
            self.base, self.look, self.resolved = base, looks[owner], resolved.get(owner)
            self.versions = _versions(self.look, self.resolved)
            if any(seen.version.records for seen in self.versions) or self.look["security"] in (BOGUS, UNREACHABLE):
                break

    def take_outcomes(self, outcomes):
        # Another service may have the same base domain, and other addresses.
        self.outcomes = [outcome for outcome in outcomes if outcome["endpoint"]["address"] in self.addresses]

    # ---- judging

    def dns_verdict(self):
        """What the DNS alone decides, whatever is presented: (verdict or None, reasons)."""
        if self.failure:
            return UNREACHABLE, [_reason("host-unknown", self.failure.message)]
        if self.look is None:
            return None, []
        said = "; ".join(self.look["findings"])
        if self.look["security"] == BOGUS:
            return BOGUS, [_reason("bogus", f"the TLSA answer for {self.owner} does not validate, so senders that "
                                   f"verify keep their mail: {said}. Repair the zone's signatures or its DS")]
        if self.look["security"] == UNREACHABLE or not self.versions:
            return UNREACHABLE, [_reason("dns-unreachable", f"what {self.owner} has could not be found out: {said}")]
        absence = [] if any(seen.version.usable for seen in self.versions) else [self._absence()]
        if self.look["security"] == INSECURE:
            return INSECURE, [_reason("insecure", f"{self.owner}: {said or 'the answer is not authentic'}; sign the "
                                      "zone and give its DS to the parent")] + absence
        if self.found.security == INSECURE and self.base == self.path[-1]:
            # RFC 7672 section 2.2.2: whoever forges the address need not know the key.
            return INSECURE, [_reason("address-insecure", f"the addresses of {self.base} are not signed, so senders do "
                                      "not ask for TLSA records")] + absence
        return (NO_RECORDS, absence) if absence else (None, [])

    def _absence(self):
        if any(seen.version.records for seen in self.versions):
            return _reason("no-usable-record", f"{self.owner} has only records that senders ignore: they encrypt, and "
                           "do not authenticate; publish one of the collection's (playbook enable)")
        return _reason("no-records", f"{self.owner} has no TLSA records; publish them (playbook enable)")

    def endpoints(self):
        """Each endpoint with its outcome, verdict and reasons (list of dict)."""
        return [self._endpoint(outcome) for outcome in self.outcomes]

    def _endpoint(self, outcome):
        verdict, reasons = self._judge(outcome)
        endpoint = {key: value for key, value in outcome["endpoint"].items() if key != "name"}
        chain = outcome["chain"]
        combinations = {"matched": [], "unmatched": []}
        if chain and self.versions:
            seen_by = [(matched(Chain.from_dict(chain), seen.version), unmatched(Chain.from_dict(chain), seen.version))
                       for seen in self.versions]
            # Matched is what every version matches; unmatched what some version does not.
            lacking = set().union(*(pair[1] for pair in seen_by))
            combinations = {
                "matched": sorted(map(str, set().union(*(pair[0] for pair in seen_by)) - lacking)),
                "unmatched": sorted(map(str, lacking)),
            }
        return {
            "host": self.service.host, "name": outcome["endpoint"]["name"], "owner": self.owner, **endpoint,
            "outcome": outcome["outcome"], "verdict": verdict, "reasons": reasons, **combinations, "chain": chain,
            "detail": outcome["detail"], "seen_at": outcome["at"],
        }

    def _judge(self, outcome):
        kind, detail = outcome["outcome"], outcome["detail"]
        where = place(outcome["endpoint"])
        verdict, reasons = self.dns_verdict()
        if kind == "silent":
            reasons = reasons + [_reason("silent", f"{where}: no handshake: {detail}")]
            return verdict or UNREACHABLE, reasons
        if kind == "no-tls":
            return verdict or NO_TLS, reasons + [_reason("no-tls", f"{where}: refuses TLS: {detail}; turn STARTTLS on")]
        if kind != "chain":
            return None, [_reason(kind, f"{where}: no chain for {outcome['endpoint']['algorithm']}")]
        if verdict or self.look is None:
            return verdict, reasons
        return self._compare(Chain.from_dict(outcome["chain"]), outcome["endpoint"])

    def _compare(self, chain, endpoint):
        reasons, verdicts = [], []
        for seen in self.versions:
            verdict, code = judge(chain, seen.version)
            verdicts.append(verdict)
            if verdict != MATCHED:
                who = _who(seen.servers) if len(self.versions) > 1 else "every server that answered has"
                reasons.append(_reason(
                    code, f"{who} {_TEXTS[code].format(**self._words(seen, chain, endpoint))}",
                    servers=list(seen.servers), records=sorted(map(str, seen.version.records))))
        if not reasons:
            combinations = sorted(set().union(*(matched(chain, seen.version) for seen in self.versions)))
            reasons = [_reason("matched", f"{place(endpoint)} presents what {_list(combinations)} asks for",
                               combinations=list(map(str, combinations)))]
        return worst(verdicts), reasons

    def _words(self, seen, chain, endpoint):
        return {"records": show(seen.version.records), "place": place(endpoint), "owner": self.owner,
                "key": f"{chain.algorithm} key {chain.spki[:16]}", "spki": chain.spki}

    @property
    def verdict(self):
        decided = self.dns_verdict()[0]
        return worst([decided] + [endpoint["verdict"] for endpoint in self.endpoints()])

    def to_dict(self):
        """The service with the views of the DNS."""
        look = None if self.look is None else {**self.look, "seen_at": self.look["taken_at"]}
        return {
            "host": self.service.host, "port": self.service.port, "starttls": self.service.starttls, "name": self.base,
            "owner": self.owner, "addresses": self.addresses, "aliases": self.path[1:],
            "address_security": self.found.security if self.found else None,
            "security": look and look["security"], "dns": look, "resolver": self.resolved,
            "verdict": self.verdict, "reasons": self.dns_verdict()[1],
        }

    # ---- findings

    def findings(self, now, valid_at):
        """What works today and bites later, or bites already (list of dict)."""
        found = []
        if self.look is not None:
            found += _record_findings(self.versions)
            found += self._server_findings()
            found += self._resolver_findings()
            found += _time_findings(self.look["servers"], now)
            found += [_finding("dns", WARNING, text) for text in self.look["findings"] if not self._named_before(text)]
            found += self._chain_findings(valid_at)
        return [{**finding, "owner": self.owner, "host": self.service.host} for finding in found]

    def chains(self):
        """The chains presented, each once (list of the JSON form)."""
        presented = [outcome["chain"] for outcome in self.outcomes if outcome["chain"]]
        return list({chain["id"]: chain for chain in presented}.values())

    def _named_before(self, text):
        # The look tells it in words; here the server has a finding with fields.
        return any(text.startswith(f"{server['name'] or 'server'} ({server['address']})")
                   for server in self.look["servers"] if server["version"] is None)

    def _server_findings(self):
        found = []
        for entry in self.look["servers"]:
            if entry["version"] is None:
                code = "server-lame" if entry["outcome"] == "does-not-serve" else "server-silent"
                found.append(_finding(code, WARNING, f"{_server(entry)}: {entry['detail']}", **_identity(entry)))
        for asked in sorted({entry["asked"] for entry in self.look["servers"]}):
            found += self._differences([entry for entry in self.look["servers"]
                                        if entry["asked"] == asked and entry["version"] is not None])
        return found

    def _differences(self, entries):
        serials = {entry["serial"] for entry in entries if entry["serial"] is not None}
        newest = _newest(serials)
        current = {_records(entry) for entry in entries if entry["serial"] == newest}
        found = []
        if len(current) > 1:
            found.append(_finding(
                "servers-differ", ERROR, f"servers with the same SOA serial {newest} give different records: "
                + "; ".join(f"{_server(entry)} {show(_records(entry))}" for entry in entries
                            if entry["serial"] == newest)
                + ". Some sender gets the one or the other; find out which of them changes the zone on its own",
                servers=[_identity(entry) for entry in entries if entry["serial"] == newest]))
        for entry in entries:
            if entry["serial"] != newest:
                found.append(self._behind(entry, newest, current))
        return found

    def _behind(self, entry, newest, current):
        who, fields = _server(entry), {**_identity(entry), "newest_serial": newest}
        records = _records(entry)
        repair = "look at its zone transfers (its log, NOTIFY, TSIG key, the zone's expiry) and retransfer the zone"
        if records in current:
            return _finding("server-behind-unharmed", NOTE, f"{who} has an older zone than serial {newest}, with the "
                            "same records", **fields)
        chains = [Chain.from_dict(chain) for chain in self.chains()]
        harmed = [chain for chain in chains if judge(chain, Version(records, 0))[0] != MATCHED and all(
            judge(chain, Version(other, 0))[0] == MATCHED for other in current)]
        if harmed:
            return _finding(
                "server-fell-back", ERROR, f"{who} serves an older zone than serial {newest}: {show(records)}, which "
                f"does not match the {harmed[0].algorithm} key {harmed[0].spki[:16]} that is presented. It fell back, "
                "or the key was changed before it had the records; senders that ask it keep their mail. Now: "
                + repair, **fields)
        return _finding("server-behind", WARNING, f"{who} serves an older zone than serial {newest}: {show(records)}. "
                        f"Do not deploy before it has caught up; if it does not, {repair}", **fields)

    def _resolver_findings(self):
        view = self.resolved
        served = {_records(entry) for entry in self.look["servers"] if entry["version"] is not None}
        if not view or view["records"] is None or not served or _parse(view["records"]) in served:
            return []
        return [_finding(
            "resolver-behind", WARNING, f"the resolver {view['resolver']} gives {show(_parse(view['records']))} for "
            f"{view['ttl']} s more, which no server has now: so may others", address=view["resolver"])]

    def _chain_findings(self, valid_at):
        found = []
        chains = self.chains()
        for chain in chains:
            if chain["not_after"] <= valid_at:
                found.append(_finding(
                    "certificate-expires", WARNING, f"the certificate of the {chain['algorithm']} key "
                    f"{chain['spki'][:16]} has expired at the time asked for: usage 3 does not mind, all else does; "
                    "renew it",
                    spki=chain["spki"], not_after=chain["not_after"]))
        if not chains or self.dns_verdict()[0]:
            return found
        for chain in chains:
            found += self._combination_findings(chain)
        return found + self._uncovered(chains) + self._unmatched_records(chains)

    def _combination_findings(self, chain):
        value = Chain.from_dict(chain)
        lacking = {combination for seen in self.versions if judge(value, seen.version)[0] == MATCHED
                   for combination in unmatched(value, seen.version)}
        return [_finding(
            "combination-unmatched", WARNING, f"no record {combination} matches the {value.algorithm} key "
            f"{value.spki[:16]} that is presented, though other combinations do: this works today by luck, as senders "
            "may pick any combination (RFC 7671 section 8); publish it in this one too, or withdraw these records",
            combination=str(combination), spki=value.spki) for combination in sorted(lacking)]

    def _uncovered(self, chains):
        good, bad = set(), set()
        for chain in chains:
            value = Chain.from_dict(chain)
            fits = all(judge(value, seen.version)[0] == MATCHED for seen in self.versions)
            (good if fits else bad).add(value.algorithm)
        return [_finding(
            "algorithm-uncovered", ERROR, f"the {algorithm} chain that is presented as well is not covered by every "
            f"version, while {_list(sorted(good))} is: which one a sender meets is up to its TLS library. Publish its "
            "record, or stop serving that key", algorithm=algorithm) for algorithm in sorted(bad - good) if good]

    def _unmatched_records(self, chains):
        presented = frozenset().union(*(Chain.from_dict(chain).matches for chain in chains))
        silent = any(outcome["outcome"] == "silent" for outcome in self.outcomes)
        lonely = {record for seen in self.versions for record in seen.version.usable if record not in presented}
        return [_finding(
            "record-unmatched", NOTE, f"{_short(record)} matches no chain that is presented: a standby or next key, or "
            "stale" + (" (not every endpoint was seen)" if silent else ""), record=str(record))
            for record in sorted(lonely)]


_TEXTS = {
    "no-match": "{records}, and none of it matches the {key} that {place} presents: senders refuse it. Publish "
                "'3 1 1 {spki}', or serve the published key again",
    "digest-agility": "{records}, and what matches the {key} that {place} presents is passed over by senders that "
                      "look at the strongest digest alone (RFC 7671 section 9). Withdraw the stale record of that "
                      "digest, or publish the present key in it",
    "no-records": "no record at {owner}, though others do: senders that ask it are not protected, or keep their mail",
    "no-usable-record": "{records}, which senders ignore, though others have records that they use",
}


def place(endpoint):
    """An endpoint's address and port as people write them (str)."""
    address = endpoint["address"]
    return f"[{address}]:{endpoint['port']}" if ":" in address else f"{address}:{endpoint['port']}"


def show(records):
    """Records for a sentence (str): the data cut short."""
    return "{" + ", ".join(_short(record) for record in sorted(records)) + "}" if records else "no records"


def _short(record):
    return f"{record.combination} {record.data.replace('sha256:', '')[:16]}"


def _list(parts):
    return ", ".join(map(str, parts)) or "nothing"


def _identity(entry):
    return {"server": entry["name"], "address": entry["address"], "serial": entry["serial"]}


def _server(entry):
    serial = "" if entry["serial"] is None else f", SOA serial {entry['serial']}"
    return f"{entry['name'] or 'server'} ({entry['address']}{serial})"


def _who(servers):
    return ", ".join(map(_server, servers)) + (" has" if len(servers) == 1 else " have")


def _parse(texts):
    return frozenset(Record.parse(text).brief() for text in texts)


def _records(entry):
    return _parse(entry["version"]["records"])


def _versions(look, resolved):
    """What is seen at the owner name, by its records: TTLs differ with every cache (list of :class:`Seen`)."""
    found = {}
    for entry in look["servers"]:
        if entry["version"] is not None:
            version = Version.from_dict(entry["version"])
            servers = found.setdefault(version.records, (version, []))[1]
            servers.append({key: entry[key] for key in ("name", "address", "serial")})
    if resolved and resolved["records"] is not None:
        records = _parse(resolved["records"])
        servers = found.setdefault(records, (Version(records, resolved["ttl"]), []))[1]
        servers.append({"name": "resolver", "address": resolved["resolver"], "serial": None})
    return [Seen(version, tuple(servers)) for version, servers in found.values()]


def _newest(serials):
    """The newest of some SOA serials (RFC 1982), or None."""
    newest = None
    for serial in sorted(serials):
        if newest is None or 0 < (serial - newest) % 2**32 < 2**31:
            newest = serial
    return newest


# ------------------------------------------------------------------------------------------------------------- findings


def _finding(code, level, text, **fields):
    return {"code": code, "level": level, "text": text, **fields}


def _record_findings(versions):
    found, sound = [], set()
    for record in sorted(set().union(*(seen.version.records for seen in versions))):
        problem = _record_problem(record)
        if problem:
            found.append(_finding(*problem, record=str(record)))
        else:
            sound.add(record)
    return found + [_finding("record-advice", NOTE, text) for text in lint(sound)]


def _record_problem(record):
    reason = unusable_reason(record)
    if reason:
        return "record-unusable", WARNING, f"{_short(record)}: senders ignore it: {reason}; withdraw it"
    if record.mtype != FULL:
        try:
            check_publishable(record)
        except RecordError:
            return "digest-of-nothing", WARNING, (
                f"{_short(record)} is the digest of no data at all: what made it hashed an empty input; withdraw it")
    return None


def _time_findings(entries, now):
    found = []
    ttls = [entry["version"]["ttl"] for entry in entries if entry["version"] and entry["version"]["records"]]
    if max(ttls, default=0) > TTL_LONG:
        found.append(_finding("ttl-long", WARNING, f"TTL {max(ttls)} s: every change of a key waits at least twice as "
                              "long for caches, and so does every repair; an hour is usual", ttl=max(ttls)))
    for end in sorted({entry["rrsig_expires"] for entry in entries if entry["rrsig_expires"] is not None}):
        if end - now < RRSIG_SOON:
            servers = [entry for entry in entries if entry["rrsig_expires"] == end]
            found.append(_finding(
                "rrsig-expiring", ERROR if end - now < DAY else WARNING,
                f"the signature (RRSIG) that {', '.join(map(_server, servers))} gives ends in "
                f"{max(0, end - now) / 3600:.1f} h; then mail stops. Find out why the zone is not signed again",
                expires=end, servers=[_identity(entry) for entry in servers]))
    return found


# ------------------------------------------------------------------------------------------------------- chain on disk


def _judge_file(file, views):
    """Add the verdict to the view of the chain on disk; gives findings."""
    found = []
    where = {"host": None, "owner": None, "path": file["path"]}
    chain = Chain.from_dict(file["chain"])
    verdicts = []
    for view in views:
        decided = view.dns_verdict()[0]
        verdicts += [decided] if decided else [judge(chain, seen.version)[0] for seen in view.versions]
    file["verdict"] = worst(verdicts)
    presented = [one for view in views for one in view.chains()]
    if file["key"] == "differs":
        found.append({**_finding("file-key-differs", ERROR, f"{file['path']}: the private key is not the "
                                 "certificate's: no server starts with it; put the right pair there"), **where})
    if presented and all(one["id"] != file["chain"]["id"] for one in presented):
        same_key = any(one["spki"] == chain.spki for one in presented)
        found.append({**_finding(
            "file-not-presented", WARNING, f"{file['path']} holds the {chain.algorithm} key {chain.spki[:16]}, and no "
            f"endpoint presents this chain{' (but one with the same key)' if same_key else ''}: a restart of the "
            "service changes what is presented", spki=chain.spki), **where})
    return found


# --------------------------------------------------------------------------------------------------------------- report


def report(facts, with_dns=True, with_endpoints=True):
    """The facts for a person, a line each: brief on success, and the reason in its place on failure (list of str)."""
    lines, done = [], set()
    services = {_key(service): service for service in facts["services"]}
    endpoints = _grouped(facts["endpoints"], _key)
    findings = _grouped(facts["findings"], lambda finding: (finding["host"], finding["owner"]))

    def of(key):
        done.add(key)
        service = services[key]
        return _service_lines(
            service, endpoints.get(key, ()), findings.get((service["host"], service["owner"]), ()), with_dns)

    for domain in facts["domains"]:
        lines.append(f"{domain['domain']}: {domain['verdict'] or 'not judged'}")
        lines += [f"  ! {reason['text']}" for reason in domain["reasons"]]
        lines += ["  " + line for host in domain["hosts"] for line in of((host, 25, "smtp"))]
    lines += [line for key in services if key not in done for line in of(key)]
    if facts["file"]:
        lines.append(f"{facts['file']['path']}: {facts['file']['verdict'] or 'not judged'}")
        lines += [f"  ! {finding['level']}: {finding['text']}" for finding in facts["findings"] if "path" in finding]
    if with_endpoints and not facts["examined"]:
        lines.append("No endpoint answered: nothing was examined. Is there a way from here to the ports?")
    return lines


def _key(thing):
    return thing["host"], thing["port"], thing["starttls"]


def _service_lines(service, endpoints, findings, with_dns):
    alias = f" (alias of {service['name']})" if service["name"] != service["host"] else ""
    lines = [f"{service['host']}:{service['port']}{alias}: {service['verdict'] or 'not judged'}"
             + (f"; {_servers_in_short(service)}" if with_dns else "")]
    told = {reason["text"] for reason in service["reasons"]}
    lines += [f"  ! {text}" for text in sorted(told)]
    for endpoint in endpoints:
        if endpoint["verdict"] is not None or endpoint["outcome"] == "chain":
            lines += _endpoint_lines(endpoint, told)
    return lines + [f"  ! {finding['level']}: {finding['text']}" for finding in findings if finding["level"] != NOTE]


def _servers_in_short(service):
    servers = service["dns"]["servers"] if service["dns"] else []
    answered = [entry for entry in servers if entry["version"] is not None]
    kinds = len({tuple(entry["version"]["records"]) for entry in answered})
    return f"{service['security'] or 'no DNS answer'}, {len(answered)} of {len(servers)} server addresses answered" + (
        f", with {kinds} different answers" if kinds > 1 else "")


def _endpoint_lines(endpoint, told):
    chain = endpoint["chain"]
    what = f"{endpoint['algorithm'] or 'TLS'} {chain['spki'][:16] if chain else endpoint['outcome']}"
    by = f" by {', '.join(endpoint['matched'])}" if endpoint["verdict"] == MATCHED and endpoint["matched"] else ""
    lines = [f"  {place(endpoint)} {what}: {endpoint['verdict'] or 'not judged'}{by}"]
    if endpoint["verdict"] != MATCHED:
        lines += [f"    ! {reason['text']}" for reason in endpoint["reasons"] if reason["text"] not in told]
    return lines
