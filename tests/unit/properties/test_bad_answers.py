# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""DNS answers from servers that are broken, old, or not friends: what they say, or an outcome that is no evidence.

No socket here: a transport that answers from a script. The zone is signed with real keys, so that whatever counts as a
version of a signed RRset must be one that was signed.
"""

from __future__ import annotations

import asyncio
import json
import time

import dns.dnssec
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import dns.tsig
import pytest
from ansible_collections.mailops.dane.plugins.module_utils import _dns, _update
from ansible_collections.mailops.dane.plugins.module_utils._errors import DnsError
from ansible_collections.mailops.dane.plugins.module_utils._memory import Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import Timing, Version
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record
from cryptography.hazmat.primitives.asymmetric import ec
from hostile import ODD, check_message, examples, refusal_or
from hypothesis import example, given
from hypothesis import strategies as st

ZONE, TARGET_ZONE, OWNER = "example.test.", "other.test.", "_25._tcp.mx1.example.test."
A, B = "3 1 1 " + "aa" * 32, "2 1 1 " + "bb" * 32
RESOLVER, SERVER, OTHER, PARENT = "192.0.2.53", "192.0.2.1", "192.0.2.2", "192.0.2.10"
NOW = 1_790_000_000
KEY = ec.generate_private_key(ec.SECP256R1())
DNSKEY = dns.dnssec.make_dnskey(KEY.public_key(), dns.dnssec.Algorithm.ECDSAP256SHA256, flags=257)
STRANGER = ec.generate_private_key(ec.SECP256R1())


def rrset(name, rdtype, *rdatas, ttl=10, rdclass="IN"):
    return dns.rrset.from_text_list(name, ttl, rdclass, rdtype, list(rdatas))


def signed(one, key=KEY, zone=ZONE, since=-3600, until=86400):
    """The RRset and its signature."""
    made = dns.dnssec.sign(
        one, key, dns.name.from_text(zone), DNSKEY, inception=NOW + since, expiration=NOW + until)
    return [one, dns.rrset.from_rdata(one.name, one.ttl, made)]


TLSA = rrset(OWNER, "TLSA", A, B)
SOA = rrset(ZONE, "SOA", "ns1.example.test. hostmaster.example.test. 7 3600 600 86400 300")
NSEC = rrset(OWNER, "NSEC", "zz.example.test. TXT RRSIG NSEC")
ALIAS = rrset(OWNER, "CNAME", "_dane.example.test.")
LOOP = rrset("_dane.example.test.", "CNAME", OWNER)
SIGNED = {"TLSA": signed(TLSA), "SOA": signed(SOA), "NSEC": signed(NSEC), "CNAME": signed(ALIAS), "LOOP": signed(LOOP)}
KEYS = signed(rrset(ZONE, "DNSKEY", DNSKEY.to_text()))


def reply(query, answer=(), authority=(), rcode=dns.rcode.NOERROR, flags=dns.flags.AA, additional=()):
    """The wire form of an answer."""
    message = dns.message.make_response(query)
    message.flags |= flags
    message.set_rcode(rcode)
    message.answer, message.authority, message.additional = list(answer), list(authority), list(additional)
    return message.to_wire()


class World:
    """A resolver, the parent's server and two servers of the zone, all in order unless told otherwise.

    ``script``: (address, name, type) to a function (query, the good answer) that returns what is sent (bytes).
    """

    def __init__(self, script=None, security=dns.flags.AD):
        self.script, self.security, self.asked = script or {}, security, 0

    async def exchange(self, wire, address, port, tcp, timeout):
        self.asked += 1
        assert self.asked < 500, "asks without end"
        query = dns.message.from_wire(wire)
        name, rdtype = query.question[0].name.to_text(), dns.rdatatype.to_text(query.question[0].rdtype)
        good = self.good(query, address, name, rdtype)
        for key in ((address, name, rdtype), (address, rdtype), (address,)):
            if key in self.script:
                sent = self.script[key](query, good)
                if sent is None:
                    raise asyncio.TimeoutError
                return sent
        return good

    def good(self, query, address, name, rdtype):
        if address == RESOLVER:
            return self.resolved(query, name, rdtype)
        if address == PARENT:
            return reply(query, authority=[rrset(ZONE, "NS", "ns1.example.test.", "ns2.example.test.")], flags=0,
                         additional=[rrset("ns1.example.test.", "A", SERVER)])
        found = SIGNED.get(rdtype) if (name, rdtype) in ((OWNER, "TLSA"), (ZONE, "SOA")) else None
        return reply(query, found) if found else reply(query, authority=SIGNED["SOA"] + SIGNED["NSEC"])

    def resolved(self, query, name, rdtype):
        records = {
            (ZONE, "SOA"): SIGNED["SOA"], (ZONE, "NS"): [rrset(ZONE, "NS", "ns1.example.test.", "ns2.example.test.")],
            (ZONE, "DNSKEY"): KEYS, (OWNER, "TLSA"): SIGNED["TLSA"], ("ns1.example.test.", "A"): [rrset(name, "A", SERVER)],
            ("ns2.example.test.", "A"): [rrset(name, "A", OTHER)], ("test.", "SOA"): [rrset(
                "test.", "SOA", "ns.test. h.test. 1 1 1 1 1")], ("test.", "NS"): [rrset("test.", "NS", "ns.test.")],
            ("ns.test.", "A"): [rrset("ns.test.", "A", PARENT)], (".", "SOA"): [rrset(".", "SOA", ". . 1 1 1 1 1")],
            ("mx1.example.test.", "A"): [rrset(name, "A", "192.0.2.25")],
            (ZONE, "MX"): [rrset(name, "MX", "1 mx1.example.test.")],
        }
        found = records.get((name, rdtype), [])
        return reply(query, found, () if found else SIGNED["SOA"], flags=dns.flags.RA | self.security)

    def settings(self):
        return _dns.Settings(resolver=((RESOLVER, 53),), ip_versions=(4,), timeout=0.01, transport=self, clock=lambda: NOW)


def looked(script=None, **options):
    """The look at the owner name in JSON form; None when it was refused in the project's way."""
    found = refusal_or(_dns.look, [OWNER], World(script, **options).settings())
    if found is None:
        return None
    look = found[OWNER].to_dict()
    json.dumps(look, allow_nan=False).encode()
    # The rest of the project can take in whatever comes out here.
    Name(OWNER).observe(look, Timing()).to_dict()
    return look


def versions(look, address=SERVER):
    """What one server gave: a set of frozensets of records (text)."""
    return {frozenset(server["version"]["records"]) for server in (look or {"servers": ()})["servers"]
            if server["address"] == address and server["version"] is not None}


def test_a_world_in_order():
    look = looked()
    assert look["security"] == "secure" and not look["findings"], look
    assert versions(look) == versions(look, OTHER) == {frozenset((A, B))}


@st.composite
def damaged(draw, wire):
    """What the network, a middlebox or an enemy makes of a message; the id stays, or nobody would take it."""
    how = draw(st.sampled_from(("bytes", "bytes", "bytes", "cut", "behind", "count", "empty")))
    data = bytearray(wire)
    if how == "cut":
        return bytes(data[:draw(st.integers(0, len(data)))])
    if how == "behind":
        return bytes(data) + draw(st.binary(max_size=20))
    if how == "count":
        data[draw(st.integers(4, 11))] = draw(st.integers(0, 255))
    if how == "empty":
        return b""
    if how == "bytes":
        for _turn in range(draw(st.integers(1, 3))):
            data[draw(st.integers(2, len(data) - 1))] = draw(st.sampled_from((0, 1, 3, 5, 0x3F, 0x7F, 0x80, 0xC0, 0xFF))
                                                             | st.integers(0, 255))
    return bytes(data)


ANSWERS = [(SERVER, OWNER, "TLSA"), (SERVER, ZONE, "SOA"), (RESOLVER, OWNER, "TLSA"), (RESOLVER, ZONE, "SOA"),
           (RESOLVER, ZONE, "NS"), (RESOLVER, ZONE, "DNSKEY"), (RESOLVER, "ns1.example.test.", "A"), (PARENT, ZONE, "NS")]


@pytest.mark.parametrize("which", ANSWERS, ids="-".join)
@given(data=st.data())
@examples(40)
def test_a_damaged_answer_is_read_right_or_no_evidence(which, data):
    """From one server, whenever it is asked. In a signed zone nothing but what was signed is ever a version."""
    cache = {}

    def damage(query, good):
        cache.setdefault("answer", data.draw(damaged(good)))
        return query.id.to_bytes(2, "big") + cache["answer"][2:] if len(cache["answer"]) > 2 else cache["answer"]

    look = looked({which: damage})
    if look is not None and look["security"] == "secure":
        assert versions(look) <= {frozenset((A, B))}
        assert versions(look, OTHER) <= {frozenset((A, B))}


def test_a_message_cut_at_every_byte_is_no_evidence():
    whole = World().good(dns.message.make_query(OWNER, "TLSA", want_dnssec=True), SERVER, OWNER, "TLSA")
    for size in range(len(whole) - 1):
        cut = World({(SERVER, OWNER, "TLSA"): lambda query, good, size=size: good[:size]})
        told = _dns.read_server(ZONE, OWNER, (SERVER, 53), cut.settings())
        assert told.outcome == _dns.SILENT and told.records is None and told.detail, size
    look = looked({(SERVER, OWNER, "TLSA"): lambda query, good: good[:-20]})
    assert versions(look) == set() and versions(look, OTHER) == {frozenset((A, B))}


def generic(name, *data, rdclass="IN", rdtype="TLSA"):
    """An RRset of any bytes (hex)."""
    rdclass, rdtype = dns.rdataclass.from_text(rdclass), dns.rdatatype.from_text(rdtype)
    return dns.rrset.from_rdata_list(
        dns.name.from_text(name), 10, [dns.rdata.GenericRdata(rdclass, rdtype, bytes.fromhex(one)) for one in data])


def odd_rrsets():
    """RRsets that an answer to a TLSA question may hold, but should not."""
    long_name = ".".join(["x" * 62] * 4) + "."
    return {
        "nothing": [], "other records": [rrset(OWNER, "TLSA", "3 1 1 " + "cc" * 32)], "good": SIGNED["TLSA"],
        "good without signature": [TLSA], "only the signature": SIGNED["TLSA"][1:],
        "class CH": [rrset(OWNER, "TXT", "x", rdclass="CH")],
        "TLSA of class CH": [generic(OWNER, "030101" + "aa" * 32, rdclass="CH")],
        "A of class CH": [dns.rrset.from_text("ns1.example.test.", 10, "CH", "A", "chaosnet. 1")],
        "TXT at the name": [rrset(OWNER, "TXT", '"x"')], "a TLSA of another name": [rrset("x.example.test.", "TLSA", A)],
        "alias": SIGNED["CNAME"], "alias without signature": [ALIAS], "loop": SIGNED["CNAME"] + SIGNED["LOOP"],
        "alias to itself": signed(rrset(OWNER, "CNAME", OWNER)),
        "alias to the root": signed(rrset(OWNER, "CNAME", ".")),
        "alias to odd bytes": signed(rrset(OWNER, "CNAME", "a\\000b\\.\\255.example.test.")),
        "DNAME": signed(rrset("mx1.example.test.", "DNAME", "mx2.example.test.")),
        "DNAME to a name too long": signed(rrset("mx1.example.test.", "DNAME", long_name)),
        "DNAME that leads back": signed(rrset("mx1.example.test.", "DNAME", "_tcp.mx1.example.test.")),
        "DNAME at the root": [rrset(".", "DNAME", "example.test.")],
        "expired": signed(TLSA, until=-1), "not yet valid": signed(TLSA, since=10), "a stranger's": signed(TLSA, STRANGER),
        "signed by another zone": signed(TLSA, zone="test."),
        "TTL 0": signed(rrset(OWNER, "TLSA", A, B, ttl=0)),
        "the highest TTL": signed(rrset(OWNER, "TLSA", A, B, ttl=2**31 - 1)),
        "TTL that is negative": [with_ttl(TLSA, 2**31), *SIGNED["TLSA"][1:]],
        "TTL of all ones": [with_ttl(TLSA, 2**32 - 1), *SIGNED["TLSA"][1:]],
        "a malformed record": signed(generic(OWNER, "030101" + "aa" * 32, "020101" + "bb" * 32, "0301", "0301010102",
                                             "030101", "")),
    }


def with_ttl(one, ttl):
    made = dns.rrset.from_text_list(OWNER, 0, "IN", "TLSA", [rdata.to_text() for rdata in one])
    made.ttl = ttl
    return made


def odd_signatures():
    """Signatures over the right records with one field changed."""
    good = SIGNED["TLSA"][1][0]
    for field, value in (("labels", 0), ("labels", 255), ("algorithm", 0), ("algorithm", 1), ("algorithm", 8),
                         ("algorithm", 16),
                         ("algorithm", 255), ("key_tag", 0), ("original_ttl", 0), ("expiration", 0), ("expiration", 2**32 - 1),
                         ("inception", 2**32 - 1), ("signature", b""), ("signature", b"\x00" * 64), ("signature", b"x" * 500),
                         ("signer", dns.name.root), ("type_covered", dns.rdatatype.A)):
        yield f"{field}={str(value)[:12]}", [TLSA, dns.rrset.from_rdata(TLSA.name, 10, good.replace(**{field: value}))]


ODD_ANSWERS = {**odd_rrsets(), **dict(odd_signatures())}
TRUE = frozenset((A, B))


def says(answer=(), **options):
    return lambda query, _good: reply(query, answer, **options)


@pytest.mark.parametrize("what", ODD_ANSWERS)
@pytest.mark.parametrize("where", [SERVER, RESOLVER])
def test_an_odd_answer(what, where):
    """At a server of a signed zone, and from the resolver: an outcome, and only signed records are a version."""
    options = {"flags": dns.flags.RA | dns.flags.AD} if where == RESOLVER else {}
    look = looked({(where, OWNER, "TLSA"): says(ODD_ANSWERS[what], **options)})
    malformed = frozenset((A, B, "3 1 1 0102"))
    if where == SERVER:
        assert versions(look) <= {TRUE, malformed, frozenset()}, look
        if what in ("other records", "good without signature", "expired", "not yet valid", "a stranger's",
                    "signed by another zone", "TLSA of class CH", "alias without signature") or "=" in what:
            assert versions(look) == set(), look
        if what == "a malformed record":
            assert versions(look) == {malformed} and any("malformed" in finding for finding in look["findings"])
    assert versions(look, OTHER) <= {TRUE}


@pytest.mark.parametrize("what", ODD_ANSWERS)
def test_an_odd_answer_in_a_zone_without_signatures(what):
    """There nothing is verified, and nothing is secure; but what is read is what stands there."""
    def answered(query, _good):
        return reply(query, ODD_ANSWERS[what])

    look = looked({(SERVER, OWNER, "TLSA"): answered, (RESOLVER, ZONE, "DNSKEY"): says(flags=dns.flags.RA)},
                  security=0)
    if look is None:
        return
    assert look["security"] != "secure"
    there = {rdata.to_text() for one in ODD_ANSWERS[what] for rdata in one
             if one.rdtype == dns.rdatatype.TLSA and one.rdclass == dns.rdataclass.IN and one.name == TLSA.name}
    for server in look["servers"]:
        if server["address"] == SERVER and server["outcome"] == "version":
            assert {Record.parse(text) for text in server["version"]["records"]} <= {
                Record.parse(text) for text in there if len(text.split()) == 4 and not text.startswith("\\#")} | {
                    Record.parse(text) for text in (A, B, "3 1 1 0102")}
            Version.from_dict(server["version"])


ODD_KEYS = [f"{flags} {protocol} {algorithm} {data}" for flags, protocol in ((257, 3), (0, 3), (257, 0), (384, 3))
            for algorithm in (1, 3, 5, 7, 8, 10, 12, 13, 14, 15, 16, 17, 253, 255)
            for data in ("AA==", "AAAA", "AwEAAQ==", "A" * 88, "/" * 88, "AwEAAbzM" + "A" * 336)]


def test_keys_that_are_none():
    """The resolver vouches for a key that no library can read, and a signature claims to be by it."""
    good = SIGNED["TLSA"][1][0]
    for number, text in enumerate(ODD_KEYS):
        keys = rrset(ZONE, "DNSKEY", text)
        claimed = good.replace(key_tag=dns.dnssec.key_id(keys[0]), algorithm=keys[0].algorithm)
        answer = [TLSA, dns.rrset.from_rdata(TLSA.name, 10, claimed)]
        script = {(RESOLVER, ZONE, "DNSKEY"): says([keys], flags=dns.flags.AD), (SERVER, OWNER, "TLSA"): says(answer)}
        if number % 4 == 0:
            look = looked(script)
            assert versions(look) == set(), text
        with pytest.raises(_dns._Bogus):
            _dns._verify(answer, TLSA, dns.name.from_text(ZONE), keys, NOW)


@pytest.mark.parametrize("rcode", range(24))
@pytest.mark.parametrize("flags", [0, dns.flags.AA, dns.flags.AA | dns.flags.TC, dns.flags.RD])
def test_every_code_and_flag(rcode, flags):
    """Only an answer with authority and without an error says something."""
    look = looked({(SERVER, OWNER, "TLSA"): says(SIGNED["TLSA"], rcode=dns.rcode.Rcode(rcode), flags=flags)})
    good = rcode in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and flags & dns.flags.AA
    assert versions(look) <= ({TRUE} if good else set())


ODD_SECTIONS = [
    rrset(".", "NS", "."), rrset(ZONE, "NS", "."), rrset(ZONE, "NS", "\\000.example.test."),
    rrset(ZONE, "NS", "ns1.example.test."),
    rrset("ns1.example.test.", "A", "192.0.2.1"), rrset("ns1.example.test.", "AAAA", "::"),
    dns.rrset.from_text("ns1.example.test.", 10, "CH", "A", "chaosnet. 1"),
    rrset("ns1.example.test.", "CNAME", "ns1.example.test."),
    rrset(ZONE, "SOA", ". . 0 0 0 0 4294967295"), rrset("test.", "SOA", ". . 0 0 0 0 0"), rrset(".", "SOA", ". . 0 0 0 0 0"),
    rrset(ZONE, "CNAME", "example.test."), rrset(ZONE, "DNAME", "example.test."), rrset(ZONE, "MX", "0 ."),
    rrset(ZONE, "DNSKEY", "257 3 13 AAAA"), rrset(ZONE, "DNSKEY", "257 3 8 AAAA"), rrset(ZONE, "DNSKEY", "0 0 0 AA=="),
    rrset(ZONE, "DNSKEY", "257 3 8 AwEAAQ=="), rrset(ZONE, "DNSKEY", "257 3 15 AA=="), rrset(ZONE, "DNSKEY", "257 3 253 AA=="),
    generic(ZONE, "0101030d", rdtype="DNSKEY"), rrset(ZONE, "NSEC3", "255 255 65535 - 00000000000000000000000000000000"),
    dns.rrset.from_text("mx1.example.test.", 10, "CH", "A", "chaosnet. 1"), rrset(OWNER, "TLSA", A), *KEYS, *SIGNED["CNAME"],
]


@st.composite
def odd_messages(draw):
    """A function that answers any question with sections drawn from a heap of odd RRsets."""
    sections = [draw(st.lists(st.sampled_from(ODD_SECTIONS), max_size=4, unique_by=id)) for _section in range(3)]
    rcode = draw(st.sampled_from((0, 0, 0, 0, 2, 3, 5, 9)))
    flags = draw(st.sampled_from((dns.flags.AA, dns.flags.RA | dns.flags.AD, 0, dns.flags.TC)))

    def odd(query, _good):
        return reply(query, sections[0], sections[1], dns.rcode.Rcode(rcode), flags, sections[2])

    return odd


@given(st.sampled_from([*ANSWERS, (RESOLVER,), (SERVER,), (PARENT,), (RESOLVER, "SOA"), (RESOLVER, "A"), (RESOLVER, "MX")]),
       odd_messages(), st.booleans())
@examples(80)
def test_any_mixture_of_records_is_survived(which, odd, secure):
    """Whoever answers like this, for one question or for all."""
    world = World({which: odd}, security=dns.flags.AD if secure else 0)
    looked({which: odd}, security=dns.flags.AD if secure else 0)
    settings = world.settings()
    world.asked = 0
    for call, name in ((_dns.find_zones, [OWNER]), (_dns.addresses, "mx1.example.test"), (_dns.mail_hosts, ZONE),
                       (_dns.addresses_of, ["mx1.example.test", "ns1.example.test"])):
        found = refusal_or(call, name, settings)
        world.asked = 0
        if isinstance(found, _dns.Addresses):
            assert all(isinstance(address, str) and address.count(".") == 3 or ":" in address for address in found.addresses)


@given(odd_messages(), st.sampled_from([(SERVER,), (SERVER, "TLSA"), (SERVER, "SOA")]))
@example(lambda query, good: b"", (SERVER,))
@example(lambda query, good: good[:20], (SERVER,))
def test_a_publisher_survives_its_server(odd, which):
    """What the primary gives is read before it is changed: the RRset, or an error that names server and owner."""
    world = World({which: odd})
    publisher = _update.Rfc2136(SERVER, settings=world.settings())
    served = refusal_or(publisher.read, ZONE, OWNER)
    if served is not None:
        assert served.records <= {Record.parse(A), Record.parse(B)}


@given(st.data())
@examples(60)
def test_a_publisher_survives_a_damaged_answer_to_its_update(data):
    """Also one that is signed, with a key that both have."""
    key = data.draw(st.sampled_from((None, "dane.")))

    async def exchange(wire, address, port, tcp, timeout):
        query = dns.message.from_wire(wire, keyring={dns.name.from_text("dane."): b"x" * 32})
        made = dns.message.make_response(query)
        if key and data.draw(st.booleans()):
            made.use_tsig(dns.tsig.Key("dane.", b"x" * 32))
        good = made.to_wire()
        answer = data.draw(st.just(good) | damaged(good))
        return query.id.to_bytes(2, "big") + answer[2:] if len(answer) > 2 else answer

    world = World()
    world.exchange = exchange
    publisher = _update.Rfc2136(
        SERVER, key_name=key, key_secret="eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=" if key else None,
        settings=world.settings())
    refusal_or(publisher.change, ZONE, OWNER, 10, add={Record.parse(A)})
    refusal_or(publisher.rehearse, ZONE, OWNER)


# ------------------------------------------------------------------------------------------------- names and addresses


names = st.sampled_from((
    "", ".", "..", "a..b", "mx1.example.org", "MX1.Example.ORG.", "m\xfcller.example", "xn--.example",
    "xn--\xfc.example", "\ud800",
    "a" * 64, ".".join(["a" * 60] * 5), "\\", "\\300.x", "\\12", "a\\.b.example", "a b", "\x00", "\n", "\u0130.example",
    "\u2024.example", "\u3002", "*", "_25._tcp.mx1.example.org")) | st.text(max_size=12)


@given(names | st.sampled_from(ODD))
def test_a_name_is_canonical_or_refused(name):
    found = refusal_or(_dns.canonical, name)
    if found is None:
        return
    assert isinstance(name, str)
    assert found.endswith(".") and found == found.lower() and found.isascii()
    assert _dns.canonical(found) == found
    assert len(dns.name.from_text(found).to_wire()) <= 255


@given(names)
@examples(50)
def test_a_name_is_asked_about_or_refused(name):
    world = World()
    for call in (_dns.addresses, _dns.mail_hosts):
        refusal_or(call, name, world.settings())
    for call in (_dns.look, _dns.find_zones, _dns.addresses_of):
        refusal_or(call, [name], world.settings())


servers = st.sampled_from((
    "192.0.2.1", "192.0.2.1@53", " 192.0.2.1 ", "2001:db8::1", "2001:DB8:0::1@5353", "fe80::1%eth0", "fe80::1%",
    "192.0.2.1%eth0",
    "192.0.2.1@", "192.0.2.1@0", "192.0.2.1@65536", "192.0.2.1@5_3", "192.0.2.1@\u0665\u0663", "192.0.2.1@+53", "192.0.2.1@ 53",
    "192.0.2.1@53@53", "192.0.2.01", "192.0.2.256", "ns1.example", "", "@53", "[2001:db8::1]", "fe80::1%a\x00b", "0x7f.1",
    "\u0661.1.1.1", "192.0.2.1@" + "9" * 5000)) | st.text(max_size=10)


@given(servers | st.sampled_from(ODD))
def test_a_server_is_an_address_and_a_port_or_refused(text):
    found = refusal_or(_dns.parse_server, text)
    if found is None:
        return
    address, port = found
    assert isinstance(port, int) and 1 <= port <= 65535
    assert _dns.parse_server(_dns.show_server(address, port)) == found
    assert address.isascii() and address.isprintable() and " " not in address and address == address.lower()
    digits = text.strip().partition("@")[2] or "53"
    assert digits.isascii() and digits.isdigit() and int(digits) == port
    assert "%" not in address or ":" in address


@given(st.fixed_dictionaries({}, optional={
    "resolver": st.sampled_from(ODD) | st.lists(st.sampled_from(ODD), max_size=2),
    "extra_servers": st.sampled_from(ODD) | st.lists(servers, max_size=2),
    "ip_versions": st.sampled_from(ODD) | st.lists(st.sampled_from((4, 6, "4", 5, None, True, 4.5, "x")), max_size=3),
    "query_timeout": st.sampled_from(ODD)}))
@example({"query_timeout": float("nan")})
@example({"ip_versions": [5]})
def test_settings_are_made_right_or_refused(options):
    made = refusal_or(_dns.Settings.from_options, options)
    if made is not None:
        assert 0 < made.timeout < 10**6 and set(made.ip_versions) <= {4, 6} and made.ip_versions
        assert all(isinstance(address, str) and isinstance(port, int) for address, port in made.resolver + made.extra_servers)


def test_nothing_here_waits(monkeypatch):
    """The transport of these tests is no socket: a script that is slow would be a mistake."""
    before = time.monotonic()
    with pytest.raises(DnsError) as caught:
        _dns.look([OWNER], World({(RESOLVER,): lambda query, good: None}).settings())
    check_message(caught.value)
    assert "resolver" in caught.value.message
    assert time.monotonic() - before < 30
