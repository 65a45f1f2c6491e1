# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdicts and findings, in worlds made of plain data: what each server gives, what each endpoint presents."""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace

import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _facts
from ansible_collections.mailops.dane.plugins.module_utils._errors import DnsError, RecordError
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Chain, Version
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record

NOW = 1_800_000_000.0
OLD, NEW, CA = "aa" * 32, "bb" * 32, "cc" * 32
NS0, NS1, NS2 = ((f"ns{number}.example.test.", f"10.0.0.1{number + 1}") for number in range(3))


def record(digest, combination="3 1 1"):
    return f"{combination} {digest if combination.endswith('1') else digest * 2}"


def chain(digest, algorithm="ecdsa", combinations=("3 1 1", "3 1 2"), not_after=NOW + 90 * _facts.DAY):
    return {"id": f"{digest}-{algorithm}", "spki": digest, "algorithm": algorithm, "subject": "", "issuer": "",
            "names": [], "not_before": 0, "not_after": not_after,
            "matches": [record(digest, one) for one in combinations]}


def server(who, records=None, serial=7, outcome=None, detail="", ttl=3600, expires=NOW + 10 * _facts.DAY, asked=None):
    version = None if records is None else {"records": sorted(records), "ttl": ttl, "path": []}
    return {"name": who[0], "address": who[1], "asked": asked or "_25._tcp.mx1.example.test.",
            "outcome": outcome or ("silent" if records is None else "version"), "version": version,
            "serial": None if records is None else serial, "rrsig_expires": expires, "detail": detail}


class World:
    """A world of one zone. ``servers``: entries for every owner name, or by owner name; ``presents``: address to chain,
    to several by algorithm, or to an outcome and its detail."""

    def __init__(self, servers, presents=None, security="secure", findings=(), mx=None, found=None, resolver=None,
                 chain_file=None):
        self.servers, self.presents, self.security = servers, presents or {}, security
        self.findings, self.mx, self.found = findings, mx or {}, found or {}
        self.cached, self.chain_file = resolver, chain_file
        self.shaken = []

    def now(self):
        return NOW

    def mail_hosts(self, domain):
        if isinstance(self.mx.get(domain), str):
            raise DnsError(self.mx[domain])
        hosts, security = self.mx[domain]
        return SimpleNamespace(hosts=tuple(hosts), security=security, implicit=False)

    def addresses(self, hosts):
        usual = SimpleNamespace(addresses=("192.0.2.1",), security="secure")
        given = {host: self.found.get(host, usual) for host in hosts}
        for host, one in given.items():
            if not isinstance(one, DnsError) and not hasattr(one, "path"):
                given[host] = SimpleNamespace(addresses=one.addresses, security=one.security, path=(host + ".",))
        return given

    def look(self, owners):
        def one(owner):
            security = self.security if isinstance(self.security, str) else self.security[owner]
            servers = self.servers if isinstance(self.servers, list) else self.servers[owner]
            return {"owner": owner, "zone": "example.test.", "security": security, "taken_at": NOW, "servers": servers,
                    "findings": list(self.findings)}
        return {owner: one(owner) for owner in owners}

    def resolve(self, owners):
        view = {"resolver": "10.0.0.3", "rcode": "NOERROR", "authentic": True, "records": self.cached, "ttl": 5,
                "detail": "", "seen_at": NOW}
        return {owner: view for owner in owners}

    def shake(self, targets, valid_at):
        self.shaken.append((targets, valid_at))
        outcomes = []
        for service, addresses in targets:
            for address in addresses:
                for algorithm in ("ecdsa", "rsa"):
                    outcomes.append(self._outcome(service, address, algorithm))
        return outcomes

    def _outcome(self, service, address, algorithm):
        what = self.presents.get(address, ("silent", "timeout after 10 s"))
        endpoint = {"name": service.host, "address": address, "port": service.port, "starttls": service.starttls,
                    "algorithm": algorithm, "sni": service.host}
        if isinstance(what, tuple):
            return {"endpoint": endpoint, "outcome": what[0], "chain": None, "detail": what[1], "at": NOW}
        presented = [one for one in (what if isinstance(what, list) else [what]) if one["algorithm"] == algorithm]
        return {"endpoint": endpoint, "outcome": "chain" if presented else "no-chain-for-algorithm",
                "chain": presented[0] if presented else None, "detail": "", "at": NOW}

    def file(self, names, valid_at):
        return {"path": "/etc/chain.pem", "key": "matches", "seen_at": NOW, **self.chain_file}


def observe(world, **request):
    if not request.get("domains"):
        request.setdefault("services", (_facts.Service("mx1.example.test", 25, "smtp"),))
    facts = _facts.observe(_facts.Request(**request), world)
    json.dumps(facts)
    return facts


def codes(facts, level=None):
    return [finding["code"] for finding in facts["findings"] if level in (None, finding["level"])]


def three(records, **others):
    """Three servers that agree, but for what ``others`` says by name (ns1=server entry)."""
    entries = {"ns0": server(NS0, records), "ns1": server(NS1, records), "ns2": server(NS2, records)}
    return list({**entries, **others}.values())


# --- the four outcomes, and where nothing could be compared --------------------------------------------------------

OUTCOMES = {
    "matched": (World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}), "matched", "matched"),
    "no records": (World(three([]), {"192.0.2.1": chain(NEW)}), "no records", "no-records"),
    "only unusable": (
        World(three([record(NEW, "1 1 1")]), {"192.0.2.1": chain(NEW)}), "no records", "no-usable-record"),
    "insecure": (World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, security="insecure"), "insecure", "insecure"),
    "insecure and mismatched": (
        World(three([record(OLD)]), {"192.0.2.1": chain(NEW)}, security="insecure"), "insecure", "insecure"),
    "no match": (World(three([record(OLD)]), {"192.0.2.1": chain(NEW)}), "no match", "no-match"),
    "unreachable": (World(three([record(NEW)])), "unreachable", "silent"),
    "no TLS": (World(three([record(NEW)]), {"192.0.2.1": ("no-tls", "502 no")}), "no TLS", "no-tls"),
    "bogus": (World([server(NS0)], {"192.0.2.1": chain(NEW)}, security="bogus"), "bogus", "bogus"),
    "no DNS": (World([server(NS0)], {"192.0.2.1": chain(NEW)}), "unreachable", "dns-unreachable"),
    "resolver fails": (
        World(three([]), {"192.0.2.1": chain(NEW)}, security="unreachable"), "unreachable", "dns-unreachable"),
}


@pytest.mark.parametrize("case", OUTCOMES)
def test_outcomes_are_distinct(case):
    world, verdict, code = OUTCOMES[case]
    facts = observe(world)
    endpoint = facts["endpoints"][0]
    assert (endpoint["verdict"], endpoint["reasons"][0]["code"]) == (verdict, code)
    assert facts["verdict"] == facts["services"][0]["verdict"] == verdict
    assert endpoint["reasons"][0]["text"]


def test_what_all_servers_have_is_not_told_of_each():
    reason, = observe(World(three([record(OLD)]), {"192.0.2.1": chain(NEW)}))["endpoints"][0]["reasons"]
    assert reason["text"].startswith("every server that answered has {3 1 1 aaaaaaaaaaaaaaaa}")
    assert len(reason["servers"]) == 3


def test_insecure_says_too_that_nothing_is_there():
    endpoint = observe(World(three([]), {"192.0.2.1": chain(NEW)}, security="insecure"))["endpoints"][0]
    assert endpoint["verdict"] == "insecure"
    assert [reason["code"] for reason in endpoint["reasons"]] == ["insecure", "no-records"]


def test_insecure_addresses_make_the_records_useless():
    world = World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, found={
        "mx1.example.test": SimpleNamespace(addresses=("192.0.2.1",), security="insecure")})
    facts = observe(world)
    assert facts["verdict"] == "insecure"
    assert facts["endpoints"][0]["reasons"][0]["code"] == "address-insecure"


def test_a_host_that_does_not_exist_is_reported_and_hides_nothing():
    world = World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, found={"gone.test": DnsError("no such host")})
    facts = observe(world, services=(
        _facts.Service("mx1.example.test", 25, "smtp"), _facts.Service("gone.test", 25, "smtp")))
    assert [service["verdict"] for service in facts["services"]] == ["matched", "unreachable"]
    assert facts["services"][1]["reasons"] == [{"code": "host-unknown", "text": "no such host"}]
    assert facts["verdict"] == "unreachable"


def test_a_host_name_that_is_none_is_refused():
    with pytest.raises(RecordError):
        observe(World([]), services=(_facts.Service("mx 1", 25, "smtp"),))


# --- several versions, several chains ------------------------------------------------------------------------------

# The second pair is newer by serial arithmetic (RFC 1982).
@pytest.mark.parametrize("serial, newest", [(41, 57), (4294967290, 3)])
def test_a_secondary_that_fell_back_after_a_deployment_is_named(serial, newest):
    entries = [server(NS0, [record(NEW)], serial=newest), server(NS1, [record(OLD)], serial=serial),
               server(NS2, [record(NEW)], serial=newest)]
    facts = observe(World(entries, {"192.0.2.1": chain(NEW)}, resolver=[record(NEW)]))
    assert facts["verdict"] == "no match"
    reason, = facts["endpoints"][0]["reasons"]
    assert reason["servers"] == [{"name": "ns1.example.test.", "address": "10.0.0.12", "serial": serial}]
    assert all(word in reason["text"] for word in ("10.0.0.12", f"serial {serial}", f"3 1 1 {NEW}"))
    fell, = [finding for finding in facts["findings"] if finding["code"] == "server-fell-back"]
    assert (fell["address"], fell["serial"], fell["newest_serial"]) == ("10.0.0.12", serial, newest)
    assert fell["level"] == "error" and "10.0.0.12" in fell["text"] and str(serial) in fell["text"]
    assert len([line for line in facts["report"] if "10.0.0.12" in line]) == 2


def test_a_secondary_that_lost_the_records_fell_back_too():
    entries = [server(NS0, [record(NEW)], serial=57), server(NS1, [], serial=41)]
    facts = observe(World(entries, {"192.0.2.1": chain(NEW)}))
    assert "server-fell-back" in codes(facts, "error") and facts["verdict"] == "no records"


def test_a_server_that_lags_before_the_deployment_harms_nobody_yet():
    entries = [server(NS0, [record(OLD), record(NEW)], serial=8), server(NS1, [record(OLD)], serial=7)]
    facts = observe(World(entries, {"192.0.2.1": chain(OLD)}))
    assert facts["verdict"] == "matched"
    assert "server-behind" in codes(facts, "warning") and "server-fell-back" not in codes(facts)


def test_an_older_zone_with_the_same_records_is_a_note():
    entries = [server(NS0, [record(NEW)], serial=8), server(NS1, [record(NEW)], serial=7)]
    facts = observe(World(entries, {"192.0.2.1": chain(NEW)}))
    assert codes(facts) == ["server-behind-unharmed"] and facts["findings"][0]["level"] == "note"
    assert not any("!" in line for line in facts["report"])


def test_servers_of_one_serial_that_differ():
    facts = observe(World([server(NS0, [record(NEW)]), server(NS1, [record(OLD)])], {"192.0.2.1": chain(NEW)}))
    assert "servers-differ" in codes(facts, "error") and facts["verdict"] == "no match"


def test_one_server_without_records_is_no_match_for_nobody_but_no_protection():
    facts = observe(World([server(NS0, [record(NEW)]), server(NS1, [])], {"192.0.2.1": chain(NEW)}))
    assert facts["verdict"] == "no records"
    assert facts["endpoints"][0]["reasons"][0]["servers"][0]["address"] == "10.0.0.12"


def test_what_only_a_cache_still_has_counts():
    facts = observe(World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, resolver=[record(OLD)]))
    assert facts["verdict"] == "no match"
    reason, = facts["endpoints"][0]["reasons"]
    assert reason["servers"] == [{"name": "resolver", "address": "10.0.0.3", "serial": None}]
    assert codes(facts, "warning") == ["resolver-behind"]


def test_every_address_is_judged_on_its_own():
    world = World(three([record(NEW)]), {"192.0.2.1": chain(NEW), "2001:db8::1": chain(OLD)}, found={
        "mx1.example.test": SimpleNamespace(addresses=("192.0.2.1", "2001:db8::1"), security="secure")})
    facts = observe(world)
    verdicts = {endpoint["address"]: endpoint["verdict"] for endpoint in facts["endpoints"] if endpoint["chain"]}
    assert verdicts == {"192.0.2.1": "matched", "2001:db8::1": "no match"}
    assert facts["examined"] == 2
    assert "    [2001:db8::1]:25" in "\n".join("  " + line for line in facts["report"])


def test_an_algorithm_without_records_is_named():
    both = [chain(NEW), chain(OLD, "rsa")]
    facts = observe(World(three([record(NEW)]), {"192.0.2.1": both}))
    assert [endpoint["verdict"] for endpoint in facts["endpoints"]] == ["matched", "no match"]
    uncovered, = [finding for finding in facts["findings"] if finding["code"] == "algorithm-uncovered"]
    assert uncovered["algorithm"] == "rsa"
    neither = observe(World(three([record(CA)]), {"192.0.2.1": both}))
    assert neither["verdict"] == "no match" and "algorithm-uncovered" not in codes(neither)
    covered = observe(World(three([record(NEW), record(OLD)]), {"192.0.2.1": both}))
    assert covered["verdict"] == "matched" and codes(covered) == []


def test_an_algorithm_that_is_not_served_is_not_judged():
    facts = observe(World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}))
    assert facts["endpoints"][1]["verdict"] is None
    assert facts["endpoints"][1]["outcome"] == "no-chain-for-algorithm"
    assert len([line for line in facts["report"] if "192.0.2.1" in line]) == 1


# --- combinations --------------------------------------------------------------------------------------------------

def test_works_by_luck():
    facts = observe(World(three([record(NEW), record(CA, "2 1 1")]), {"192.0.2.1": chain(NEW)}))
    endpoint = facts["endpoints"][0]
    assert endpoint["verdict"] == "matched"
    assert (endpoint["matched"], endpoint["unmatched"]) == (["3 1 1"], ["2 1 1"])
    luck, = [finding for finding in facts["findings"] if finding["code"] == "combination-unmatched"]
    assert luck["combination"] == "2 1 1" and "section 8" in luck["text"]
    assert "record-unmatched" in codes(facts, "note")


def test_digest_agility_looks_at_the_strongest_digest_only():
    # RFC 7671 section 9, and what OpenSSL does: 3 1 2 is stale, so the 3 1 1 that would match is passed over.
    facts = observe(World(three([record(NEW), record(OLD, "3 1 2")]), {"192.0.2.1": chain(NEW)}))
    assert facts["endpoints"][0]["verdict"] == "no match"
    assert facts["endpoints"][0]["reasons"][0]["code"] == "digest-agility"
    other_way = observe(World(three([record(OLD), record(NEW, "3 1 2")]), {"192.0.2.1": chain(NEW)}))
    assert other_way["verdict"] == "matched" and "combination-unmatched" in codes(other_way)


def test_full_data_is_heeded_beside_any_digest():
    full = Record.parse("3 1 0 " + "ab" * 40).brief()
    strong = Record.parse(record(OLD, "3 1 2"))
    assert _facts.heeded({full, strong, Record.parse(record(OLD))}) == {full, strong}
    presented = Chain("x", NEW, "ecdsa", frozenset([full]))
    assert _facts.judge(presented, Version(frozenset([full, strong]), 60)) == ("matched", "matched")


# --- findings ------------------------------------------------------------------------------------------------------

FINDINGS = {
    "usage 1": ({"servers": three([record(NEW), record(NEW, "1 1 1")])}, "record-unusable", "PKIX"),
    "wrong length": ({"servers": three([record(NEW), "3 1 1 0102"])}, "record-unusable", "32 bytes"),
    "empty input": (
        {"servers": three([record(NEW), record(hashlib.sha256(b"").hexdigest())])}, "digest-of-nothing", "empty input"),
    "pins the certificate": ({"servers": three([record(NEW), record(NEW, "3 0 1")])}, "record-advice", "renewal"),
    "ttl": ({"servers": [server(NS0, [record(NEW)], ttl=2 * _facts.DAY)]}, "ttl-long", "172800"),
    "signature": ({"servers": [server(NS0, [record(NEW)], expires=NOW + 3600)]}, "rrsig-expiring", "1.0 h"),
    "silent": ({"servers": three([record(NEW)], ns1=server(NS1, detail="timeout"))}, "server-silent", "10.0.0.12"),
    "lame": ({"servers": three([record(NEW)], ns1=server(NS1, outcome="does-not-serve", detail="REFUSED"))},
             "server-lame", "REFUSED"),
    "anything else": ({"servers": three([record(NEW)]), "findings": ["the parent says else"]}, "dns", "parent"),
}


@pytest.mark.parametrize("case", FINDINGS)
def test_findings(case):
    world, code, word = FINDINGS[case]
    facts = observe(World(presents={"192.0.2.1": chain(NEW, combinations=("3 1 1", "3 0 1"))}, **world))
    found = [finding for finding in facts["findings"] if finding["code"] == code]
    assert found and word in found[0]["text"]
    assert found[0]["owner"] == "_25._tcp.mx1.example.test." and found[0]["host"] == "mx1.example.test"
    assert facts["verdict"] == "matched"


def test_nothing_to_find():
    facts = observe(World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, resolver=[record(NEW)]))
    assert facts["findings"] == []
    assert facts["report"] == [
        "mx1.example.test:25: matched; secure, 3 of 3 server addresses answered",
        f"  192.0.2.1:25 ecdsa {NEW[:16]}: matched by 3 1 1"]


def test_a_server_that_is_silent_is_told_once():
    world = World(three([record(NEW)], ns1=server(NS1, detail="timeout")), {"192.0.2.1": chain(NEW)}, findings=[
        "ns1.example.test. (10.0.0.12) gives no usable answer for example.test.: timeout"])
    assert codes(observe(world)) == ["server-silent"]


def test_a_standby_is_a_note_only_when_all_was_seen():
    world = World(three([record(NEW), record(OLD)]), {"192.0.2.1": chain(NEW)}, found={
        "mx1.example.test": SimpleNamespace(addresses=("192.0.2.1", "192.0.2.2"), security="secure")})
    finding, = [one for one in observe(world)["findings"] if one["code"] == "record-unmatched"]
    assert finding["record"] == record(OLD) and "not every endpoint was seen" in finding["text"]


# --- later, and elsewhere ------------------------------------------------------------------------------------------

def test_valid_days_moves_the_time_that_chains_are_judged_for():
    world = World(three([record(NEW)]), {"192.0.2.1": chain(NEW, not_after=NOW + 5 * _facts.DAY)})
    assert codes(observe(world)) == []
    assert codes(observe(world, valid_days=14)) == ["certificate-expires"]
    assert [valid_at for _targets, valid_at in world.shaken] == [NOW, NOW + 14 * _facts.DAY]


def test_only_dns():
    world = World(three([record(NEW)]), {"192.0.2.1": chain(NEW)})
    facts = observe(world, parts=("dns",))
    assert facts["verdict"] is None and facts["endpoints"] == [] and world.shaken == []
    assert observe(World(three([]), {}), parts=("dns",))["verdict"] == "no records"


def test_only_endpoints():
    world = World(None, {"192.0.2.1": chain(NEW)})
    facts = observe(world, parts=("endpoints",))
    assert facts["endpoints"][0]["verdict"] is None and facts["endpoints"][0]["chain"]["spki"] == NEW
    assert facts["services"][0]["dns"] is None
    assert observe(World(None, {}), parts=("endpoints",))["verdict"] == "unreachable"


def aliased(servers, security="secure"):
    return World(servers, {"192.0.2.1": chain(NEW)}, found={"mail.test": SimpleNamespace(
        addresses=("192.0.2.1",), security=security, path=("mail.test.", "mx1.example.test."))})


def test_an_alias_is_asked_where_it_leads_first():
    servers = {"_25._tcp.mx1.example.test.": three([record(NEW)]), "_25._tcp.mail.test.": three([record(OLD)])}
    facts = observe(aliased(servers), services=(_facts.Service("mail.test", 25, "smtp"),))
    assert facts["services"][0]["owner"] == "_25._tcp.mx1.example.test."
    assert facts["endpoints"][0]["sni"] == "mx1.example.test" and facts["verdict"] == "matched"


def test_an_alias_and_its_target_keep_their_endpoints_apart():
    """The views are of one base domain, and of addresses that changed between two lookups."""
    world = aliased(three([record(NEW)]))
    world.presents["192.0.2.9"] = chain(OLD)
    world.found["mx1.example.test"] = SimpleNamespace(addresses=("192.0.2.9",), security="secure")
    facts = observe(world, services=(
        _facts.Service("mail.test", 25, "smtp"), _facts.Service("mx1.example.test", 25, "smtp")))
    assert [service["verdict"] for service in facts["services"]] == ["matched", "no match"]


@pytest.mark.parametrize("target, security", [([], "secure"), ([record(NEW)], "insecure")])
def test_an_alias_is_asked_itself_where_it_leads_to_nothing_trusted(target, security):
    servers = {"_25._tcp.mx1.example.test.": three(target), "_25._tcp.mail.test.": three([record(OLD)])}
    facts = observe(aliased(servers, security), services=(_facts.Service("mail.test", 25, "smtp"),))
    assert facts["services"][0]["owner"] == "_25._tcp.mail.test." and facts["verdict"] == "no match"


# --- domains -------------------------------------------------------------------------------------------------------

def domain(mx, presents=None, **options):
    presents = presents or {"192.0.2.1": chain(NEW)}
    world = World(three([record(NEW)]), presents, mx={"example.test": mx}, **options)
    return observe(world, domains=("Example.test.",))


def test_a_domain_is_as_good_as_its_worst_host():
    found = {"mx2.example.test": SimpleNamespace(addresses=("192.0.2.2",), security="secure")}
    hosts = ["mx1.example.test.", "mx2.example.test."]
    presents = {"192.0.2.1": chain(NEW), "192.0.2.2": chain(OLD)}
    facts = domain((hosts, "secure"), presents, found=found)
    assert facts["domains"][0]["verdict"] == "no match"
    assert facts["domains"][0]["hosts"] == ["mx1.example.test", "mx2.example.test"]
    assert [service["verdict"] for service in facts["services"]] == ["matched", "no match"]
    assert facts["report"][0] == "example.test: no match"
    # Brief on success, diagnosed in place on failure.
    assert len([line for line in facts["report"] if "192.0.2.1:25" in line]) == 1
    assert any("! " in line and "serve the published key again" in line for line in facts["report"])


def test_unsigned_mx_records_are_insecure_whatever_the_hosts_do():
    facts = domain((["mx1.example.test."], "insecure"))
    assert facts["domains"][0]["verdict"] == "insecure" and facts["services"][0]["verdict"] == "matched"
    assert facts["domains"][0]["reasons"][0]["code"] == "mx-insecure"


def test_a_domain_that_takes_no_mail():
    facts = domain("it takes no mail")
    assert facts["domains"][0]["verdict"] == "unreachable"
    assert facts["domains"][0]["reasons"] == [{"code": "domain-unknown", "text": "it takes no mail"}]
    assert facts["services"] == [] and facts["examined"] == 0


def test_a_service_named_twice_is_looked_at_once():
    mx = {"example.test": (["MX1.example.test."], "secure")}
    world = World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, mx=mx)
    facts = observe(world, domains=("example.test",), services=(_facts.Service("mx1.example.test.", 25, "smtp"),))
    assert len(facts["services"]) == 1 and len(world.shaken[0][0]) == 1


# --- the chain on disk ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("digest, key, verdict, expected", [
    (NEW, "matches", "matched", []),
    (OLD, "matches", "no match", ["file-not-presented"]),
    (NEW, "differs", "matched", ["file-key-differs"]),
])
def test_chain_file(digest, key, verdict, expected):
    on_disk = {"chain": chain(digest), "key": key}
    facts = observe(World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, chain_file=on_disk), file=True)
    assert facts["file"]["verdict"] == verdict and codes(facts) == expected
    assert any(line.startswith(f"/etc/chain.pem: {verdict}") for line in facts["report"])


# --- the whole -----------------------------------------------------------------------------------------------------

def test_every_view_says_when():
    world = World(three([record(NEW)]), {"192.0.2.1": chain(NEW)}, mx={"example.test": (["mx1.test."], "secure")},
                  chain_file={"chain": chain(NEW)})
    facts = observe(world, domains=("example.test",), file=True)
    views = [facts, facts["file"], *facts["domains"], *facts["endpoints"], facts["services"][0]["dns"],
             facts["services"][0]["resolver"]]
    assert all(view["seen_at"] == NOW for view in views)


def test_blind():
    facts = observe(World(three([record(NEW)])))
    assert facts["examined"] == 0 and "nothing was examined" in facts["report"][-1]
