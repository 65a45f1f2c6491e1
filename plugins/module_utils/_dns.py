# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the DNS says, and who says it: zones, servers, RRsets and DNSSEC evidence. Private to this collection.

It only observes. Two kinds of question are asked, and they are never mixed up:

* The *resolver* (a validating one, trusted by the operator) is asked what a sender would be told, and whether it is
  authentic. AD set: ``secure``. An answer without AD: ``insecure``. SERVFAIL that goes away with CD: ``bogus``. No
  answer at all: ``unreachable``. None of these is ever taken to mean "there are no records".
* Every *authoritative server* of a zone is asked, at every address, what it serves at this moment: without recursion,
  with authority (AA), and in a signed zone with a signature that verifies with the keys the resolver vouches for.
  That a sender's cache can be filled by any of them is why each one counts.

An owner name may lead elsewhere (CNAME, DNAME), and a resolver may take each step of such a path from another server.
So the servers of every zone on the path are asked for every name on it, and the combination is cautious: a version
carries the longest sum of TTLs by which it can be reached, and everything that any server of the last zone gives is a
version. A server that gives only the alias is reported too, with the version to which it leads today.

Runs where dnspython 2.2 or newer is: the controller, or whatever host the operator named for DNS work.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import sys
import time
from dataclasses import dataclass, replace
from typing import Callable, NamedTuple, Optional, Tuple

from ._errors import DnsError
from ._tlsa import Record

try:
    import dns.dnssec
    import dns.edns
    import dns.exception
    import dns.flags
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdata
    import dns.rdataclass
    import dns.rdataset
    import dns.rdatatype
    import dns.resolver
    import dns.rrset
    import dns.tsig
    import dns.version
    import dns.wire

    DNSPYTHON_PROBLEM = None if dns.version.MAJOR * 100 + dns.version.MINOR >= 202 else (
        f"dnspython is too old: 2.2 or newer is needed, found {dns.version.version}")
except ImportError as _error:
    DNSPYTHON_PROBLEM = f"the Python library dnspython is missing: {_error}"

SECURE, INSECURE, BOGUS, UNREACHABLE = "secure", "insecure", "bogus", "unreachable"
VERSION, DOES_NOT_SERVE, SILENT = "version", "does-not-serve", "silent"

DNS_PORT = 53
# The size that goes through without fragments on practically every path (DNS flag day 2020).
EDNS_SIZE = 1232
# Resolvers give up on longer alias paths too.
LONGEST_PATH = 8


class Transport:
    """Carries one message to one address and brings back the bytes that answer it.

    Tests put another in its place. dnspython's own senders are not used, because they parse what they receive, and a
    single malformed TLSA record would cost us the whole answer.
    """

    async def exchange(self, wire, address, port, tcp, timeout):
        """Send ``wire`` (bytes) to ``address``, ``port`` over UDP or TCP and return the answer (bytes).

        :raises OSError: unreachable or refused.
        :raises asyncio.TimeoutError: nothing came within ``timeout`` seconds.
        """
        exchange = self._over_tcp if tcp else self._over_udp
        return await asyncio.wait_for(exchange(wire, address, port), timeout)

    @staticmethod
    async def _over_udp(wire, address, port):
        loop = asyncio.get_running_loop()
        # Connected, so that only datagrams from the server asked arrive here.
        endpoint, protocol = await loop.create_datagram_endpoint(
            lambda: _Datagrams(wire, loop.create_future()), remote_addr=(address, port))
        try:
            return await protocol.answer
        finally:
            endpoint.close()

    @staticmethod
    async def _over_tcp(wire, address, port):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(len(wire).to_bytes(2, "big") + wire)
            size = int.from_bytes(await reader.readexactly(2), "big")
            return await reader.readexactly(size)
        except asyncio.IncompleteReadError as exc:
            raise OSError("the server closed the connection without an answer") from exc
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    """Sends one datagram and waits for the one that answers it."""

    def __init__(self, wire, answer):
        self.wire = wire
        self.answer = answer

    def connection_made(self, transport):
        transport.sendto(self.wire)

    def datagram_received(self, data, addr):
        # Same id and the response bit; all else that comes is late or forged and not worth a word.
        if not self.answer.done() and len(data) >= 12 and data[:2] == self.wire[:2] and data[2] & 0x80:
            self.answer.set_result(data)

    def error_received(self, exc):
        if not self.answer.done():
            self.answer.set_exception(exc)


@dataclass(frozen=True)
class Settings:
    """How to ask. ``resolver`` and ``extra_servers`` are tuples of (address, port); see :func:`parse_server`.

    ``resolver``: the validating resolvers, tried in turn; empty: those of resolv.conf. ``extra_servers``: asked as
    authoritative servers besides those in NS RRsets (a hidden primary, an address behind anycast). ``ip_versions``:
    address families that this machine can reach. ``timeout``: seconds for one try; ``tries``: the last is over TCP.
    ``until``: when whoever asks stops waiting for the whole (``time.monotonic()``), see :meth:`within`.
    """

    resolver: Tuple[Tuple[str, int], ...] = ()
    ip_versions: Tuple[int, ...] = (4, 6)
    extra_servers: Tuple[Tuple[str, int], ...] = ()
    timeout: float = 2.0
    tries: int = 3
    parallel: int = 64
    clock: Callable[[], float] = time.time
    transport: object = Transport()
    until: Optional[float] = None

    def within(self, seconds, timeout):
        """The same settings for somebody in a hurry (:class:`Settings`).

        :param seconds: from now, for all that is asked with them. :param timeout: for one try, at most (seconds).
        """
        return replace(self, timeout=min(self.timeout, timeout), until=time.monotonic() + seconds)

    @classmethod
    def from_options(cls, params):
        """The settings that the options of the ``dns`` documentation fragment describe (dict of module parameters).

        :raises DnsError: a value is not what it should be. It may come from a file as well, where nobody checked it.
        """
        chosen = {
            "resolver": tuple(map(parse_server, _option(params, "resolver", list))),
            "extra_servers": tuple(map(parse_server, _option(params, "extra_servers", list))),
            "ip_versions": tuple(sorted({_ip_version(version) for version in _option(params, "ip_versions", list)})),
            "timeout": check_seconds("query_timeout", _option(params, "query_timeout", (int, float)) or cls.timeout),
        }
        return cls(**{name: value for name, value in chosen.items() if value})


def argument_spec():
    """The module options of the ``dns`` documentation fragment."""
    return {
        "resolver": {"type": "list", "elements": "str"},
        "extra_servers": {"type": "list", "elements": "str", "default": []},
        "ip_versions": {"type": "list", "elements": "int", "choices": [4, 6], "default": [4, 6]},
        "query_timeout": {"type": "float", "default": 2.0},
    }


def _option(params, name, kind):
    value = params.get(name)
    if value is None:
        return kind() if kind is list else None
    if isinstance(value, bool) or not isinstance(value, kind):
        raise DnsError(f"Cannot use {name}={value!r:.100}: expected a {'list' if kind is list else 'number of seconds'}")
    return value


def _ip_version(version):
    if isinstance(version, bool) or str(version) not in ("4", "6"):
        raise DnsError(f"Cannot use ip_versions={version!r:.100}: expected 4 or 6")
    return int(version)


def check_seconds(name, value):
    """A time to wait for an answer, as an option gives it (int or float): more than nothing, and at most a day.

    :raises DnsError: it is not.
    """
    # Not written as "value <= 0": comparisons with NaN are false.
    if not 0 < value <= 86400:
        raise DnsError(f"Cannot use {name}={value!r:.100}: expected a number of seconds, more than 0 and at most 86400")
    return float(value)


def parse_server(text):
    """Read ``ADDRESS`` or ``ADDRESS@PORT`` into (address, port), as in ``192.0.2.1`` and ``2001:db8::1@5353``.

    :raises DnsError: not an address (a name will not do: it would have to be resolved first), or not a port.
    """
    address, at, port = str(text).strip().partition("@")
    host, percent, link = address.partition("%")
    try:
        # One address, one way to write it: servers are told apart by it.
        host = ipaddress.ip_address(host)
        if percent and (host.version != 6 or not re.fullmatch(r"[A-Za-z0-9_.-]+", link)):
            raise ValueError("only an IPv6 address has an interface behind '%'")
        if at and not (re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
            raise ValueError("the port is not in 1..65535")
    except ValueError as exc:
        raise DnsError(
            f"Cannot use {text!r:.200} as a name server: {exc!s:.200}. Give ADDRESS or ADDRESS@PORT, such as 192.0.2.1 or "
            "2001:db8::1@5353", server=str(text)[:200]) from exc
    return f"{host}{percent}{link}", int(port) if at else DNS_PORT


def show_server(address, port):
    """The inverse of :func:`parse_server` (str)."""
    return address if port == DNS_PORT else f"{address}@{port}"


def canonical(name):
    """A domain name as it is written everywhere here: absolute, lower case, with the final dot (str).

    :raises DnsError: not a domain name.
    """
    return _text(_name(name))


def require_library():
    """Fail loudly when dnspython is not there or too old.

    :raises DnsError: with what to install, and for which Python.
    """
    if DNSPYTHON_PROBLEM:
        raise DnsError(
            f"Cannot ask the DNS with {sys.executable}: {DNSPYTHON_PROBLEM}. Install python3-dnspython or "
            "'pip install dnspython cryptography' for this Python, or name one that has them: "
            "ansible_python_interpreter, in the roles dane_dns_python")


# ------------------------------------------------------------------------------------------------------ what is found


class Told(NamedTuple):
    """What one server said about one name, before aliases are followed.

    ``records``: full records, or None where there is no version. ``alias``: the name that it points to instead.
    ``expires``: the end of the signatures (epoch), None in an unsigned zone. ``wildcard``: synthesised from one.
    """

    outcome: str
    at: float
    detail: str = ""
    serial: Optional[int] = None
    expires: Optional[int] = None
    records: Optional[frozenset] = None
    ttl: int = 0
    alias: Optional[str] = None
    wildcard: bool = False
    findings: Tuple[str, ...] = ()


class Server(NamedTuple):
    """One address of one authoritative server. No address: the name could not be resolved, ``problem`` says why.

    ``ttl``: how long caches may lead to it (seconds: the NS record's TTL and the address's). ``left``: nothing leads to
    it any more, but caches may.
    """

    name: str
    address: str
    port: int = DNS_PORT
    problem: str = ""
    ttl: int = 0
    left: bool = False

    def __str__(self):
        return f"{self.name or 'server'} ({show_server(self.address, self.port)})"


@dataclass(frozen=True)
class Look:
    """One look at one owner name at all its servers. :meth:`to_dict` is the form that passes between modules.

    ``servers``: dicts with ``name``, ``address``, ``outcome``, ``version``, ``serial``, ``rrsig_expires``,
    ``detail``, ``ttl`` and ``left`` as in :class:`Server`, and ``asked``, the name the server was asked for. Where that
    is not the owner name but one that an alias leads to, ``address`` has it in parentheses, so that a server of both
    keeps two entries.
    """

    owner: str
    zone: str
    security: str
    taken_at: float
    servers: Tuple[dict, ...] = ()
    findings: Tuple[str, ...] = ()
    ip_versions: Tuple[int, ...] = (4, 6)

    def to_dict(self):
        """The JSON form."""
        return {
            "owner": self.owner, "zone": self.zone, "security": self.security, "taken_at": self.taken_at,
            "servers": [dict(server) for server in self.servers], "findings": list(self.findings),
            "ip_versions": list(self.ip_versions),
        }


class Zone(NamedTuple):
    """The zone an owner name lies in, and whether the resolver vouches for it."""

    name: str
    security: str


class Addresses(NamedTuple):
    """The addresses of a host, what the resolver says of them, and the sum of TTLs along the path (seconds)."""

    name: str
    addresses: Tuple[str, ...]
    security: str
    ttl: int
    path: Tuple[str, ...] = ()


class MailHosts(NamedTuple):
    """Where mail for a domain goes: hosts by preference; ``implicit``: the domain has no MX and is its own host."""

    domain: str
    hosts: Tuple[str, ...]
    security: str
    ttl: int
    implicit: bool = False


# --------------------------------------------------------------------------------------------------------- entry points


def look(owner_names, settings=None, leaving=None):
    """Look at owner names at every authoritative server address.

    What belongs to the zone (cut, servers, keys) is asked once per call, however many names lie in it.

    :param owner_names: absolute names (iterable of str).
    :param settings: :class:`Settings`.
    :param leaving: owner name to servers (as ``address`` in :class:`Look`) to which nothing may lead any more, but caches:
        they are asked as well.
    :returns: dict of owner name to :class:`Look`. A name whose zone could not be found has no servers and a finding.
    :raises DnsError: no resolver answers, or signatures cannot be checked on this machine.
    """
    require_library()
    owners = sorted({canonical(owner) for owner in owner_names})

    async def work(session):
        for owner, servers in (leaving or {}).items():
            session.remember(canonical(owner), servers)
        looks = await asyncio.gather(*(session.look(owner) for owner in owners))
        return dict(zip(owners, looks))

    return _run(work, settings)


def find_zones(names, settings=None):
    """The zones in which records at these names live (dict of name to :class:`Zone`). Aliases are not followed.

    :raises DnsError: one of them cannot be found.
    """
    names = list(names)

    async def find(session, name):
        zone = await session.zone_of(_name(name))
        return Zone(_text(zone), (await session.dnskeys(zone)).security)

    async def work(session):
        return dict(zip(names, await asyncio.gather(*(find(session, name) for name in names))))

    return _run(work, settings)


def addresses(name, settings=None):
    """The :class:`Addresses` of a host, IPv4 and IPv6, through the resolver, aliases followed.

    :raises DnsError: there is no such host, it has no address, or the resolver could not say.
    """
    return _run(lambda session: session.addresses(_name(name)), settings)


def addresses_of(names, settings=None):
    """The addresses of many hosts at once: dict of name to :class:`Addresses`, or to the DnsError it has instead.

    :raises DnsError: no resolver answers.
    """
    names = list(names)

    async def find(session, name):
        try:
            return await session.addresses(_name(name))
        except DnsError as exc:
            if "resolver" in exc.fields:
                raise
            return exc

    async def work(session):
        return dict(zip(names, await asyncio.gather(*(find(session, name) for name in names))))

    return _run(work, settings)


def mail_hosts(domain, settings=None):
    """The :class:`MailHosts` of a domain (RFC 5321 section 5.1).

    :raises DnsError: the domain takes no mail (null MX, RFC 7505), does not exist, or the resolver could not say.
    """
    return _run(lambda session: session.mail_hosts(_name(domain)), settings)


def read_server(zone, owner, server, settings=None, keyring=None):
    """What one server serves at one owner name: for publishers, who must know it before they change it.

    The signature is not verified: a primary may add it later, and what is compared is what the server has.

    :param server: (address, port).
    :param keyring: a ``dns.tsig.Key`` to sign the question with, for servers that show each key its own view.
    :returns: :class:`Told`, from a server that has authority for the zone; anything else is in its outcome.
    :raises dns.tsig.PeerError: the server refused the key (as dnspython says it).
    """
    async def work(session):
        return await session.ask_server(
            _name(owner), _name(zone), Server("", *server), keys=None, keyring=keyring)

    return _run(work, settings)


def exchange(message, server, settings):
    """Send any message to one server over TCP, once, and return the answer.

    :param server: (address, port).
    :raises OSError, asyncio.TimeoutError: it did not get there, or nothing came back.
    """
    async def go():
        carry = settings.transport.exchange
        return parse_message(await carry(message.to_wire(), *server, True, settings.timeout), message)

    return asyncio.run(go())


def parse_message(wire, query):
    """Parse an answer, so that TLSA records with data of the wrong length survive.

    dnspython 2.9 and newer refuse such a record and with it the whole message. They are put back as generic records
    (RFC 3597), which also keeps the RRset complete for the check of its signature.

    :param query: the ``dns.message.Message`` that was sent.
    :returns: ``dns.message.Message``.
    :raises Exception: what dnspython raises for anything else that is malformed, and for a TSIG that does not verify.
    """
    message = dns.message.from_wire(
        wire, keyring=query.keyring, request_mac=query.mac if query.had_tsig else b"", continue_on_error=True)
    for section in message.sections[1:]:
        # What is of another class means something else, even where it looks alike (an A record of class CH).
        section[:] = [rrset for rrset in section if rrset.rdclass == dns.rdataclass.IN]
    unsigned = query.had_tsig and not message.had_tsig and not any(map(_is_tsig_error, _errors_of(message)))
    if unsigned and message.rcode() == dns.rcode.NOERROR:
        raise dns.tsig.BadSignature("the answer to a signed message is not signed")
    if not message.errors:
        return message
    found = _tlsa_on_wire(wire)
    malformed = sum(1 for rrset in found for rdata in rrset if _contradicts(rdata.data))
    # An unsigned refusal is what a server gives that knows no TSIG; newer dnspython counts it as one error.
    if len(message.errors) > malformed + bool(unsigned):
        raise max(_errors_of(message), key=_is_tsig_error)
    message.answer = [rrset for rrset in message.answer if rrset.rdtype != dns.rdatatype.TLSA] + found
    return message


# -------------------------------------------------------------------------------------------------------- one session


class _Unknown(Exception):
    """Something could not be found out through the resolver; the text says why."""

    def __init__(self, text, security=UNREACHABLE):
        super().__init__(text)
        self.security = security


class _Resolved(NamedTuple):
    """The resolver's answer: ``message`` is None when there was none."""

    security: str
    message: object = None
    detail: str = ""

    def rrset(self, name, rdtype):
        """The RRset at exactly this name, or None."""
        return _find(self.message.answer, name, rdtype) if self.message else None


class _Session:
    """One call's questions. Whatever is asked twice is asked once: results are kept as tasks, by question."""

    def __init__(self, settings):
        self.settings = settings
        self.resolvers = settings.resolver or _system_resolvers()
        self.slots = asyncio.Semaphore(settings.parallel)
        self.tasks = {}
        self.heard = False
        self.leaving = {}

    def once(self, key, make):
        if key not in self.tasks:
            self.tasks[key] = asyncio.ensure_future(make())
        return self.tasks[key]

    def remember(self, owner, servers):
        """Servers to be asked beside those that are led to: of the owner name, or of one that an alias led to."""
        for key in servers:
            address, _space, asked = key.partition(" (")
            with contextlib.suppress(DnsError):
                name = _name(asked.rstrip(")") or owner)
                self.leaving.setdefault(name, set()).add(parse_server(address))

    # ---- sending

    async def send(self, query, address, port, tries=None):
        """Ask one address until it answers; the last try is over TCP, as is every truncated answer's second part.

        :raises _Unknown: with what went wrong.
        """
        tries = tries or self.settings.tries
        problem = ""
        for attempt in range(tries):
            tcp = attempt > 0 and attempt == tries - 1
            try:
                return await self.exchange(query, address, port, tcp)
            except (asyncio.TimeoutError, TimeoutError):
                problem = f"timeout after {attempt + 1} tries" if attempt else "timeout"
            except (OSError, dns.exception.DNSException, ValueError) as exc:
                if _is_tsig_error(exc):
                    raise
                problem = reason(exc)
                if isinstance(exc, OSError):
                    # Nobody listens, or no route: asking again at once would find the same.
                    break
        raise _Unknown(problem)

    async def exchange(self, query, address, port, tcp):
        carry = self.settings.transport.exchange
        async with self.slots:
            message = parse_message(
                await carry(query.to_wire(), address, port, tcp, self.settings.timeout), query)
            if message.flags & dns.flags.TC and not tcp:
                try:
                    message = parse_message(
                        await carry(query.to_wire(), address, port, True, self.settings.timeout), query)
                except (OSError, asyncio.TimeoutError, TimeoutError) as exc:
                    raise OSError(f"the answer is too long for UDP, and over TCP: {reason(exc)}") from exc
        if not query.is_response(message):
            raise ValueError("the answer is to another question")
        return message

    # ---- the resolver

    def resolve(self, name, rdtype):
        """Ask the resolver (:class:`_Resolved`)."""
        return self.once(("resolve", name, rdtype), lambda: self._resolve(name, rdtype))

    async def _resolve(self, name, rdtype):
        message, detail = await self._ask_resolvers(name, rdtype, checking_disabled=False)
        if message is None:
            return _Resolved(UNREACHABLE, None, detail)
        if message.rcode() == dns.rcode.SERVFAIL:
            unchecked, _detail = await self._ask_resolvers(name, rdtype, checking_disabled=True)
            if unchecked is not None and unchecked.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                return _Resolved(BOGUS, unchecked, f"does not validate{_extended_error(message)}")
        if message.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return _Resolved(
                UNREACHABLE, None, f"the resolver says {dns.rcode.to_text(message.rcode())}{_extended_error(message)}")
        return _Resolved(SECURE if message.flags & dns.flags.AD else INSECURE, message)

    async def _ask_resolvers(self, name, rdtype, checking_disabled):
        flags = dns.flags.RD | dns.flags.AD | (dns.flags.CD if checking_disabled else 0)
        query = _query(name, rdtype, flags)
        problems = []
        for address, port in self.resolvers:
            try:
                message = await self.send(query, address, port)
                self.heard = True
                return message, ""
            except _Unknown as exc:
                problems.append(f"{show_server(address, port)}: {exc}")
        problem = "; ".join(problems)
        if not self.heard and not await self.once("alive", self._any_resolver_answers):
            raise DnsError(
                f"Cannot ask the resolver: {problem}. Name a validating resolver that this host reaches (option "
                "resolver, in the roles dane_resolvers)", resolver=problem)
        return None, f"the resolver gave no answer: {problem}"

    async def _any_resolver_answers(self):
        # No answer about one name may be that name's fault; the root's SOA every resolver that works can give.
        query = _query(dns.name.root, dns.rdatatype.SOA, dns.flags.RD)
        for address, port in self.resolvers:
            try:
                await self.send(query, address, port, tries=1)
                self.heard = True
            except _Unknown:
                continue
        return self.heard

    # ---- zones

    async def zone_of(self, name):
        """The zone that holds ``name`` (the nearest one up that has an SOA).

        :raises _Unknown: the resolver could not say.
        """
        candidate = name
        while True:
            answer = await self.resolve(candidate, dns.rdatatype.SOA)
            if answer.message is None:
                raise _Unknown(f"the zone of {_text(name)} is not known: {answer.detail}")
            if answer.rrset(candidate, dns.rdatatype.SOA):
                return candidate
            # Below an alias the SOA given is that of where it leads: only without one does it say something here.
            if not answer.message.answer:
                for rrset in answer.message.authority:
                    if rrset.rdtype == dns.rdatatype.SOA and candidate.is_subdomain(rrset.name):
                        return rrset.name
            if candidate == dns.name.root:
                raise _Unknown(f"the zone of {_text(name)} is not known: the resolver shows no SOA at all")
            candidate = candidate.parent()

    def dnskeys(self, zone):
        """The zone's keys, with the resolver's word on them (:class:`_Resolved`)."""
        return self.resolve(zone, dns.rdatatype.DNSKEY)

    def servers(self, zone):
        """The servers of a zone: (list of :class:`Server`, list of findings)."""
        return self.once(("servers", zone), lambda: self._servers(zone))

    async def _servers(self, zone):
        own, delegated = await asyncio.gather(self._own_servers(zone), self._delegation(zone))
        (own, own_ttl), (names, glue, findings, ttl) = own, delegated
        findings = list(findings)
        if own is None and not names:
            raise _Unknown(f"the servers of zone {_text(zone)} are not known: the resolver gives no NS RRset")
        if own is not None and names and own != names:
            findings.append(
                f"zone {_text(zone)}: the parent delegates to {_list(names)}, the zone itself names {_list(own)}")
        servers = set()
        for found in await asyncio.gather(
                *(self._server(name, glue, max(ttl, own_ttl)) for name in sorted((own or set()) | names))):
            servers.update(found)
            findings += [f"zone {_text(zone)}: {server.problem}" for server in found if server.problem]
        known = {(server.address, server.port) for server in servers}
        servers.update(Server("", address, port) for address, port in self.settings.extra_servers
                       if (address, port) not in known)
        return sorted(server for server in servers if server.address), findings

    async def _own_servers(self, zone):
        """The zone's own NS RRset: (set of names or None, TTL)."""
        answer = await self.resolve(zone, dns.rdatatype.NS)
        rrset = answer.rrset(zone, dns.rdatatype.NS)
        return ({rdata.target for rdata in rrset}, _whole_ttl(answer.message.answer, rrset)) if rrset else (None, 0)

    async def _server(self, name, glue, ttl=0):
        """All addresses of one server name (list of :class:`Server`): the resolver's, and the parent's glue."""
        answers = await asyncio.gather(*(self.resolve(name, rdtype) for rdtype in self._address_types()))
        found = {address for answer in answers for address in _addresses_in(answer.message)} | glue.get(name, set())
        if found:
            ttl += max((_path(answer.message, name)[0] for answer in answers if answer.message is not None), default=0)
            return [Server(_text(name), address, ttl=ttl) for address in sorted(found)]
        silent = [answer.detail for answer in answers if answer.message is None]
        if silent:
            # It may well have addresses that resolvers know: it counts, and it has not answered.
            return [Server(_text(name), _text(name), 0, f"server {_text(name)} cannot be resolved: {silent[0]}")]
        return [Server(_text(name), "", 0, f"server {_text(name)} has no address of "
                       + " or ".join(f"IPv{version}" for version in self.settings.ip_versions))]

    def _address_types(self):
        types = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}
        return [types[version] for version in self.settings.ip_versions]

    async def _delegation(self, zone):
        """What the parent's own servers say: (names of servers, glue, findings, TTL)."""
        if zone == dns.name.root:
            return set(), {}, [], 0
        try:
            parent = await self.zone_of(zone.parent())
            names, _ttl = await self._own_servers(parent)
        except _Unknown as exc:
            return set(), {}, [f"zone {_text(zone)}: the delegation could not be checked: {exc}"], 0
        found = await asyncio.gather(*(self._server(name, {}) for name in names or ()))
        targets = sorted({server for several in found for server in several if server.address and server.port})
        query = _query(zone, dns.rdatatype.NS, 0)
        tasks = [asyncio.ensure_future(self.send(query, server.address, server.port)) for server in targets]
        answers = await _those_that_answer(tasks, self.settings.timeout)
        delegated, glue, ttl = set(), {}, 0
        for message in answers:
            rrset = _find(message.authority, zone, dns.rdatatype.NS) or _find(message.answer, zone, dns.rdatatype.NS)
            if rrset:
                delegated.update(rdata.target for rdata in rrset)
                ttl = max(ttl, rrset.ttl)
            for additional in message.additional:
                if additional.rdtype in self._address_types():
                    glue.setdefault(additional.name, set()).update(rdata.address for rdata in additional)
        if not delegated:
            return set(), {}, [
                f"zone {_text(zone)}: no server of the parent zone {_text(parent)} gave its delegation; only servers "
                "that the zone itself names are looked at"], 0
        return delegated, glue, [], ttl

    # ---- authoritative servers

    def serial(self, zone, server):
        """Whether a server serves a zone at all: :class:`Told` with the SOA's serial."""
        return self.once(("serial", zone, server.address, server.port), lambda: self._serial(zone, server))

    async def _serial(self, zone, server, keyring=None):
        try:
            message = await self.send(_query(zone, dns.rdatatype.SOA, 0, keyring), server.address, server.port)
        except _Unknown as exc:
            return Told(SILENT, self.now(), str(exc))
        refusal = _refusal(message)
        if refusal:
            return Told(refusal[0], self.now(), refusal[1])
        soa = _find(message.answer, zone, dns.rdatatype.SOA)
        if soa is None:
            return Told(DOES_NOT_SERVE, self.now(), f"has authority, but no SOA of {_text(zone)}")
        return Told(VERSION, self.now(), serial=soa[0].serial, ttl=max(soa.ttl, soa[0].minimum))

    def tell(self, name, zone, server, keys):
        """What a server serves at a name (:class:`Told`)."""
        return self.once(
            ("tell", name, server.address, server.port), lambda: self.ask_server(name, zone, server, keys))

    async def ask_server(self, name, zone, server, keys, keyring=None):
        """What a server serves at a name, asked now. ``keys``: the zone's DNSKEY RRset, None: do not verify."""
        if not server.port:
            return Told(SILENT, self.now(), server.problem)
        # A server that is dead or lame says so once, not once per name.
        gate = await (self._serial(zone, server, keyring) if keyring else self.serial(zone, server))
        if gate.outcome != VERSION:
            return gate
        try:
            query = _query(name, dns.rdatatype.TLSA, 0, keyring)
            message = await self.send(query, server.address, server.port)
            refusal = _refusal(message)
            if refusal:
                return Told(SILENT, self.now(), f"{refusal[1]} for TLSA, though it serves the zone", gate.serial)
            return _read(message, name, zone, keys, self.now(), gate)
        except _Unknown as exc:
            return Told(SILENT, self.now(), str(exc), gate.serial)

    def now(self):
        return self.settings.clock()

    # ---- owner names

    async def look(self, owner):
        """One look at one owner name (:class:`Look`)."""
        name = _name(owner)
        answer = await self.resolve(name, dns.rdatatype.TLSA)
        try:
            graph = await self._walk(name)
        except _Unknown as exc:
            return Look(owner, "", exc.security if answer.security == SECURE else answer.security, self.now(),
                        (), (str(exc),))
        security, findings = await self._security(answer, graph)
        for node in graph.values():
            findings += node.findings
        entries = [entry for node in graph for entry in _entries(graph, name, node)]
        told = [one for node in graph.values() for one in node.told.values()]
        findings += _findings(graph, told)
        final, seen = graph[name], set()
        while final.alias in graph and final.name not in seen:
            seen.add(final.name)
            final = graph[final.alias]
        answered = [one.at for one in told if one.outcome != SILENT]
        return Look(owner, _text(final.zone), security, max(answered or [self.now()]), tuple(entries),
                    tuple(dict.fromkeys(findings)), self.settings.ip_versions)

    async def _walk(self, owner):
        """Every name on the path, with what each server of its zone said (dict of name to :class:`_Node`)."""
        graph, waiting = {}, [owner]
        while waiting and len(graph) < LONGEST_PATH:
            for node in await asyncio.gather(*(self._node(name) for name in waiting)):
                graph[node.name] = node
            waiting = sorted({target for node in graph.values() for target in node.aliases()} - set(graph))
        return graph

    async def _node(self, name):
        zone = await self.zone_of(name)
        keys, (servers, findings) = await asyncio.gather(self.dnskeys(zone), self.servers(zone))
        # Keys that do not validate can still tell which signature is broken; those of an unsigned zone prove nothing.
        rrset = keys.rrset(zone, dns.rdatatype.DNSKEY) if keys.security in (SECURE, BOGUS) else None
        if keys.security == SECURE and rrset is None:
            raise _Unknown(f"zone {_text(zone)} is secure, yet the resolver shows no DNSKEY of it")
        known = {(server.address, server.port) for server in servers}
        servers = servers + [
            Server("", *server, left=True) for server in sorted(self.leaving.get(name, set()) - known)]
        told = await asyncio.gather(*(self.tell(name, zone, server, rrset) for server in servers))
        return _Node(name, zone, keys.security, dict(zip(servers, told)), tuple(findings))

    async def _security(self, answer, graph):
        """The security of the whole path, and what to say about it: (str, list of findings)."""
        findings = [answer.detail] if answer.detail else []
        security = answer.security
        if security == INSECURE and not answer.message.answer and all(
                node.security == SECURE for node in graph.values()):
            # In a zone with NSEC3 opt-out the absence of a name is never proven, but the zone validates.
            security = SECURE
        if security == INSECURE:
            root = await self.resolve(dns.name.root, dns.rdatatype.SOA)
            unsigned = sorted({_text(node.zone) for node in graph.values() if node.security != SECURE})
            resolvers = _list(show_server(*resolver) for resolver in self.resolvers)
            findings.append(
                f"zone {_list(unsigned)} is not signed, or its parent has no DS for it" if root.security == SECURE
                else f"the resolver {resolvers} does not even vouch for the root zone: it does not validate, or the "
                     "AD bit is lost on the way. Name a validating resolver")
        return security, findings

    async def addresses(self, name):
        """The addresses of a host (:class:`Addresses`)."""
        answers = await asyncio.gather(
            *(self.resolve(name, rdtype) for rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA)))
        self._must_answer(f"find the addresses of {_text(name)!r}", answers)
        found = [(answer, sorted(_addresses_in(answer.message))) for answer in answers]
        if not any(several for _answer, several in found):
            gone = any(answer.message.rcode() == dns.rcode.NXDOMAIN for answer in answers)
            raise DnsError(
                f"Cannot find the addresses of {_text(name)!r}: "
                + ("there is no such host. Check the spelling, and that the zone has it" if gone
                   else "the name exists, but has neither A nor AAAA records"), host=_text(name))
        with_some = [answer for answer, several in found if several]
        ttl, path = max(_path(answer.message, name) for answer in with_some)
        return Addresses(
            _text(name), tuple(address for _answer, several in found for address in several),
            _worst(answer.security for answer in with_some), ttl, path)

    async def mail_hosts(self, domain):
        """Where mail for a domain goes (:class:`MailHosts`)."""
        answer = await self.resolve(domain, dns.rdatatype.MX)
        self._must_answer(f"find the mail hosts of {_text(domain)!r}", [answer])
        records = [rdata for rrset in answer.message.answer if rrset.rdtype == dns.rdatatype.MX for rdata in rrset]
        if any(rdata.exchange == dns.name.root for rdata in records):
            raise DnsError(
                f"Cannot find the mail hosts of {_text(domain)!r}: it takes no mail (null MX, RFC 7505)",
                domain=_text(domain))
        if answer.message.rcode() == dns.rcode.NXDOMAIN:
            raise DnsError(f"Cannot find the mail hosts of {_text(domain)!r}: there is no such domain",
                           domain=_text(domain))
        ttl, _names = _path(answer.message, domain)
        if not records:
            return MailHosts(_text(domain), (_text(domain),), answer.security, ttl, implicit=True)
        ordered = sorted({(rdata.preference, _text(rdata.exchange)) for rdata in records})
        hosts = tuple(dict.fromkeys(host for _preference, host in ordered))
        return MailHosts(_text(domain), hosts, answer.security, ttl)

    @staticmethod
    def _must_answer(what, answers):
        for answer in answers:
            if answer.message is None:
                raise DnsError(f"Cannot {what}: {answer.detail}", security=answer.security)


class _Node(NamedTuple):
    """One name on a path: its zone, the zone's security, and what each server said (dict of Server to Told)."""

    name: object
    zone: object
    security: str
    told: dict
    findings: tuple

    def aliases(self):
        """The names that servers point to instead (set)."""
        return {_name(told.alias) for told in self.told.values() if told.alias}

    @property
    def alias(self):
        """The one of them to show, or None."""
        return min(self.aliases(), default=None)


# ------------------------------------------------------------------------------------------- reading a server's answer


class _Bogus(Exception):
    """A signature is missing or does not verify, or the answer makes no sense; the text says which."""


def _refusal(message):
    """Why an answer is not one with authority: (outcome, text), or None."""
    rcode = message.rcode()
    if rcode in (dns.rcode.REFUSED, dns.rcode.NOTAUTH):
        return DOES_NOT_SERVE, dns.rcode.to_text(rcode)
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return SILENT, dns.rcode.to_text(rcode)
    if not message.flags & dns.flags.AA:
        referral = not message.answer and any(rrset.rdtype == dns.rdatatype.NS for rrset in message.authority)
        return DOES_NOT_SERVE, "refers to other servers" if referral else "answers without authority (AA)"
    return None


def _read(message, name, zone, keys, now, gate):
    """One server's answer to a TLSA question, as :class:`Told`. Only what stands at ``name`` itself is read.

    ``gate``: what the same server said about the zone's SOA.
    """
    serial = gate.serial
    tlsa = _find(message.answer, name, dns.rdatatype.TLSA)
    try:
        if tlsa is not None:
            expires, wildcard = _verify(message.answer, tlsa, zone, keys, now)
            records, findings = _records(tlsa)
            ttl = tlsa.ttl + (_absence_ttl(message, gate) if wildcard else 0)
            return Told(VERSION, now, "", serial, expires, records, ttl, wildcard=wildcard, findings=findings)
        target, ttl, expires = _alias(message, name, zone, keys, now, gate)
        if target is not None:
            return Told(VERSION, now, f"alias of {_text(target)}", serial, expires, ttl=ttl, alias=_text(target))
        return _read_absence(message, zone, keys, now, gate)
    except _Bogus as exc:
        return Told(SILENT, now, str(exc), serial)


def _alias(message, name, zone, keys, now, gate):
    """A CNAME at the name, or a DNAME above it: (target or None, TTL, end of the signature)."""
    answer = message.answer
    cname = _find(answer, name, dns.rdatatype.CNAME)
    for rrset in answer:
        if rrset.rdtype == dns.rdatatype.DNAME and name.is_subdomain(rrset.name) and name != rrset.name:
            expires, _wildcard = _verify(answer, rrset, zone, keys, now)
            # The CNAME beside it is made up on the fly and not signed (RFC 6672 section 5.3.1).
            try:
                target = name.relativize(rrset.name).concatenate(rrset[0].target)
            except dns.name.NameTooLong:
                raise _Bogus(f"the DNAME of {_text(rrset.name)} leads to a name that is too long") from None
            return target, max(rrset.ttl, cname.ttl if cname is not None else 0), expires
    if cname is None:
        return None, 0, None
    expires, wildcard = _verify(answer, cname, zone, keys, now)
    return cname[0].target, cname.ttl + (_absence_ttl(message, gate) if wildcard else 0), expires


def _absence_ttl(message, gate):
    """How long caches may hold that a name itself has nothing (seconds), and make up what the wildcard gives for it from
    others' lookups, even after something was published there (RFC 2308 section 5, RFC 8198 section 5.3, RFC 9077)."""
    found = [gate.ttl]
    for rrset in message.authority:
        if rrset.rdtype == dns.rdatatype.SOA:
            found += [rrset.ttl, rrset[0].minimum]
        elif rrset.rdtype in (dns.rdatatype.NSEC, dns.rdatatype.NSEC3):
            found.append(rrset.ttl)
    return max(found)


def _read_absence(message, zone, keys, now, gate):
    serial = gate.serial
    soa = next((rrset for rrset in message.authority if rrset.rdtype == dns.rdatatype.SOA), None)
    if soa is None or soa.name != zone:
        instead = "" if soa is None else f", but with that of {_text(soa.name)}"
        return Told(SILENT, now, f"an empty answer without the SOA of {_text(zone)}{instead}", serial)
    proofs = [rrset for rrset in message.authority if rrset.rdtype in (dns.rdatatype.NSEC, dns.rdatatype.NSEC3)]
    if keys is not None and not proofs:
        raise _Bogus("says that there are no records, without NSEC or NSEC3 to prove it")
    ends = [_verify(message.authority, rrset, zone, keys, now)[0] for rrset in [soa] + proofs]
    detail = "no such name" if message.rcode() == dns.rcode.NXDOMAIN else "no TLSA records"
    return Told(VERSION, now, detail, serial, min(filter(None, ends), default=None), frozenset(),
                _absence_ttl(message, gate))


def _verify(section, rrset, zone, keys, now):
    """Check the signatures of an RRset: (end of the last of them that verifies, whether it is from a wildcard).

    :raises _Bogus: none verifies. Without keys nothing is checked, and the end is None.
    """
    signatures = next((found for found in section if found.rdtype == dns.rdatatype.RRSIG
                       and found.name == rrset.name and found.covers == rrset.rdtype), None) or ()
    signatures = [signature for signature in signatures if signature.signer == zone]
    wildcard = any(signature.labels < len(rrset.name) - 1 for signature in signatures) and not rrset.name.is_wild()
    if keys is None:
        return None, wildcard
    what = dns.rdatatype.to_text(rrset.rdtype)
    if not signatures:
        raise _Bogus(f"the {what} RRset has no signature (RRSIG), but the zone is signed")
    ends, problems = [], []
    for signature in signatures:
        try:
            dns.dnssec.validate_rrsig(rrset, signature, {zone: keys}, None, now)
            ends.append(signature.expiration)
        except ImportError as exc:
            raise DnsError(
                f"Cannot verify DNSSEC signatures with {sys.executable}: {exc}. dnspython {dns.version.version} needs "
                "the Python library cryptography, and newer dnspython a newer one (2.6: 41, 2.7: 43, 2.8: 45): "
                "install or upgrade it") from exc
        except dns.exception.DNSException as exc:
            problems.append(f"by key {signature.key_tag}: {reason(exc)}")
    if not ends:
        raise _Bogus(f"no signature of the {what} RRset verifies: {'; '.join(problems)}")
    return max(ends), wildcard


def _records(rrset):
    """The records of an RRset, and a finding for each one that is not even one: (frozenset of Record, tuple)."""
    records, findings = set(), []
    for rdata in rrset:
        data = rdata.to_generic().data
        if len(data) < 4:
            findings.append(f"{_text(rrset.name)}: malformed TLSA record: \\# {len(data)} {data.hex()}")
            continue
        record = Record(data[0], data[1], data[2], data[3:].hex())
        records.add(record)
        if _contradicts(data):
            findings.append(
                f"{_text(rrset.name)}: malformed TLSA record {record}: matching type {record.mtype} does not have "
                f"{len(data) - 3} bytes")
    return frozenset(records), tuple(findings)


_DIGEST_BYTES = {1: 32, 2: 64}


def _contradicts(data):
    """Whether TLSA rdata (bytes) is what dnspython 2.9 refuses: no data at all, or not as long as its type says."""
    return len(data) < 4 or len(data) - 3 != _DIGEST_BYTES.get(data[2], len(data) - 3)


def _tlsa_on_wire(wire):
    """The TLSA RRsets of the answer section, as generic rdata, read without dnspython's own idea of TLSA."""
    parser = dns.wire.Parser(wire)
    counts = parser.get_struct("!HHHHHH")
    for _question in range(counts[2]):
        _name_on_wire(parser)
        parser.get_struct("!HH")
    found = {}
    for _record in range(counts[3]):
        name = _name_on_wire(parser)
        rdtype, rdclass, ttl, size = parser.get_struct("!HHIH")
        data = parser.get_bytes(size)
        if rdtype == dns.rdatatype.TLSA and rdclass == dns.rdataclass.IN:
            rrset = found.setdefault(name, dns.rrset.RRset(name, dns.rdataclass.IN, dns.rdatatype.TLSA))
            rrset.add(dns.rdata.GenericRdata(dns.rdataclass.IN, dns.rdatatype.TLSA, data), ttl)
    return list(found.values())


def _name_on_wire(parser):
    # Parser.get_name() follows compression pointers by default in some versions of dnspython, and not in others.
    name, used = dns.name.from_wire(parser.wire, parser.current)
    parser.seek(parser.current + used)
    return name


# ---------------------------------------------------------------------------------------- from answers to versions


def _entries(graph, owner, name):
    """The ``servers`` entries of one name on the path (list of dict)."""
    node = graph[name]
    above, names = _longest_way(graph, owner, name)
    entries = []
    for server in sorted(node.told):
        told = node.told[server]
        end = _follow(graph, name, server)
        version = None
        if end.outcome == VERSION:
            version = {
                "records": sorted(str(record.brief()) for record in end.records),
                "ttl": above + end.ttl,
                "path": [_text(step) for step in names] + list(end.path),
            }
        address = show_server(server.address, server.port or DNS_PORT)
        entries.append({
            "name": server.name, "address": address if name == owner else f"{address} ({_text(name)})",
            "asked": _text(name), "outcome": end.outcome, "version": version, "serial": told.serial,
            "rrsig_expires": end.expires, "detail": end.detail, "ttl": server.ttl, "left": server.left,
        })
    return entries


class _End(NamedTuple):
    """Where a server's answer leads: as :class:`Told`, aliases followed."""

    outcome: str
    detail: str
    expires: Optional[int] = None
    records: frozenset = frozenset()
    ttl: int = 0
    path: Tuple[str, ...] = ()


def _follow(graph, name, server, seen=()):
    told = graph[name].told[server]
    here = (_text(name),)
    if told.outcome != VERSION:
        return _End(told.outcome, told.detail)
    if told.alias is None:
        return _End(VERSION, told.detail, told.expires, told.records, told.ttl, here)
    target = _name(told.alias)
    if target in seen + (name,) or target not in graph:
        return _End(SILENT, f"{told.detail}: the path is a loop or longer than {LONGEST_PATH} names")
    ends = {other: _follow(graph, target, other, seen + (name,)) for other in sorted(graph[target].told)}
    # The same server's own view first; else any, as each is also reported on its own.
    ordered = sorted(ends, key=lambda other: (ends[other].outcome != VERSION, other.address != server.address))
    if not ordered or ends[ordered[0]].outcome != VERSION:
        return _End(SILENT, f"{told.detail}, which no server answers for")
    end = ends[ordered[0]]
    expires = min(filter(None, (told.expires, end.expires)), default=None)
    return _End(VERSION, told.detail, expires, end.records, told.ttl + end.ttl, here + end.path)


def _longest_way(graph, owner, name, seen=()):
    """The longest sum of TTLs by which the owner name leads to ``name``: (seconds, names before it)."""
    if name == owner:
        return 0, ()
    ways = []
    for before, node in graph.items():
        ttls = [told.ttl for told in node.told.values() if told.alias and _name(told.alias) == name]
        if ttls and before not in seen:
            above, names = _longest_way(graph, owner, before, seen + (name,))
            if before == owner or names:
                ways.append((above + max(ttls), names + (before,)))
    return max(ways, default=(0, ()))


def _findings(graph, told):
    findings = [text for one in told for text in one.findings]
    for node in graph.values():
        serials = {one.serial for one in node.told.values() if one.serial is not None}
        if len(serials) > 1:
            findings.append(f"zone {_text(node.zone)}: servers differ, serials {_list(map(str, serials))}")
        for server, one in sorted(node.told.items()):
            if one.outcome != VERSION:
                what = "does not serve" if one.outcome == DOES_NOT_SERVE else "gives no usable answer for"
                findings.append(f"{server} {what} {_text(node.zone)}: {one.detail}")
    return findings


# -------------------------------------------------------------------------------------------------------------- tools


def _run(work, settings):
    require_library()
    settings = settings or Settings()

    async def go():
        session = _Session(settings)
        try:
            return await _by(settings.until, work(session))
        finally:
            for task in session.tasks.values():
                task.cancel()
            await asyncio.gather(*session.tasks.values(), return_exceptions=True)

    try:
        return asyncio.run(go())
    except _Unknown as exc:
        raise DnsError(f"Cannot ask the DNS: {exc}", security=exc.security) from exc


async def _by(until, work):
    if until is None:
        return await work
    try:
        return await asyncio.wait_for(work, max(0.0, until - time.monotonic()))
    except (asyncio.TimeoutError, TimeoutError) as exc:
        raise DnsError("Cannot ask the DNS: the time for it was over before every resolver and server had answered; ask with "
                       "more time to see which of them is silent") from exc


async def _those_that_answer(tasks, patience):
    """The results of the tasks that succeed; once there is one, the others get ``patience`` seconds."""
    results = []
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(
            pending, timeout=patience if results else None, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
        for task in done:
            error = task.exception()
            if error is None:
                results.append(task.result())
            elif not isinstance(error, _Unknown):
                raise error
    for task in pending:
        task.cancel()
    return results


def _query(name, rdtype, flags, keyring=None):
    query = dns.message.make_query(name, rdtype, want_dnssec=True, payload=EDNS_SIZE)
    query.flags = flags
    if keyring is not None:
        query.use_tsig(keyring)
    return query


def _system_resolvers():
    try:
        configured = dns.resolver.Resolver().nameservers
    except dns.exception.DNSException as exc:
        raise DnsError(
            f"Cannot find the system's resolver: {reason(exc)}. Name a validating resolver (option resolver, in the "
            "roles dane_resolvers)") from exc
    return tuple((str(server), DNS_PORT) for server in configured)


def _find(section, name, rdtype):
    return next((rrset for rrset in section if rrset.name == name and rrset.rdtype == rdtype), None)


def _addresses_in(message):
    """Every A and AAAA in the answer section (set of str): the resolver has followed the aliases."""
    if message is None:
        return set()
    return {rdata.address for rrset in message.answer
            if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA) for rdata in rrset}


def _path(message, name):
    """The sum of the TTLs along the path in a resolver's answer, and its names: (seconds, tuple of str).

    A resolver's TTLs count down; where there is a signature, it says what the zone does (RFC 4034 section 3.1.4).
    """
    ttl, names = 0, [_text(name)]
    while True:
        alias = _find(message.answer, name, dns.rdatatype.CNAME)
        if alias is None or len(names) > LONGEST_PATH:
            break
        ttl += _whole_ttl(message.answer, alias)
        name = alias[0].target
        names.append(_text(name))
    rest = [_whole_ttl(message.answer, rrset) for rrset in message.answer if rrset.name == name and rrset.rdtype not in (
        dns.rdatatype.RRSIG, dns.rdatatype.CNAME)]
    return ttl + max(rest, default=0), tuple(names)


def _whole_ttl(section, rrset):
    return max([rrset.ttl] + [
        signature.original_ttl for found in section for signature in found
        if found.rdtype == dns.rdatatype.RRSIG and found.name == rrset.name and found.covers == rrset.rdtype])


def _worst(securities):
    return max(securities, key=(SECURE, INSECURE, BOGUS, UNREACHABLE).index, default=UNREACHABLE)


def _extended_error(message):
    """What the resolver adds to a failure (RFC 8914), as `` (text)`` or nothing."""
    texts = []
    for option in message.options:
        if int(option.otype) == 15:
            data = option.to_wire() or b""
            text = data[2:].decode("utf-8", "replace")
            texts.append(f"extended error {int.from_bytes(data[:2], 'big')} {text}".strip())
    return f" ({'; '.join(texts)})" if texts else ""


def reason(exc):
    """The cause of an exception of the network or of dnspython, in words (str)."""
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused: nothing listens there"
    if isinstance(exc, (asyncio.TimeoutError, TimeoutError)):
        return "timeout"
    if isinstance(exc, socket.gaierror):
        return f"not an address that this host can use: {exc.strerror}"
    if isinstance(exc, OSError) and exc.strerror:
        return f"{exc.strerror}{' (ip_versions leaves an address family out)' if exc.errno == 101 else ''}"
    return str(exc) or type(exc).__name__


def _errors_of(message):
    return [error.exception for error in message.errors]


def _is_tsig_error(exc):
    return isinstance(exc, (
        dns.tsig.PeerError, dns.tsig.BadTime, dns.tsig.BadSignature, dns.tsig.BadKey, dns.tsig.BadAlgorithm,
        dns.message.UnknownTSIGKey))


def _name(text):
    if isinstance(text, dns.name.Name):
        return text
    try:
        if not isinstance(text, str) or not text:
            raise ValueError("expected a text such as mx1.example.org")
        return dns.name.from_text(text)
    except (dns.exception.DNSException, ValueError) as exc:
        raise DnsError(f"Cannot ask the DNS about {text!r:.300}: not a domain name: {exc!s:.200}") from exc


def _text(name):
    return name.to_text().lower()


def _list(items):
    return ", ".join(sorted(_text(item) if not isinstance(item, str) else item for item in items)) or "none"
