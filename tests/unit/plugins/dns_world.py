# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small DNS of real servers for tests: a signed root, ``test.`` below it, and zones below that.

Every server is a temporary process on a high port of 127.0.0.1. The zones name addresses that exist nowhere
(RFC 5737, RFC 3849); :class:`Map`, put in the place of the transport, leads each of them to the process that plays it.
So IPv6 and "the port is always 53" are as in real life, and nothing needs privileges or an address of its own.

| address | plays | process |
| --- | --- | --- |
| 192.0.2.10 | the root and ``test.`` | BIND |
| 192.0.2.1, 2001:db8::1 | ``ns1.example.test.``: the primary, takes updates | BIND |
| 192.0.2.2 | ``ns2.example.test.``: a secondary | NSD |
| 192.0.2.3, 2001:db8::3 | ``ns3.example.test.``: a secondary, and the only server of ``other.test.`` | Knot |
| 192.0.2.98 | a host where nothing listens | none |
| 192.0.2.99 | a host that swallows everything | a socket nobody reads |
"""

from __future__ import annotations

import asyncio
import base64
import random
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

RESOLVER = "192.0.2.53"
NOT_VALIDATING = "192.0.2.54"
PRIMARY = "192.0.2.1"
CLOSED, BLACKHOLE = "192.0.2.98", "192.0.2.99"

# Key names and what the primary lets them do; all but "wrong" have the secret that the primary knows.
SECRET = base64.b64encode(b"a secret of thirty-two bytes, ok").decode()
OTHER_SECRET = base64.b64encode(b"a secret the server never heard!").decode()
KEYS = ("dane", "second", "stranger")

DIGEST_A, DIGEST_B, DIGEST_C = "aa" * 32, "bb" * 32, "cc" * 32

ROOT = """$TTL 300
. SOA ns.root. hostmaster.root. 1 3600 600 86400 300
. NS ns.root.
ns.root. A 192.0.2.10
test. NS ns.test.
ns.test. A 192.0.2.10
{ds}
"""
TEST = """$TTL 300
$ORIGIN test.
@ SOA ns hostmaster 1 3600 600 86400 300
@ NS ns
ns A 192.0.2.10
example NS ns1.example
example NS ns2.example
example NS ns3.example
ns1.example A 192.0.2.1
ns1.example AAAA 2001:db8::1
ns2.example A 192.0.2.2
ns3.example A 192.0.2.3
ns3.example AAAA 2001:db8::3
other NS ns3.example
insecure NS ns1.example
broken NS ns1.example
broken NS lame.broken
lame.broken A 192.0.2.2
bogus NS ns1.example
{ds}
"""
EXAMPLE = f"""$TTL 10
$ORIGIN example.test.
@ SOA ns1 hostmaster 100 3600 600 86400 7
@ NS ns1
@ NS ns2
@ NS ns3
@ MX 20 mx2
@ MX 10 mx1
ns1 A 192.0.2.1
ns1 AAAA 2001:db8::1
ns2 A 192.0.2.2
ns3 A 192.0.2.3
ns3 AAAA 2001:db8::3
mx1 A 192.0.2.21
mx1 AAAA 2001:db8::21
mx2 A 192.0.2.22
alias 20 CNAME mx2
no-address TXT "a name without an address"
null-mx MX 0 .
_25._tcp.mx1 TLSA 3 1 1 {DIGEST_A}
_25._tcp.mx1 TLSA 2 1 1 {DIGEST_B}
_25._tcp.inside 20 CNAME _tlsa.inside
_tlsa.inside 10 TLSA 3 1 1 {DIGEST_A}
_25._tcp.across 20 CNAME _dane.other.test.
_25._tcp.insecure-target CNAME _25._tcp.mx1.insecure.test.
_25._tcp.loop CNAME _loop
_loop CNAME _25._tcp.loop
_25._tcp.nowhere CNAME _dane.gone.other.test.
*.wild 30 TLSA 3 1 1 {DIGEST_C}
dname 40 DNAME _named.other.test.
_25._tcp.malformed TYPE52 \\# 5 0301010102
_25._tcp.malformed TLSA 3 1 1 {DIGEST_A}
"""
OTHER = f"""$TTL 50
$ORIGIN other.test.
@ SOA ns3.example.test. hostmaster 7 3600 600 86400 60
@ NS ns3.example.test.
_dane 50 TLSA 3 1 1 {DIGEST_B}
_25._tcp._named 60 TLSA 3 1 1 {DIGEST_C}
"""
INSECURE = f"""$TTL 30
$ORIGIN insecure.test.
@ SOA ns1.example.test. hostmaster 5 3600 600 86400 30
@ NS ns1.example.test.
_25._tcp.mx1 TLSA 3 1 1 {DIGEST_A}
"""
# The zone names more servers than the parent: one that refuses, one that is silent, one where nothing listens.
BROKEN = f"""$TTL 30
$ORIGIN broken.test.
@ SOA ns1.example.test. hostmaster 9 3600 600 86400 30
@ NS ns1.example.test.
@ NS lame
@ NS silent
@ NS closed
@ NS nameless.example.test.
lame A 192.0.2.2
silent A {BLACKHOLE}
closed A {CLOSED}
_25._tcp.mx1 TLSA 3 1 1 {DIGEST_A}
"""
BOGUS = f"""$TTL 30
$ORIGIN bogus.test.
@ SOA ns1.example.test. hostmaster 9 3600 600 86400 30
@ NS ns1.example.test.
_25._tcp.mx1 TLSA 3 1 1 {DIGEST_A}
"""


class Asked(NamedTuple):
    """One message that was sent: to whom, about what, over what."""

    address: str
    name: str
    rdtype: str
    tcp: bool

    @classmethod
    def read(cls, wire, address, tcp):
        import dns.name
        import dns.rdatatype

        name, used = dns.name.from_wire(wire, 12)
        rdtype = dns.rdatatype.to_text(int.from_bytes(wire[12 + used:14 + used], "big"))
        return cls(address, name.to_text(), "UPDATE" if wire[2] >> 3 & 15 == 5 else rdtype, tcp)


class Map:
    """A transport that leads the addresses of the zones to the processes, over the product's own transport.

    ``scripted``: address to function(query, tcp, ask) that returns the answer (bytes), raises, or returns None for
    silence; ``await ask()`` gives the real server's answer. For servers that misbehave in ways that real ones do not on
    demand. ``asked``: every :class:`Asked` in order.
    """

    def __init__(self, places, carrier, scripted=None):
        self.places = places
        self.carrier = carrier
        self.scripted = scripted or {}
        self.asked = []

    async def exchange(self, wire, address, port, tcp, timeout):
        self.asked.append(Asked.read(wire, address, tcp))

        async def ask():
            return await self.carrier.exchange(wire, "127.0.0.1", self.places[address], tcp, timeout)

        if address not in self.scripted:
            return await ask()
        answer = await self.scripted[address](wire, tcp, ask)
        if answer is None:
            # As long as a real silence would have lasted; what it means is decided by who waits, not by the clock.
            raise asyncio.TimeoutError
        return answer

    def count(self, address, rdtype, tcp=False):
        """How often an address was asked for a type (int)."""
        return sum(1 for one in self.asked if (one.address, one.rdtype, one.tcp) == (address, rdtype, tcp))


class World:
    """The servers. ``places`` maps an address in a zone to a port of 127.0.0.1."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.processes = []
        self.sockets = []
        self.taken = set()
        self.ports = {name: self._free_port() for name in (
            "parents", "primary", "nsd", "knot", "unbound", "forwarder", "closed")}
        self.places = {
            "192.0.2.10": self.ports["parents"],
            "192.0.2.1": self.ports["primary"], "2001:db8::1": self.ports["primary"],
            "192.0.2.2": self.ports["nsd"],
            "192.0.2.3": self.ports["knot"], "2001:db8::3": self.ports["knot"],
            RESOLVER: self.ports["unbound"], NOT_VALIDATING: self.ports["forwarder"],
            CLOSED: self.ports["closed"], BLACKHOLE: self._blackhole(),
        }

    # ---- for tests

    def settings(self, scripted=None, resolver=RESOLVER, **changes):
        """``_dns.Settings`` that live in this world; the transport keeps count of what was asked."""
        from ansible_collections.mailops.dane.plugins.module_utils import _dns

        transport = Map(self.places, _dns.Transport(), scripted)
        return _dns.Settings(**{
            "resolver": ((resolver, 53),), "timeout": 2.0, "transport": transport, **changes})

    def serial(self, address, zone="example.test."):
        """The SOA serial one server gives (int)."""
        import dns.message
        import dns.query

        answer = dns.query.udp(dns.message.make_query(zone, "SOA"), "127.0.0.1", 5, port=self.places[address])
        return answer.answer[0][0].serial

    def settle(self, zone="example.test."):
        """Wait until the secondaries serve what the primary does."""
        wanted = self.serial(PRIMARY, zone)
        self._until(lambda: all(self.serial(address, zone) == wanted for address in ("192.0.2.2", "192.0.2.3")),
                    f"the secondaries to have serial {wanted} of {zone}")

    def update(self, owner, add=(), remove=(), ttl=10):
        """Change records (text) as another writer would, with another program than the one under test."""
        commands = [f"server 127.0.0.1 {self.ports['primary']}", "zone example.test."]
        commands += [f"update add {owner} {ttl} TLSA {record}" for record in add]
        commands += [f"update delete {owner} TLSA {record}" for record in remove]
        done = subprocess.run(
            [self._program("nsupdate"), "-y", f"hmac-sha256:second.:{SECRET}"],
            input="\n".join(commands + ["send", ""]), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"nsupdate: {done.stdout}{done.stderr}")

    def log(self, name):
        """What a process has written (str)."""
        return (self.directory / name / "log").read_text(errors="replace")

    # ---- starting and stopping

    def start(self):
        for program in ("named", "dnssec-keygen", "dnssec-dsfromkey", "nsupdate", "nsd", "knotd", "unbound"):
            if not self._program(program):
                raise RuntimeError(f"{program} is missing: install what tests/debian-packages.txt lists")
        self._bind("parents", {}, keys_of=(".", "test."))
        self._bind("primary", {}, keys_of=("example.test.", "other.test.", "broken.test.", "bogus.test."))
        stranger = self._key("primary", "wrong.test.")
        ds = {zone: self._ds("primary", zone) for zone in ("example.test.", "other.test.", "broken.test.")}
        ds["bogus.test."] = stranger.replace("wrong.test.", "bogus.test.")
        self._bind("parents", {".": ROOT.format(ds=self._ds("parents", "test.")),
                               "test.": TEST.format(ds="\n".join(ds.values()))}, keys_of=(".", "test."))
        self._bind("primary", {
            "example.test.": EXAMPLE, "other.test.": OTHER, "insecure.test.": INSECURE, "broken.test.": BROKEN,
            "bogus.test.": BOGUS}, keys_of=("example.test.", "other.test.", "broken.test.", "bogus.test."))
        for name in ("parents", "primary"):
            self._run(name, ["named", "-g", "-n", "1", "-c", "named.conf"])
        self._wait_signed("192.0.2.10", ".", "test.")
        self._wait_signed(PRIMARY, "example.test.", "other.test.", "broken.test.", "bogus.test.")
        self._nsd()
        self._knot()
        self._unbound("unbound", "validator iterator")
        self._unbound("forwarder", "iterator")
        self._wait_signed("192.0.2.2", "example.test.")
        self._wait_signed("192.0.2.3", "example.test.", "other.test.")
        self._until(lambda: self._answers(RESOLVER, "example.test."), "the resolver to answer")
        self._until(lambda: self._answers(NOT_VALIDATING, "example.test."), "the other resolver to answer")

    def stop(self):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for one in self.sockets:
            one.close()

    def _run(self, name, command):
        directory = self.directory / name
        with open(directory / "log", "ab") as log:
            self.processes.append(subprocess.Popen(
                [self._program(command[0]), *command[1:]], cwd=directory, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log))

    @staticmethod
    def _program(name):
        return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")

    def _free_port(self):
        """A port for a server: below those that the kernel and resolvers take for questions of their own."""
        while True:
            port = random.randrange(20000, 32000)
            if port in self.taken:
                continue
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
                try:
                    udp.bind(("127.0.0.1", port))
                    tcp.bind(("127.0.0.1", port))
                    self.taken.add(port)
                    return port
                except OSError:
                    continue

    def _blackhole(self):
        port = self._free_port()
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        udp.bind(("127.0.0.1", port))
        tcp.bind(("127.0.0.1", port))
        tcp.listen(64)
        self.sockets += [udp, tcp]
        return port

    def _until(self, condition, what, patience=20):
        end = time.monotonic() + patience
        while True:
            try:
                if condition():
                    return
            except Exception as exc:  # whatever a server that is still starting makes a client raise
                if time.monotonic() > end:
                    raise RuntimeError(f"waited {patience} s for {what}: {exc}") from exc
            if time.monotonic() > end:
                logs = "\n".join(f"--- {one.parent.name}\n{one.read_text(errors='replace')[-3000:]}"
                                 for one in self.directory.glob("*/log"))
                raise RuntimeError(f"waited {patience} s for {what}\n{logs}")
            time.sleep(0.05)

    def _answers(self, address, zone):
        import dns.message
        import dns.query
        import dns.rcode

        answer = dns.query.udp(
            dns.message.make_query(zone, "SOA", want_dnssec=True), "127.0.0.1", 2, port=self.places[address])
        return answer.rcode() == dns.rcode.NOERROR and bool(answer.answer) and answer

    def _wait_signed(self, address, *zones):
        for zone in zones:
            self._until(lambda zone=zone: len(self._answers(address, zone).answer) == 2,
                        f"{address} to serve {zone} signed")

    # ---- BIND

    def _bind(self, name, zones, keys_of):
        directory = self.directory / name
        (directory / "keys").mkdir(parents=True, exist_ok=True)
        blocks = []
        for zone, text in zones.items():
            file = f"zone-{zone.strip('.') or 'root'}"
            (directory / file).write_text(text)
            options = [f"type primary; file \"{file}\";"]
            if zone in keys_of:
                options.append("dnssec-policy lab;")
            if zone == "example.test.":
                options.append("update-policy { grant dane. zonesub TLSA; grant second. zonesub ANY; };")
            elif zone in keys_of:
                options.append("inline-signing yes;")
            if zone in ("example.test.", "other.test."):
                listeners = [self.ports["knot"]] + ([self.ports["nsd"]] if zone == "example.test." else [])
                targets = " ".join(f"127.0.0.1 port {port};" for port in listeners)
                options.append(f"notify explicit; also-notify {{ {targets} }};")
            blocks.append(f'zone "{zone}" {{ {" ".join(options)} }};')
        for key in KEYS:
            blocks.append(f'key "{key}." {{ algorithm hmac-sha256; secret "{SECRET}"; }};')
        (directory / "named.conf").write_text("\n".join([
            "options {", f'directory "{directory}"; key-directory "{directory}/keys";',
            f'managed-keys-directory "{directory}";',
            f'listen-on port {self.ports[name]} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};',
            "recursion no; dnssec-validation no; allow-transfer { any; }; notify no; notify-delay 0; pid-file none;",
            'session-keyfile none; minimal-responses yes; check-integrity no; check-names primary ignore;',
            "};", "controls { };",
            'dnssec-policy "lab" { keys { csk lifetime unlimited algorithm ecdsap256sha256; }; };', *blocks, ""]))
        for zone in keys_of:
            if not list((directory / "keys").glob(f"K{zone if zone != '.' else '.'}+*.key")):
                self._key(name, zone)

    def _key(self, name, zone):
        """Make a zone's key ahead of time, so that its DS can stand in the parent; returns the DS record (str)."""
        directory = self.directory / name
        made = self._tool(directory, "dnssec-keygen", "-k", "lab", "-l", "named.conf", "-K", "keys", zone)
        return self._tool(directory, "dnssec-dsfromkey", "-2", f"keys/{made.split()[-1]}.key")

    def _ds(self, name, zone):
        directory = self.directory / name
        keys = sorted((directory / "keys").glob(f"K{zone}+*.key"))
        return "\n".join(self._tool(directory, "dnssec-dsfromkey", "-2", str(key)) for key in keys)

    def _tool(self, directory, *command):
        done = subprocess.run(
            [self._program(command[0]), *command[1:]], cwd=directory, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stdout.strip()

    # ---- the others

    def _nsd(self):
        directory = self.directory / "nsd"
        directory.mkdir()
        primary = f"127.0.0.1@{self.ports['primary']}"
        (directory / "nsd.conf").write_text(f"""server:
    ip-address: 127.0.0.1@{self.ports['nsd']}
    server-count: 1
    username: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/pid"
    xfrdfile: "{directory}/xfrd"
    xfrdir: "{directory}"
    zonelistfile: "{directory}/zones"
remote-control:
    control-enable: no
zone:
    name: example.test
    zonefile: example
    request-xfr: AXFR {primary} NOKEY
    allow-notify: 127.0.0.1 NOKEY
""")
        self._run("nsd", ["nsd", "-d", "-c", "nsd.conf"])

    def _knot(self):
        directory = self.directory / "knot"
        directory.mkdir()
        (directory / "knot.conf").write_text(f"""server:
    rundir: "{directory}"
    listen: 127.0.0.1@{self.ports['knot']}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "{directory}"
log:
  - target: stderr
    any: info
remote:
  - id: primary
    address: 127.0.0.1@{self.ports['primary']}
acl:
  - id: notify
    address: 127.0.0.1
    action: notify
template:
  - id: default
    storage: "{directory}"
    master: primary
    acl: notify
zone:
  - domain: example.test
  - domain: other.test
""")
        self._run("knot", ["knotd", "-c", "knot.conf"])

    def _unbound(self, name, modules):
        directory = self.directory / name
        directory.mkdir()
        anchor = "\n".join(
            line for key in (self.directory / "parents" / "keys").glob("K.+*.key")
            for line in key.read_text().splitlines() if not line.startswith(";"))
        (directory / "root.key").write_text(anchor + "\n")
        stubs = {".": "parents", "test.": "parents", "example.test.": "primary", "other.test.": "primary",
                 "insecure.test.": "primary", "broken.test.": "primary", "bogus.test.": "primary"}
        (directory / "unbound.conf").write_text(f"""server:
    directory: "{directory}"
    chroot: ""
    username: ""
    pidfile: ""
    use-syslog: no
    interface: 127.0.0.1@{self.ports[name]}
    port: {self.ports[name]}
    do-ip6: no
    do-not-query-localhost: no
    num-threads: 1
    trust-anchor-file: "root.key"
    module-config: "{modules}"
    local-zone: "test." nodefault
    ede: yes
    val-log-level: 2
    cache-max-negative-ttl: 1
remote-control:
    control-enable: no
""" + "\n".join(f'stub-zone:\n    name: "{zone}"\n    stub-addr: 127.0.0.1@{self.ports[place]}'
                for zone, place in stubs.items()) + "\n")
        self._run(name, ["unbound", "-d", "-c", "unbound.conf"])
