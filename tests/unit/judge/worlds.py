# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Made-up worlds for the judge: what servers and hosts show is a function of time, sampled like the witness does.

The usual world is two mail hosts, two servers and two senders over 60 seconds, in which nothing happens; tests change
one thing.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from judge import match, senders, sightings, verdict

START = 1_800_000_000.0
LENGTH = 60.0
HOSTS = ("mx1", "mx2")
SERVERS = ("ns0", "ns1")
SENDERS = ("s1", "s2")
TTL = 10


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@functools.lru_cache(maxsize=None)
def _key(label):
    return ec.generate_private_key(ec.SECP256R1())


@functools.lru_cache(maxsize=None)
def certificate(label, issuer=None, host="mx1", ca=False, not_after=START + 1e6):
    """DER of a certificate whose key is named by ``label``; the issuer likewise (None: self-signed)."""
    at = functools.partial(datetime.datetime.fromtimestamp, tz=datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(label))
        .issuer_name(_name(issuer or label))
        .public_key(_key(label).public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at(START - 1e6))
        .not_valid_after(at(not_after))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"{host}.example.test")]), critical=False)
    )
    return builder.sign(_key(issuer or label), hashes.SHA256()).public_bytes(Encoding.DER)


def record(label, combination="3 1 1"):
    """The TLSA record of a certificate."""
    usage, selector, mtype = combination.split()
    if label == "nobody":
        return f"{combination} {hashlib.sha256(b'nobody').hexdigest()}"
    der = certificate(label, ca=True) if label == "ca" else certificate(label)
    return f"{usage} {selector} {mtype} {match.association(der, int(selector), int(mtype))}"


def owner(host):
    """Where a host's records are."""
    return f"_25._tcp.{host}.example.test."


class Seen(sightings.Sightings):
    """Sightings that also hand every entry of the log on."""

    def __init__(self, write):
        super().__init__({})
        self.write = write

    def add(self, entry):
        """Take in one entry of the log (dict)."""
        self.write(entry)
        super().add(entry)


class World:
    """A made-up observation.

    Override by assigning: ``records[host, server]`` and ``chains[host]`` are functions of the seconds since the
    start, giving a list of record texts (or None for silence), a list of DER (or None); ``ttls`` likewise.
    """

    def __init__(self):
        self.records = {(h, s): lambda t, h=h: [record(f"{h} old")] for h in HOSTS for s in SERVERS}
        self.ttls = {(h, s): lambda t: TTL for h in HOSTS for s in SERVERS}
        self.chains = {h: lambda t, h=h: [certificate(f"{h} old")] for h in HOSTS}
        self.asleep = lambda t: False
        self.write = lambda entry: None
        self.lines = {s: [] for s in SENDERS}
        self.deliver = lambda sender, host, t: "Verified"
        self.fetches = [
            senders.Fetch(s, owner(h), START + t + 5 * i, 1.0)
            for i, s in enumerate(SENDERS) for h in HOSTS for t in range(-10, 60, 10)
        ]

    def rekey(self, host="mx1", publish=10.0, deploy=35.0, withdraw=45.0):
        """A rollover as it should be."""
        old, new = f"{host} old", f"{host} new"

        def published(t):
            return sorted([record(old)] * (t < withdraw) + [record(new)] * (t >= publish))

        for server in SERVERS:
            self.records[host, server] = published
        self.chains[host] = lambda t: [certificate(old if t < deploy else new)]
        return self

    def sightings(self):
        """What the witness wrote."""
        seen = Seen(self.write)
        seen.add({
            "kind": "plan",
            "owners": {owner(h): h for h in HOSTS},
            "sources": [[owner(h), s, "192.0.2.1"] for h in HOSTS for s in SERVERS],
            "endpoints": [[h, "192.0.2.2"] for h in HOSTS],
        })
        for step in range(int((LENGTH + 2) / 0.5)):
            t = step * 0.5 - 1
            if not self.asleep(t):
                self._look(seen, t)
        return seen

    def _look(self, seen, t):
        times = {"before": START + t - 0.01, "after": START + t + 0.01}
        for (host, server), served in self.records.items():
            seen.add({"kind": "rrset", "owner": owner(host), "server": server, "address": "192.0.2.1",
                      "records": served(t), "ttl": self.ttls[host, server](t), **times})
        for host, presented in self.chains.items():
            chain = presented(t)
            ids = None if chain is None else [hashlib.sha256(der).hexdigest() for der in chain]
            for identity, der in zip(ids or [], chain or []):
                seen.add({"kind": "certificate", "id": identity, "der": base64.b64encode(der).decode()})
            seen.add({"kind": "chain", "host": host, "address": "192.0.2.2", "chain": ids, **times})

    def logs(self):
        """What the senders logged: a delivery a second to each host."""
        found = {}
        for sender in SENDERS:
            log = senders.PostfixLog(sender, {f"{h}-only.example.test": h for h in HOSTS}, START)
            for second in range(int(LENGTH)):
                for host in HOSTS:
                    level = self.deliver(sender, host, second)
                    if level:
                        log.feed(delivery_lines(host, START + second + 0.2, level))
            log.feed(self.lines[sender])
            found[sender] = log
        return found

    def evidence(self):
        """Both together, as the judge wants them."""
        names = {h: f"{h}.example.test" for h in HOSTS}
        return verdict.Evidence(self.sightings(), self.logs(), START, START + LENGTH, names, self.fetches)

    def judge(self, **options):
        """The verdict."""
        return verdict.judge(self.evidence(), **options)


def stamp(at):
    """An RFC 3339 log stamp."""
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(timespec="microseconds")


def delivery_lines(host, at, level="Verified", pid=77):
    """A delivery as Postfix logs it; a level other than Verified ends as it does under dane-only."""
    head = f"{stamp(at)} s1 postfix/smtp[{pid}]:"
    peer = f"{host}.example.test[10.99.0.21]:25"
    sent = level == "Verified"
    outcome = "dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4RXG)" if sent else (
        "dsn=4.7.5, status=deferred (Server certificate not trusted)")
    return [
        f"{head} {level} TLS connection established to {peer}: TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 "
        "(256/256 bits) key-exchange X25519 server-signature ECDSA (P-256) server-digest SHA256",
        f"{head} 4RXF5d0Pc2z1: to=<probe@{host}-only.example.test>, relay={peer}, delay=0.11, "
        f"delays=0.01/0.02/0.06/0.02, {outcome}",
    ]
