# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import asyncio
import dataclasses
import socket
import sys
import threading
import time

import dns.dnssec
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns_world as lab
import pytest

from ansible_collections.mailops.dane.plugins.module_utils import _dns
from ansible_collections.mailops.dane.plugins.module_utils._errors import DnsError

pytestmark = pytest.mark.real_dns

EVERYBODY = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::3"}
MX1 = "_25._tcp.mx1.example.test."
A, B, C = f"3 1 1 {lab.DIGEST_A}", f"3 1 1 {lab.DIGEST_B}", f"3 1 1 {lab.DIGEST_C}"


def look(world, owner, **changes):
    """One look at one name, in its JSON form, and the transport that carried it."""
    settings = world.settings(**changes)
    return _dns.look([owner], settings)[owner].to_dict(), settings.transport


def by_address(found):
    return {server["address"]: server for server in found["servers"]}


def outcomes(found):
    return {server["address"]: (server["outcome"], server["detail"]) for server in found["servers"]}


def versions(found):
    return {server["address"]: server["version"] and server["version"]["records"] for server in found["servers"]}


def altered(change, only=("TLSA",)):
    """A script for a server whose answers to some types are changed by ``change(message)`` on the way."""
    async def script(wire, tcp, ask):
        if lab.Asked.read(wire, "", tcp).rdtype not in only:
            return await ask()
        message = dns.message.from_wire(await ask())
        return (change(message) or message).to_wire()

    return script


def rcode_for(rcode, only=("TLSA", "SOA")):
    async def script(wire, tcp, ask):
        if lab.Asked.read(wire, "", tcp).rdtype not in only:
            return await ask()
        message = dns.message.make_response(dns.message.from_wire(wire))
        message.set_rcode(rcode)
        return message.to_wire()

    return script


async def silence(_wire, _tcp, _ask):
    return None


# ---- what is there


def test_every_address_of_every_server_is_asked(dns_world):
    found, _transport = look(dns_world, MX1)
    assert found["owner"] == MX1
    assert found["zone"] == "example.test."
    assert found["security"] == "secure"
    assert found["findings"] == []
    assert set(by_address(found)) == EVERYBODY
    for server in found["servers"]:
        assert server["outcome"] == "version"
        assert server["version"] == {"records": [f"2 1 1 {lab.DIGEST_B}", A], "ttl": 10, "path": [MX1]}
        assert server["serial"] == dns_world.serial(server["address"])
        assert server["rrsig_expires"] > time.time()
        assert server["asked"] == MX1
    assert by_address(found)["2001:db8::3"]["name"] == "ns3.example.test."


def test_taken_at_is_the_time_of_the_last_answer(dns_world):
    start = time.time()
    ticks = []

    def clock():
        ticks.append(start + len(ticks) / 1000)
        return ticks[-1]

    found, _transport = look(dns_world, MX1, clock=clock)
    assert len(ticks) >= len(EVERYBODY)
    assert found["taken_at"] == ticks[-1]
    silent, _transport = look(dns_world, MX1, clock=lambda: start, scripted={
        address: silence for address in EVERYBODY})
    assert silent["taken_at"] == start


def test_absence_is_a_version_with_the_negative_ttl(dns_world):
    found, _transport = look(dns_world, "_25._tcp.nobody.example.test.")
    assert found["security"] == "secure"
    assert set(by_address(found)) == EVERYBODY
    for server in found["servers"]:
        # The SOA's own TTL (10) is more than its MINIMUM (7), which is what a negative answer carries.
        assert server["version"] == {"records": [], "ttl": 10, "path": ["_25._tcp.nobody.example.test."]}
        assert server["detail"] == "no such name"
        assert server["rrsig_expires"] > time.time()


def test_a_name_without_tlsa_records_is_empty_too(dns_world):
    found, _transport = look(dns_world, "mx1.example.test.")
    assert {server["detail"] for server in found["servers"]} == {"no TLSA records"}
    assert set(map(tuple, versions(found).values())) == {()}


def test_a_wildcard_is_an_answer(dns_world):
    found, _transport = look(dns_world, "_25._tcp.any.wild.example.test.")
    assert found["security"] == "secure"
    assert versions(found) == {address: [C] for address in EVERYBODY}
    # Its own TTL, and that of the proof that the name itself has nothing: so long caches may go on making it up.
    assert {server["version"]["ttl"] for server in found["servers"]} == {40}


def test_names_are_made_lower_case_and_absolute(dns_world):
    assert set(_dns.look(["_25._TCP.mx1.Example.test"], dns_world.settings())) == {MX1}


def test_what_belongs_to_the_zone_is_asked_once_for_many_names(dns_world):
    settings = dns_world.settings()
    names = [f"_25._tcp.host{number}.example.test." for number in range(40)]
    found = _dns.look(names, settings)
    assert set(found) == set(names)
    assert all(one.security == "secure" and len(one.servers) == 5 for one in found.values())
    transport = settings.transport
    for address in EVERYBODY:
        assert transport.count(address, "SOA") == 1
        assert transport.count(address, "TLSA") == 40
    for rdtype in ("NS", "DNSKEY"):
        assert len([one for one in transport.asked if (one.address, one.name, one.rdtype) == (
            lab.RESOLVER, "example.test.", rdtype)]) == 1
    assert transport.count("192.0.2.10", "NS") == 1


# ---- paths


def test_alias_within_the_zone_adds_its_ttl(dns_world):
    owner, target = "_25._tcp.inside.example.test.", "_tlsa.inside.example.test."
    found, _transport = look(dns_world, owner)
    assert set(by_address(found)) == EVERYBODY | {f"{address} ({target})" for address in EVERYBODY}
    for server in found["servers"]:
        assert server["version"] == {"records": [A], "ttl": 20 + 10, "path": [owner, target]}


def test_alias_into_another_zone_asks_the_servers_of_both(dns_world):
    owner, target = "_25._tcp.across.example.test.", "_dane.other.test."
    found, _transport = look(dns_world, owner)
    assert found["zone"] == "other.test."
    assert found["security"] == "secure"
    assert set(by_address(found)) == EVERYBODY | {f"192.0.2.3 ({target})", f"2001:db8::3 ({target})"}
    for server in found["servers"]:
        assert server["version"] == {"records": [B], "ttl": 20 + 50, "path": [owner, target]}
        assert server["rrsig_expires"] > time.time()


def test_dname_is_followed(dns_world):
    owner, target = "_25._tcp.dname.example.test.", "_25._tcp._named.other.test."
    found, _transport = look(dns_world, owner)
    assert found["security"] == "secure"
    assert {tuple(records) for records in versions(found).values()} == {(C,)}
    assert by_address(found)[f"192.0.2.3 ({target})"]["version"]["ttl"] == 40 + 60


def test_alias_to_nothing_is_an_empty_version(dns_world):
    found, _transport = look(dns_world, "_25._tcp.nowhere.example.test.")
    assert found["security"] == "secure"
    assert {(server["outcome"], tuple(server["version"]["records"]), server["version"]["ttl"])
            for server in found["servers"]} == {("version", (), 10 + 60)}


def test_alias_into_an_unsigned_zone_is_insecure_and_not_empty(dns_world):
    found, _transport = look(dns_world, "_25._tcp.insecure-target.example.test.")
    assert found["security"] == "insecure"
    assert found["findings"] == ["zone insecure.test. is not signed, or its parent has no DS for it"]
    assert {tuple(records) for records in versions(found).values()} == {(A,)}


def test_alias_loop_has_no_version(dns_world):
    found, _transport = look(dns_world, "_25._tcp.loop.example.test.")
    assert found["security"] == "unreachable"
    assert all(server["outcome"] == "silent" for server in found["servers"])
    assert "SERVFAIL" in found["findings"][0]


def test_servers_that_disagree_about_the_alias_are_all_followed(dns_world):
    owner = "_25._tcp.inside.example.test."

    def to_another_target(message):
        # An older copy of the zone, as a secondary that lags would have it; unsigned, hence no keys are given here.
        if message.question[0].name.to_text() == owner:
            message.answer = [dns.rrset.from_text(owner, 500, "IN", "CNAME", "_dane.other.test.")]

    settings = dns_world.settings(scripted={"192.0.2.2": altered(to_another_target)})

    async def graph(session):
        async def unsigned(zone):
            return _dns._Resolved("insecure", None)

        session.dnskeys = unsigned
        return await session._walk(_dns._name(owner))

    found = _dns._run(graph, settings)
    entries = {entry["address"]: entry["version"] for name in found for entry in _dns._entries(
        found, _dns._name(owner), name)}
    assert entries["192.0.2.2"] == {"records": [B], "ttl": 500 + 50, "path": [owner, "_dane.other.test."]}
    assert entries["192.0.2.1"] == {"records": [A], "ttl": 20 + 10, "path": [owner, "_tlsa.inside.example.test."]}
    assert entries["192.0.2.3 (_dane.other.test.)"]["ttl"] == 550


# ---- security


def test_unsigned_zone_is_insecure_and_not_empty(dns_world):
    found, _transport = look(dns_world, "_25._tcp.mx1.insecure.test.")
    assert found["security"] == "insecure"
    assert versions(found) == {"192.0.2.1": [A], "2001:db8::1": [A]}
    assert {server["rrsig_expires"] for server in found["servers"]} == {None}
    assert found["findings"] == ["zone insecure.test. is not signed, or its parent has no DS for it"]


def test_a_resolver_that_does_not_validate_is_told_from_an_unsigned_zone(dns_world):
    found, _transport = look(dns_world, MX1, resolver=lab.NOT_VALIDATING)
    assert found["security"] == "insecure"
    assert f"the resolver {lab.NOT_VALIDATING} does not even vouch for the root zone" in found["findings"][0]
    assert versions(found)["192.0.2.1"] == [f"2 1 1 {lab.DIGEST_B}", A]


@pytest.mark.parametrize("owner, security", [(MX1, "insecure"), ("_25._tcp.nobody.example.test.", "secure")])
def test_an_answer_without_ad_from_a_signed_zone(dns_world, owner, security):
    # Records without AD are insecure whatever the zone is. That there are none is never proven where NSEC3 opts out, so
    # there the zone's own security decides.
    def no_ad(message):
        message.flags &= ~dns.flags.AD

    found, _transport = look(dns_world, owner, scripted={lab.RESOLVER: altered(no_ad)})
    assert found["security"] == security


def test_bogus_zone_is_bogus_and_not_empty(dns_world):
    found, _transport = look(dns_world, "_25._tcp.mx1.bogus.test.")
    assert found["security"] == "bogus"
    assert versions(found) == {"192.0.2.1": [A], "2001:db8::1": [A]}
    assert found["findings"][0].startswith("does not validate (extended error")


def test_expired_signatures_are_no_version(dns_world):
    later = time.time() + 10 * 365 * 86400
    found, _transport = look(dns_world, MX1, clock=lambda: later)
    assert set(by_address(found)) == EVERYBODY
    for server in found["servers"]:
        assert server["outcome"] == "silent"
        assert server["version"] is None
        assert "expired" in server["detail"]


def flip_a_record(message):
    rrset = next(rrset for rrset in message.answer if rrset.rdtype == dns.rdatatype.TLSA)
    changed = [rdata.replace(cert=bytes([rdata.cert[0] ^ 1]) + rdata.cert[1:]) for rdata in rrset]
    message.answer[message.answer.index(rrset)] = dns.rrset.from_rdata(rrset.name, rrset.ttl, *changed)


def strip(*rdtypes):
    def change(message):
        for section in (message.answer, message.authority):
            section[:] = [rrset for rrset in section if rrset.rdtype not in rdtypes]
    return change


@pytest.mark.parametrize("owner, change, detail", [
    (MX1, flip_a_record, "no signature of the TLSA RRset verifies"),
    (MX1, strip(dns.rdatatype.RRSIG), "the TLSA RRset has no signature (RRSIG), but the zone is signed"),
    ("_25._tcp.inside.example.test.", strip(dns.rdatatype.RRSIG), "the CNAME RRset has no signature"),
    ("_25._tcp.dname.example.test.", strip(dns.rdatatype.RRSIG), "the DNAME RRset has no signature"),
    ("_25._tcp.nobody.example.test.", strip(dns.rdatatype.RRSIG), "the SOA RRset has no signature"),
    ("_25._tcp.nobody.example.test.", strip(dns.rdatatype.NSEC, dns.rdatatype.NSEC3), "without NSEC or NSEC3"),
    ("_25._tcp.nobody.example.test.", strip(dns.rdatatype.SOA), "an empty answer without the SOA of example.test."),
])
def test_what_does_not_verify_is_no_version(dns_world, owner, change, detail):
    found, _transport = look(dns_world, owner, scripted={"192.0.2.2": altered(change)})
    outcome, said = outcomes(found)["192.0.2.2"]
    assert outcome == "silent"
    assert detail in said
    assert by_address(found)["192.0.2.1"]["outcome"] == "version"


def test_without_the_means_to_verify_it_fails_loudly(dns_world, monkeypatch):
    def missing(*_args, **_kwargs):
        raise ImportError("DNSSEC validation requires python cryptography>=45")

    monkeypatch.setattr(dns.dnssec, "validate_rrsig", missing)
    with pytest.raises(DnsError, match=r"Cannot verify DNSSEC signatures with .*cryptography"):
        _dns.look([MX1], dns_world.settings())


# ---- servers that misbehave


def test_lame_silent_and_closed_servers(dns_world):
    found, transport = look(dns_world, "_25._tcp.mx1.broken.test.", scripted={lab.BLACKHOLE: silence})
    assert found["security"] == "secure"
    assert outcomes(found) == {
        "192.0.2.1": ("version", ""),
        "2001:db8::1": ("version", ""),
        "192.0.2.2": ("does-not-serve", "REFUSED"),
        lab.CLOSED: ("silent", "connection refused: nothing listens there"),
        lab.BLACKHOLE: ("silent", "timeout after 3 tries"),
    }
    assert [one.tcp for one in transport.asked if one.address == lab.BLACKHOLE] == [False, False, True]
    text = "\n".join(found["findings"])
    assert "the parent delegates to lame.broken.test., ns1.example.test., the zone itself names closed" in text
    assert "nameless.example.test. has no address of IPv4 or IPv6" in text
    assert "lame.broken.test. (192.0.2.2) does not serve broken.test.: REFUSED" in text


def test_a_real_silence_times_out(dns_world):
    found, _transport = look(dns_world, "_25._tcp.mx1.broken.test.", timeout=0.2, tries=2)
    assert outcomes(found)[lab.BLACKHOLE] == ("silent", "timeout after 2 tries")


def test_a_server_only_the_parent_or_only_the_zone_names_is_asked(dns_world):
    # ns3 is removed from what the resolver gives for the zone: the parent still delegates to it.
    def forget_ns3(message):
        for rrset in list(message.answer):
            if rrset.rdtype == dns.rdatatype.NS and rrset.name.to_text() == "example.test.":
                message.answer[message.answer.index(rrset)] = dns.rrset.from_text(
                    rrset.name, rrset.ttl, "IN", "NS", "ns1.example.test.", "ns2.example.test.")

    found, _transport = look(dns_world, MX1, scripted={lab.RESOLVER: altered(forget_ns3, ("NS",))})
    assert set(by_address(found)) == EVERYBODY
    assert "zone example.test.: the parent delegates to ns1.example.test., ns2.example.test., ns3.example.test., " \
        "the zone itself names ns1.example.test., ns2.example.test." in found["findings"]


def test_a_silent_parent_is_a_finding(dns_world):
    found, _transport = look(dns_world, MX1, scripted={"192.0.2.10": silence})
    assert set(by_address(found)) == EVERYBODY
    assert any("no server of the parent zone test. gave its delegation" in text for text in found["findings"])


def test_an_unresolvable_server_name_counts_as_silent(dns_world):
    found, _transport = look(dns_world, MX1, scripted={
        lab.RESOLVER: rcode_for(dns.rcode.SERVFAIL, ("A", "AAAA")), "192.0.2.10": silence})
    assert {address: outcome for address, (outcome, _detail) in outcomes(found).items()} == {
        "ns1.example.test.": "silent", "ns2.example.test.": "silent", "ns3.example.test.": "silent"}


@pytest.mark.parametrize("script, outcome, detail", [
    (rcode_for(dns.rcode.REFUSED), "does-not-serve", "REFUSED"),
    (rcode_for(dns.rcode.NOTAUTH), "does-not-serve", "NOTAUTH"),
    (rcode_for(dns.rcode.SERVFAIL), "silent", "SERVFAIL"),
    (rcode_for(dns.rcode.REFUSED, ("TLSA",)), "silent", "REFUSED for TLSA, though it serves the zone"),
    (rcode_for(dns.rcode.SERVFAIL, ("TLSA",)), "silent", "SERVFAIL for TLSA, though it serves the zone"),
])
def test_rcodes(dns_world, script, outcome, detail):
    found, _transport = look(dns_world, MX1, scripted={"192.0.2.2": script})
    assert outcomes(found)["192.0.2.2"] == (outcome, detail)
    assert outcomes(found)["192.0.2.1"] == ("version", "")


def test_an_answer_without_authority_is_not_believed(dns_world):
    def no_aa(message):
        message.flags &= ~dns.flags.AA

    found, _transport = look(dns_world, MX1, scripted={"192.0.2.2": altered(no_aa, ("SOA", "TLSA"))})
    assert outcomes(found)["192.0.2.2"] == ("does-not-serve", "answers without authority (AA)")


def test_a_referral_is_not_authority(dns_world):
    # The parent, named as one more server of the zone, refers to those it delegates to.
    found, _transport = look(dns_world, MX1, extra_servers=(("192.0.2.10", 53),))
    assert outcomes(found)["192.0.2.10"] == ("does-not-serve", "refers to other servers")
    assert set(by_address(found)) == EVERYBODY | {"192.0.2.10"}


def test_extra_servers_are_asked_and_named_with_their_port(dns_world):
    settings = dns_world.settings(extra_servers=(("192.0.2.2", 53), ("192.0.2.3", 5353)))
    found = _dns.look([MX1], settings)[MX1].to_dict()
    assert set(by_address(found)) == EVERYBODY | {"192.0.2.3@5353"}
    assert by_address(found)["192.0.2.2"]["name"] == "ns2.example.test."


def test_what_leads_to_a_server_has_a_ttl(dns_world):
    """Of the NS record, in the zone or at the parent, and of the address."""
    found, _transport = look(dns_world, MX1)
    assert {server["ttl"] > 10 for server in found["servers"]} == {True}
    assert not any(server["left"] for server in found["servers"])
    assert found["ip_versions"] == [4, 6]


def test_servers_to_which_nothing_leads_any_more_are_asked_too(dns_world):
    settings = dns_world.settings(ip_versions=(4,))
    leaving = ["2001:db8::1", "192.0.2.10", "192.0.2.1", "no address", "192.0.2.2 (a.b.)"]
    found = _dns.look([MX1], settings, {MX1.upper(): leaving})[MX1].to_dict()
    servers = by_address(found)
    assert set(servers) == {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.10", "2001:db8::1"}
    assert {address for address in servers if servers[address]["left"]} == {"192.0.2.10", "2001:db8::1"}
    assert servers["2001:db8::1"]["version"]["records"] == servers["192.0.2.1"]["version"]["records"]
    assert servers["192.0.2.10"]["outcome"] == "does-not-serve"


def test_address_families_the_machine_lacks_are_left_out(dns_world):
    found, _transport = look(dns_world, MX1, ip_versions=(4,))
    assert set(by_address(found)) == {"192.0.2.1", "192.0.2.2", "192.0.2.3"}
    found, _transport = look(dns_world, MX1, ip_versions=(6,))
    assert set(by_address(found)) == {"2001:db8::1", "2001:db8::3"}
    assert "zone example.test.: server ns2.example.test. has no address of IPv6" in found["findings"]


def test_a_truncated_answer_is_fetched_over_tcp(dns_world):
    def truncate(message):
        message.flags |= dns.flags.TC
        message.answer = []

    async def script(wire, tcp, ask):
        return await ask() if tcp else await altered(truncate)(wire, tcp, ask)

    found, transport = look(dns_world, MX1, scripted={"192.0.2.2": script})
    assert outcomes(found)["192.0.2.2"] == ("version", "")
    assert transport.count("192.0.2.2", "TLSA", tcp=True) == 1

    async def no_tcp(wire, tcp, ask):
        return None if tcp else await altered(truncate)(wire, tcp, ask)

    found, _transport = look(dns_world, MX1, scripted={"192.0.2.2": no_tcp})
    assert outcomes(found)["192.0.2.2"] == ("silent", "the answer is too long for UDP, and over TCP: timeout")


def test_a_server_that_rations_udp_is_reached_over_tcp(dns_world):
    async def tcp_only(_wire, tcp, ask):
        return await ask() if tcp else None

    found, _transport = look(dns_world, MX1, scripted={"192.0.2.2": tcp_only})
    assert outcomes(found)["192.0.2.2"] == ("version", "")


def test_an_answer_to_another_question_is_not_taken(dns_world):
    async def confused(wire, tcp, ask):
        message = dns.message.from_wire(await ask())
        message.question[0].name = dns.name.from_text("another.example.test.")
        return message.to_wire()

    found, _transport = look(dns_world, MX1, scripted={"192.0.2.2": confused})
    assert outcomes(found)["192.0.2.2"] == ("silent", "the answer is to another question")


def test_a_secondary_that_lags_has_its_own_version(dns_world, publish):
    owner = "_25._tcp.lag.example.test."
    publish(owner, A)
    old = {}

    async def record(wire, tcp, ask):
        old[lab.Asked.read(wire, "", tcp)[1:3]] = await ask()
        return old[lab.Asked.read(wire, "", tcp)[1:3]]

    async def replay(wire, tcp, _ask):
        return wire[:2] + old[lab.Asked.read(wire, "", tcp)[1:3]][2:]

    before, _transport = look(dns_world, owner, scripted={"192.0.2.2": record})
    assert versions(before) == {address: [A] for address in EVERYBODY}
    publish(owner, B)
    after, _transport = look(dns_world, owner, scripted={"192.0.2.2": replay})
    assert versions(after) == {address: [A] if address == "192.0.2.2" else [A, B] for address in EVERYBODY}
    assert any("servers differ, serials" in text for text in after["findings"])
    assert {server["outcome"] for server in after["servers"]} == {"version"}


# ---- malformed records


def test_a_digest_of_the_wrong_length_is_seen_and_named(dns_world):
    found, _transport = look(dns_world, "_25._tcp.malformed.example.test.")
    assert found["security"] == "secure"
    assert versions(found) == {address: ["3 1 1 0102", A] for address in EVERYBODY}
    assert all(server["rrsig_expires"] for server in found["servers"])
    assert found["findings"] == [
        "_25._tcp.malformed.example.test.: malformed TLSA record 3 1 1 0102: matching type 1 does not have 2 bytes"]


def a_response(*rdata):
    """The bytes of an answer to a TLSA question, with generic rdata (hex)."""
    query = dns.message.make_query("x.test.", "TLSA")
    message = dns.message.make_response(query)
    rrset = dns.rrset.RRset(dns.name.from_text("x.test."), dns.rdataclass.IN, dns.rdatatype.TLSA)
    for one in rdata:
        rrset.add(dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, bytes.fromhex(one)), 60)
    message.answer = [rrset]
    return query, message.to_wire()


@pytest.mark.parametrize("rdata", [("0301010102",), ("03",), ("030101", "030101" + "aa" * 32), ("0301020102", "00")])
def test_malformed_records_survive_parsing(rdata):
    query, wire = a_response(*rdata)
    message = _dns.parse_message(wire, query)
    assert {one.to_generic().data.hex() for one in message.answer[0]} == set(rdata)
    records, findings = _dns._records(message.answer[0])
    assert len(findings) == len([one for one in rdata if len(one) < 64])
    assert {str(record) for record in records} == {
        "{} {} {} {}".format(*bytes.fromhex(one[:6]), one[6:]) for one in rdata if len(one) > 6}


def test_any_other_damage_is_an_error():
    query, wire = a_response("0301010102")
    with pytest.raises(Exception, match=".") as caught:
        _dns.parse_message(wire[:-1], query)
    assert isinstance(caught.value, dns.exception.DNSException)


# ---- the resolver


def test_an_unreachable_resolver_is_named(dns_world):
    for address in (lab.CLOSED, lab.BLACKHOLE):
        with pytest.raises(DnsError, match=f"Cannot ask the resolver: {address}: ") as caught:
            _dns.look([MX1], dns_world.settings(resolver=address, timeout=0.2))
        assert address in caught.value.fields["resolver"]


def test_the_next_resolver_is_asked_when_one_is_down(dns_world):
    settings = dataclasses.replace(dns_world.settings(), resolver=((lab.CLOSED, 53), (lab.RESOLVER, 53)))
    assert _dns.look([MX1], settings)[MX1].security == "secure"


def test_a_name_the_resolver_says_nothing_about_is_unreachable(dns_world):
    async def mute_about_mx1(wire, tcp, ask):
        return None if lab.Asked.read(wire, "", tcp).name == MX1 else await ask()

    settings = dns_world.settings(scripted={lab.RESOLVER: mute_about_mx1})
    found = _dns.look([MX1, "_25._tcp.nobody.example.test."], settings)
    assert found[MX1].security == "unreachable"
    assert found[MX1].servers == ()
    assert found["_25._tcp.nobody.example.test."].security == "secure"


def test_find_zones(dns_world):
    wanted = {
        MX1: ("example.test.", "secure"),
        "_25._tcp.across.example.test.": ("example.test.", "secure"),
        "_25._tcp.dname.example.test.": ("example.test.", "secure"),
        "insecure.test.": ("insecure.test.", "insecure"),
        "no.such.name.other.test": ("other.test.", "secure"),
        "x.bogus.test.": ("bogus.test.", "bogus"),
    }
    assert _dns.find_zones(wanted, dns_world.settings()) == wanted
    with pytest.raises(DnsError, match="the zone of .* is not known: the resolver says SERVFAIL"):
        _dns.find_zones(["x.example.test."], dns_world.settings(scripted={
            lab.RESOLVER: rcode_for(dns.rcode.SERVFAIL, ("SOA",))}))


def test_addresses(dns_world):
    settings = dns_world.settings()
    found = _dns.addresses("mx1.example.test", settings)
    assert found.addresses == ("192.0.2.21", "2001:db8::21")
    assert (found.name, found.security) == ("mx1.example.test.", "secure")
    assert 0 <= found.ttl <= 10
    found = _dns.addresses("alias.example.test.", settings)
    assert found.addresses == ("192.0.2.22",)
    assert found.path == ("alias.example.test.", "mx2.example.test.")


def test_the_ttl_of_addresses_is_the_sum_along_the_path():
    message = dns.message.make_response(dns.message.make_query("a.test.", "A"))
    message.answer = [dns.rrset.from_text("a.test.", 20, "IN", "CNAME", "b.test."),
                      dns.rrset.from_text("b.test.", 300, "IN", "CNAME", "c.test."),
                      dns.rrset.from_text("c.test.", 10, "IN", "A", "192.0.2.1")]
    assert _dns._path(message, dns.name.from_text("a.test.")) == (330, ("a.test.", "b.test.", "c.test."))


def test_hosts_that_are_not_there_are_named(dns_world):
    settings = dns_world.settings()
    with pytest.raises(DnsError, match="Cannot find the addresses of 'mx9.example.test.': there is no such host"):
        _dns.addresses("mx9.example.test.", settings)
    with pytest.raises(DnsError, match="has neither A nor AAAA records"):
        _dns.addresses("no-address.example.test.", settings)
    with pytest.raises(DnsError, match="not a domain name"):
        _dns.addresses("a..b", settings)


def test_addresses_of_many(dns_world):
    found = _dns.addresses_of(["mx2.example.test", "mx9.example.test"], dns_world.settings())
    assert found["mx2.example.test"].addresses == ("192.0.2.22",)
    assert "there is no such host" in str(found["mx9.example.test"])
    with pytest.raises(DnsError, match="Cannot ask the resolver"):
        _dns.addresses_of(["mx2.example.test"], dns_world.settings(resolver=lab.CLOSED))


def test_mail_hosts(dns_world):
    settings = dns_world.settings()
    found = _dns.mail_hosts("example.test", settings)
    assert found.hosts == ("mx1.example.test.", "mx2.example.test.")
    assert (found.security, found.implicit) == ("secure", False)
    implicit = _dns.mail_hosts("mx1.example.test.", settings)
    assert (implicit.hosts, implicit.implicit) == (("mx1.example.test.",), True)
    with pytest.raises(DnsError, match="takes no mail .null MX"):
        _dns.mail_hosts("null-mx.example.test.", settings)
    with pytest.raises(DnsError, match="there is no such domain"):
        _dns.mail_hosts("gone.example.test.", settings)


# ---- settings


@pytest.mark.parametrize("text, server", [
    ("192.0.2.1", ("192.0.2.1", 53)), ("192.0.2.1@5353", ("192.0.2.1", 5353)), ("2001:db8::1", ("2001:db8::1", 53)),
    ("2001:db8::1@5353", ("2001:db8::1", 5353)), ("fe80::1%eth0", ("fe80::1%eth0", 53)),
])
def test_parse_server(text, server):
    assert _dns.parse_server(text) == server
    assert _dns.show_server(*server) == text


@pytest.mark.parametrize("text", [
    "", "ns1.example.test", "192.0.2.1:53", "192.0.2.1@", "192.0.2.1@0", "192.0.2.1@x", "@53"])
def test_what_is_not_an_address_is_refused_with_the_accepted_form(text):
    with pytest.raises(DnsError, match="Give ADDRESS or ADDRESS@PORT"):
        _dns.parse_server(text)


def test_settings_from_options():
    defaults = {name: spec.get("default") for name, spec in _dns.argument_spec().items()}
    settings = _dns.Settings.from_options(defaults)
    assert settings == _dns.Settings()
    chosen = _dns.Settings.from_options({
        "resolver": ["192.0.2.53@5353"], "extra_servers": ["192.0.2.9"], "ip_versions": [6], "query_timeout": 0.5})
    assert (chosen.resolver, chosen.extra_servers, chosen.ip_versions, chosen.timeout) == (
        (("192.0.2.53", 5353),), (("192.0.2.9", 53),), (6,), 0.5)


def test_settings_for_somebody_in_a_hurry():
    patient = _dns.Settings(timeout=5.0, tries=2)
    before = time.monotonic()
    hurried = patient.within(10, 2)
    assert (hurried.timeout, hurried.tries, patient.until) == (2, 2, None)
    assert before + 10 <= hurried.until <= time.monotonic() + 10
    assert _dns.Settings(timeout=0.5).within(10, 2).timeout == 0.5


class Slow:
    """A transport over which nobody answers; whoever does not give up before hears that at last."""

    def __init__(self):
        self.cancelled = 0

    async def exchange(self, _wire, _address, _port, _tcp, _timeout):
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        raise asyncio.TimeoutError


@pytest.mark.parametrize("ask", [
    lambda settings: _dns.look([MX1, "_25._tcp.mx2.example.test."], settings),
    lambda settings: _dns.addresses_of(["mx1.example.test"], settings),
])
@pytest.mark.parametrize("seconds", [0.05, -1])
def test_who_is_in_a_hurry_does_not_wait_for_whoever_is_silent(ask, seconds):
    transport = Slow()
    settings = _dns.Settings(resolver=((lab.RESOLVER, 53),), tries=1, transport=transport)
    with pytest.raises(DnsError, match="Cannot ask the DNS: the time for it was over before every resolver and server"):
        ask(settings.within(seconds, 2))
    # Nothing of it is left behind, not even what had just been sent.
    assert transport.cancelled or seconds < 0


def test_with_time_enough_a_hurry_changes_nothing(dns_world):
    settings = dns_world.settings()
    hurried = settings.within(3600, 3600)
    assert {server["outcome"] for server in _dns.look([MX1], hurried)[MX1].to_dict()["servers"]} == {"version"}
    assert _dns.addresses_of(["mx2.example.test"], hurried)["mx2.example.test"].addresses == ("192.0.2.22",)


def test_a_missing_library_is_said_with_the_python_that_lacks_it(monkeypatch):
    monkeypatch.setattr(_dns, "DNSPYTHON_PROBLEM", "the Python library dnspython is missing")
    with pytest.raises(DnsError, match="is missing.*Install") as caught:
        _dns.look([MX1])
    assert sys.executable in str(caught.value)


# ---- the transport itself


def test_datagrams_with_another_id_are_ignored():
    query = dns.message.make_query("x.test.", "TLSA")
    right = dns.message.make_response(query).to_wire()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve():
            wire, client = server.recvfrom(4096)
            server.sendto(bytes([wire[0] ^ 255]) + right[1:], client)
            server.sendto(wire, client)
            server.sendto(b"short", client)
            server.sendto(right, client)

        thread = threading.Thread(target=serve)
        thread.start()
        found = _dns._run(lambda session: session.send(query, *server.getsockname()), _dns.Settings(
            resolver=(("192.0.2.1", 53),), tries=1, timeout=10))
        thread.join()
    assert found.to_wire() == right
