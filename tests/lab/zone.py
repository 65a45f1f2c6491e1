# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's own dealings with DNS: ask a server, compare secondaries, put the zones back to their initial content."""

from __future__ import annotations

import time

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.tsigkeyring
import dns.update
import dns.zone

import trees
from hosts import HOSTS, NAMESERVERS, SECONDARIES, ZONE
from machine import BUILD, LabError, wait_until

# Made by the server when it signs, not by anybody who edits the zone.
SIGNER_TYPES = {"RRSIG", "NSEC", "DNSKEY", "CDS", "CDNSKEY", "TYPE65534", "SOA"}
PRIMARY = HOSTS["ns0"].ipv4


def ask(address, name, kind, timeout=2.0):
    """One question to one server over UDP; None when nothing comes back."""
    question = dns.message.make_query(name, kind, want_dnssec=True)
    try:
        return dns.query.udp_with_fallback(question, address, timeout=timeout)[0]
    except (dns.exception.DNSException, OSError):
        return None


def serial(address, zone=ZONE):
    """The zone's serial on this server, or None."""
    answer = ask(address, zone + ".", "SOA")
    if answer is None or not answer.flags & dns.flags.AA or not answer.answer:
        return None
    return answer.answer[0][0].serial


def signed(address, zone=ZONE):
    """Does this server give the zone's SOA with a signature?"""
    answer = ask(address, zone, "SOA")
    return answer is not None and any(rrset.rdtype == dns.rdatatype.RRSIG for rrset in answer.answer)


def authenticated(address, name, kind="A"):
    """Does this resolver answer with records and the AD bit?"""
    answer = ask(address, name, kind)
    return answer is not None and bool(answer.flags & dns.flags.AD) and bool(answer.answer)


def behind():
    """The secondaries that do not have the primary's zone yet, or None when all have it."""
    wanted = serial(PRIMARY)
    late = {host.short: serial(host.ipv4) for host in SECONDARIES}
    late = {short: have for short, have in late.items() if wanted is None or have != wanted}
    if not late:
        return None
    return f"the primary has serial {wanted}, " + ", ".join(f"{short} has {have}" for short, have in late.items())


def wait_in_step(deadline):
    """Wait until all secondaries have the primary's zone."""
    missing = wait_until(behind, deadline, 0.1)
    if missing:
        raise LabError(f"Cannot bring the secondaries in step: {missing}")


def update(zone, key="tsig_lab"):
    """An empty dynamic update, signed with one of the lab's keys."""
    tsig = trees.description()[key]
    ring = dns.tsigkeyring.from_text({tsig["name"]: (tsig["algorithm"], tsig["secret"])})
    return dns.update.UpdateMessage(zone + ".", keyring=ring)


def outcome(message):
    """Send an update to the primary and return its answer's code."""
    try:
        return dns.rcode.to_text(dns.query.tcp(message, PRIMARY, timeout=5).rcode())
    except (dns.exception.DNSException, OSError) as error:
        raise LabError(f"Cannot update a zone on ns0: {error!r}") from error


def send(message):
    """Send an update to the primary; anything but NOERROR is an error."""
    said = outcome(message)
    if said != "NOERROR":
        raise LabError(f"Cannot update the zone on ns0: {said}")


def content(zone):
    """(owner, type) -> (TTL, records) as the primary has it, without what signing adds."""
    transfer = dns.query.xfr(PRIMARY, zone + ".", timeout=5, lifetime=10, relativize=False)
    try:
        return as_sets(dns.zone.from_xfr(transfer, relativize=False))
    except (dns.exception.DNSException, OSError) as error:
        raise LabError(f"Cannot read zone {zone!r} from ns0: {error!r}") from error


def initial(zone):
    """The same for the zone file that the primary started with."""
    path = BUILD / "hosts" / "ns0" / "rootfs" / "var" / "lib" / "bind" / f"{zone}.zone"
    return as_sets(dns.zone.from_file(str(path), origin=zone + ".", relativize=False))


def as_sets(zone):
    """A zone as a dictionary that can be compared."""
    sets = {}
    for name, rdataset in zone.iterate_rdatasets():
        kind = dns.rdatatype.to_text(rdataset.rdtype)
        if kind not in SIGNER_TYPES:
            sets[name, kind] = (rdataset.ttl, frozenset(rdata.to_text() for rdata in rdataset))
    return sets


def restore(zone):
    """Put the zone back to its initial content by one dynamic update; says whether anything was to be done."""
    have, want = content(zone), initial(zone)
    message = update(zone)
    for name, kind in sorted(set(have) | set(want)):
        if have.get((name, kind)) == want.get((name, kind)):
            continue
        message.delete(name, kind)
        ttl, records = want.get((name, kind), (0, ()))
        for record in sorted(records):
            message.add(name, ttl, kind, record)
    if not message.update:
        return False
    send(message)
    return True


def restore_all(limit=15):
    """Both zones back to the beginning, on all servers."""
    for zone in (ZONE, "plain.test"):
        restore(zone)
    wait_in_step(time.monotonic() + limit)


def nameserver_problem(host):
    """What this authoritative server cannot do yet, or None."""
    for address in (host.ipv4, host.ipv6):
        if serial(address) is None:
            return f"no authoritative answer for {ZONE} at {address}"
    return None if signed(host.ipv4) else f"{ZONE} is not signed there"


def all_nameservers():
    """The first problem of any authoritative server, or None."""
    return next((problem for problem in map(nameserver_problem, NAMESERVERS) if problem), None)
