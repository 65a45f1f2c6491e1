#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tlsa_facts
short_description: Look at TLSA records and at what mail servers present, and say whether they match
version_added: 0.1.0
description:
  - For services, or for mail domains through their MX records, shows the TLSA RRset at every address of every
    authoritative server and at the validating resolver, the chain that every address presents over STARTTLS for each
    key algorithm, and the verdict for each endpoint with its reasons.
  - There are four outcomes, which are never mixed up. V(matched) means that a DANE sender authenticates the server;
    V(no records) that there is no DANE; V(insecure) that DNSSEC does not vouch for what is there, so that senders
    ignore it; V(no match) that senders refuse the server.
  - Where nothing could be compared, the verdict says so as well. V(unreachable) means that nobody answered;
    V(no TLS) that there are records but the server refuses TLS; V(bogus) that the DNS answer does not validate.
  - A sender may get its answer from any server, so a verdict is the worst over all versions of the RRset seen anywhere.
    A secondary that fell back to an old zone is named with its address and SOA serial.
  - It is for ad hoc use, for audits and for your own playbooks. The roles of this collection do not read these facts.
author:
  - The mailops.dane authors (@mailops)
requirements:
  - dnspython >= 2.2 and cryptography >= 3.3 where the task runs
  - the C(openssl) program where the task runs, for handshakes
attributes:
  check_mode:
    support: full
    description: It changes nothing.
  diff_mode:
    support: none
    description: It changes nothing.
  facts:
    support: full
    description: The only result is the fact RV(ansible_facts.tlsa).
  platform:
    support: full
    description: Where dnspython is, and whence port 25 can be reached.
    platforms: posix
extends_documentation_fragment:
  - mailops.dane.dns
options:
  services:
    description: The services to look at.
    type: list
    elements: dict
    suboptions:
      host:
        description: The host name, such as V(mx1.example.org).
        type: str
        required: true
      port:
        description: The TCP port.
        type: int
        default: 25
      starttls:
        description: How TLS begins; V(none) is TLS from the first byte.
        type: str
        default: smtp
        choices: [smtp, imap, pop3, sieve, lmtp, none]
  domains:
    description:
      - Mail domains. Every host that an MX record names is looked at, on port 25; a domain without MX records is its
        own host.
    type: list
    elements: str
  gather:
    description:
      - What to look at, V(dns), V(endpoints) or both. With only one of them nothing can be compared, and the verdict is
        V(null) where that one does not decide it alone.
      - Addresses are always looked up.
    type: list
    elements: str
    default: [dns, endpoints]
    choices: [dns, endpoints]
  algorithms:
    description: The key algorithms for which to ask each endpoint.
    type: list
    elements: str
    default: [ecdsa, rsa]
    choices: [ecdsa, rsa, ed25519, ed448]
  handshakes:
    description: How many handshakes with each endpoint. More than one finds backends that differ behind one address.
    type: int
    default: 1
  timeout:
    description: How long one handshake may take, in seconds.
    type: int
    default: 10
  valid_days:
    description:
      - Judge as of this many days from now. Chains under a usage 2 record have to be valid until then; the records and
        servers are those of today.
    type: int
    default: 0
  chain_file:
    description:
      - A PEM file with a chain, and possibly its private key, on the host where the task runs. It is judged against
        the records as if it were presented, and compared with what is presented.
      - Only digests of it are returned.
    type: path
  key_file:
    description: The private key of O(chain_file), where it has a file of its own.
    type: path
seealso:
  - module: mailops.dane.tlsa_wait
  - module: mailops.dane.dane_ledger
"""

EXAMPLES = r"""
- name: Look at everything about a mail domain
  mailops.dane.tlsa_facts:
    domains: [example.org]
  delegate_to: localhost

- name: Show it
  ansible.builtin.debug:
    var: ansible_facts.tlsa.report

- name: Look at two services, as they would be seen in a fortnight
  mailops.dane.tlsa_facts:
    services:
      - host: mx1.example.org
      - host: imap.example.org
        port: 993
        starttls: none
    valid_days: 14
    resolver: [192.0.2.53]

- name: Fail when a sender would refuse one of them
  ansible.builtin.assert:
    that: ansible_facts.tlsa.endpoints | selectattr('verdict', 'equalto', 'no match') | length == 0

- name: Ask whether a new chain would do
  mailops.dane.tlsa_facts:
    services:
      - host: mx1.example.org
    gather: [dns]
    chain_file: /etc/letsencrypt/live/mx1.example.org/fullchain.pem
"""

RETURN = r"""
ansible_facts:
  description: The only result.
  returned: success
  type: dict
  contains:
    tlsa:
      description: What was seen, and what it means.
      type: dict
      contains:
        seen_at:
          description: When the look began, in seconds since the epoch. Each view has its own RV(ignore:seen_at).
          type: float
        valid_at:
          description: The time as of which chains are judged.
          type: float
        verdict:
          description: The worst of all verdicts.
          type: str
          sample: matched
        examined:
          description: How many addresses of services gave any answer.
          type: int
        domains:
          description:
            - For each mail domain its RV(ignore:hosts), the RV(ignore:security) of its MX records, RV(ignore:verdict)
              and RV(ignore:reasons).
          type: list
          elements: dict
        services:
          description: Each service.
          type: list
          elements: dict
          contains:
            host:
              description: The host as asked for, or as the MX record names it.
              type: str
            port:
              description: The TCP port.
              type: int
            starttls:
              description: How TLS begins.
              type: str
            name:
              description: The base domain. Where the host is an alias, that is where it leads if records are there.
              type: str
            owner:
              description: The owner name of the TLSA records.
              type: str
            addresses:
              description: The addresses.
              type: list
              elements: str
            aliases:
              description: The names that the host is an alias of.
              type: list
              elements: str
            address_security:
              description: Whether DNSSEC vouches for the addresses.
              type: str
            security:
              description: Whether DNSSEC vouches for the records; V(secure), V(insecure), V(bogus) or V(unreachable).
              type: str
            dns:
              description:
                - What every authoritative server address said, with RV(ignore:outcome), RV(ignore:version) (records,
                  sum of TTLs, path), RV(ignore:serial) (of the SOA), RV(ignore:rrsig_expires) and RV(ignore:detail).
                - Only answers with authority (AA) count as a version.
                - The data of a record of matching type 0 is replaced by its SHA-256.
              type: dict
            resolver:
              description:
                - What the resolver said, with RV(ignore:authentic) (the AD bit), RV(ignore:rcode), RV(ignore:records)
                  and RV(ignore:ttl).
              type: dict
            verdict:
              description: The worst verdict of its endpoints, or what the DNS alone decides.
              type: str
            reasons:
              description: What the DNS alone decides, each with RV(ignore:code) and RV(ignore:text).
              type: list
              elements: dict
        endpoints:
          description: Each address of each service, once for each key algorithm.
          type: list
          elements: dict
          contains:
            host:
              description: The host as asked for.
              type: str
            name:
              description: The base domain.
              type: str
            owner:
              description: The owner name of the TLSA records.
              type: str
            address:
              description: The address.
              type: str
            port:
              description: The TCP port.
              type: int
            starttls:
              description: How TLS begins.
              type: str
            algorithm:
              description: The key algorithm asked for.
              type: str
            sni:
              description: The server name asked for, the base domain.
              type: str
            outcome:
              description: V(chain), V(no-chain-for-algorithm), V(no-tls) or V(silent).
              type: str
            verdict:
              description:
                - V(matched), V(no records), V(insecure), V(no match), V(unreachable), V(no TLS) or V(bogus).
                - V(null) where the endpoint has no chain for this algorithm, or only one side was gathered.
              type: str
            reasons:
              description:
                - Why, each with RV(ignore:code) and RV(ignore:text), and where a server is to blame
                  RV(ignore:servers) (name, address, SOA serial) and RV(ignore:records).
              type: list
              elements: dict
            matched:
              description: The parameter combinations in which every version seen matches.
              type: list
              elements: str
            unmatched:
              description: The parameter combinations in which some version seen does not match.
              type: list
              elements: str
            chain:
              description: What was presented, in digests, with names and dates; or V(null).
              type: dict
            detail:
              description: What the handshake said.
              type: str
            seen_at:
              description: When.
              type: float
        file:
          description:
            - The chain in O(chain_file), with its RV(ignore:verdict), and in RV(ignore:key) whether the private key is
              its own (V(matches), V(differs), V(absent)); or V(null).
          type: dict
        findings:
          description:
            - What works today and bites later, or bites already. Each has RV(ignore:code), RV(ignore:level) (V(error),
              V(warning), V(note)), RV(ignore:text), RV(ignore:owner), RV(ignore:host), and fields of its own.
            - Codes are V(server-fell-back), V(server-behind), V(server-behind-unharmed), V(servers-differ),
              V(server-silent), V(server-lame), V(resolver-behind), V(rrsig-expiring), V(ttl-long),
              V(record-unusable), V(digest-of-nothing), V(record-advice), V(record-unmatched),
              V(combination-unmatched), V(algorithm-uncovered), V(certificate-expires), V(file-key-differs),
              V(file-not-presented), and V(dns) for what else the look found.
          type: list
          elements: dict
        report:
          description: All of it for a person, a line each. Brief where all is well.
          type: list
          elements: str
          sample:
            - "example.org: matched"
            - "  mx1.example.org:25: matched; secure, 4 of 4 server addresses answered"
            - "    192.0.2.25:25 ecdsa 4f5e1a2b3c4d5e6f: matched by 3 1 1"
"""

import time
from concurrent.futures import ThreadPoolExecutor

try:
    import dns.flags
    import dns.message
    import dns.rcode
    import dns.rdatatype
    import dns.resolver
except ImportError:
    # _dns.require_library() says so.
    pass

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _dns, _facts, _options, _probe
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError, DaneError, DnsError
from ansible_collections.mailops.dane.plugins.module_utils._tlsa import Record

WORKERS = 16


class World:
    """The real one, as ``_facts.observe`` wants it."""

    def __init__(self, params):
        self.params = params
        self.settings = _dns.Settings.from_options(params)
        self.now = time.time

    def mail_hosts(self, domain):
        return self._unless_blind(_dns.mail_hosts, domain)

    def addresses(self, hosts):
        def one(host):
            try:
                return self._unless_blind(_dns.addresses, host)
            except DnsError as exc:
                return exc

        return dict(zip(hosts, _parallel(one, hosts)))

    def _unless_blind(self, ask, name):
        try:
            return ask(name, self.settings)
        except DnsError as exc:
            # No resolver answers at all: that is nobody's verdict.
            if "resolver" in exc.fields:
                raise Blind(exc.message, **exc.fields) from exc
            raise

    def look(self, owners):
        return {owner: look.to_dict() for owner, look in _dns.look(owners, self.settings).items()}

    def resolve(self, owners):
        return dict(zip(owners, _parallel(self._resolve, owners)))

    def _resolve(self, owner):
        """What the first resolver that answers says about one owner name, as it would to a sender."""
        query = dns.message.make_query(owner, dns.rdatatype.TLSA, want_dnssec=True)
        query.flags |= dns.flags.AD
        problems = []
        for server in self.settings.resolver or [(str(one), 53) for one in dns.resolver.Resolver().nameservers]:
            view = {"resolver": _dns.show_server(*server), "rcode": None, "authentic": False, "records": None,
                    "ttl": None, "detail": ""}
            try:
                answer = _dns.exchange(query, server, self.settings)
            except Exception as exc:  # whatever the network or a malformed answer comes to: this view is then empty
                problems.append(f"{view['resolver']}: {_dns.reason(exc)}")
                continue
            return {**view, **_read(answer), "seen_at": self.now()}
        return {**view, "detail": "; ".join(problems), "seen_at": self.now()}

    def shake(self, targets, valid_at):
        endpoints = [endpoint for service, addresses in targets for endpoint in _probe.endpoints_of(
            service.host, addresses, [service._asdict()], self.params["algorithms"], snis=[service.host])]
        return _probe.look(endpoints, self.params["timeout"], self.params["handshakes"], valid_at=valid_at)

    def file(self, names, valid_at):
        path, key_path = self.params["chain_file"], self.params["key_file"]
        bundle = _chain.load_pem(_content(path), path)
        if not bundle.certificates:
            raise ChainError(f"Cannot read {path!r}: found no certificate in it; name a file with the chain")
        spki = bundle.key.spki if bundle.key else None
        if key_path:
            spki = _chain.public_key_of(_content(key_path), key_path)
        key = "absent" if spki is None else "matches" if spki == bundle.certificates[0].spki else "differs"
        chain = _chain.describe(list(bundle.certificates), names, valid_at, now=self.now())
        return {"path": path, "chain": chain, "key": key, "seen_at": self.now()}


class Blind(DaneError):
    """Nothing can be seen from here."""


def _parallel(function, things):
    if not things:
        return []
    with ThreadPoolExecutor(max_workers=min(WORKERS, len(things))) as pool:
        return list(pool.map(function, things))


def _read(answer):
    view = {"rcode": dns.rcode.to_text(answer.rcode()), "authentic": bool(answer.flags & dns.flags.AD)}
    if answer.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return view
    path = [rrset for rrset in answer.answer if rrset.rdtype in (dns.rdatatype.TLSA, dns.rdatatype.CNAME)]
    found = [rdata.to_generic().data for rrset in path if rrset.rdtype == dns.rdatatype.TLSA for rdata in rrset]
    records = [Record(data[0], data[1], data[2], data[3:].hex()).brief() for data in found if len(data) > 3]
    # A resolver's TTL counts down: from now on it keeps the answer so long.
    return {**view, "records": sorted(map(str, records)), "ttl": sum(rrset.ttl for rrset in path)}


def _content(path):
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError as exc:
        raise ChainError(f"Cannot read {path!r}: {exc.strerror}. It is read on the host where the task runs") from exc


def main():
    starttls = _options.SERVICES["options"]["starttls"]
    module = AnsibleModule(
        argument_spec={
            **_dns.argument_spec(),
            "services": {"type": "list", "elements": "dict", "options": {
                "host": {"type": "str", "required": True},
                "port": {"type": "int", "default": 25},
                "starttls": starttls,
            }},
            "domains": {"type": "list", "elements": "str"},
            "gather": {"type": "list", "elements": "str", "default": ["dns", "endpoints"],
                       "choices": ["dns", "endpoints"]},
            "algorithms": {"type": "list", "elements": "str", "default": ["ecdsa", "rsa"],
                           "choices": ["ecdsa", "rsa", "ed25519", "ed448"]},
            "handshakes": {"type": "int", "default": 1},
            "timeout": {"type": "int", "default": 10},
            "valid_days": {"type": "int", "default": 0},
            "chain_file": {"type": "path"},
            # A path, not a secret.
            "key_file": {"type": "path", "no_log": False},
        },
        required_one_of=[["services", "domains"]],
        required_by={"key_file": ["chain_file"]},
        supports_check_mode=True,
    )
    params = module.params
    if not _chain.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography >= 3.3"), exception=_chain.CRYPTOGRAPHY_ERROR)
    request = _facts.Request(
        services=tuple(_facts.Service(**service) for service in params["services"] or ()),
        domains=tuple(params["domains"] or ()), parts=tuple(params["gather"]), valid_days=params["valid_days"],
        file=bool(params["chain_file"]))
    try:
        _dns.require_library()
        facts = _facts.observe(request, World(params))
    except DaneError as exc:
        module.fail_json(msg=exc.message, **exc.fields)
    module.exit_json(changed=False, ansible_facts={"tlsa": facts})


if __name__ == "__main__":
    main()
