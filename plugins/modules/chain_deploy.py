#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: chain_deploy
short_description: Let a mail service present another key and chain, if no DANE sender can see a mismatch
version_added: 0.1.0
description:
  - The only way in which this collection changes a served chain. One call asks whether every version of the TLSA RRset
    that a sender may still hold suits the new chain (RFC 7671 section 8), checks the service's configuration, keeps the
    old file, replaces it, reloads, and shakes hands with every address, port, key algorithm and server name until only
    the new chain is seen. When that does not happen it puts the old file back.
  - What is I(served) decides whether anything is to do, not what the files say. A run that was cut off between replace
    and reload is completed by the next.
author:
  - The mailops.dane authors (@mailops)
requirements:
  - the C(openssl) program on the mail host
  - cryptography >= 3.3 on the mail host
attributes:
  check_mode:
    support: full
    description: Asks and checks, and changes nothing.
  diff_mode:
    support: full
    description: Shows key digests and certificate facts before and after, never key material.
  platform:
    support: full
    description: The mail hosts.
    platforms: posix
extends_documentation_fragment:
  - mailops.dane.rollover
  - mailops.dane.override
options:
  src:
    description: The file with the private key and the chain to be served, as M(mailops.dane.chain_assemble) makes it.
    type: path
    required: true
  dest:
    description: The file that the service reads. The version before stays beside it as C(.previous).
    type: path
    required: true
  names:
    description: The base domains that are served from the file, each with its addresses.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: The base domain.
        type: str
        required: true
      addresses:
        description: Its addresses.
        type: list
        elements: str
        required: true
      ttl:
        description: How long caches may lead to the addresses, in seconds (the sum of the TTLs along the path).
        type: int
        default: 0
      problem:
        description: Why it has none, as RV(mailops.dane.tlsa_wait#module:base_domains[].problem) says it.
        type: str
        default: ""
  services:
    description: The services under each of the O(names).
    type: list
    elements: dict
    required: true
    suboptions:
      port:
        description: The TCP port.
        type: int
        required: true
      starttls:
        description: How TLS begins; V(none) is TLS from the first byte.
        type: str
        default: smtp
        choices: [smtp, imap, pop3, sieve, lmtp, none]
  looks:
    description:
      - A look at the DNS for each owner name (RV(mailops.dane.tlsa_wait#module:names[].look)).
      - It must not be older than a minute, and must cover every one of the O(names) and O(services).
    type: list
    elements: dict
    required: true
  service:
    description: The service that reads O(dest).
    type: str
    default: postfix
    choices: [postfix]
  expected_spki:
    description: SHA-256 digest of the key that O(src) must hold. Another is refused.
    type: str
    default: ""
  enabling:
    description: The names are being enabled or retired. An RRset without usable records is then fine.
    type: bool
    default: false
  handshake_timeout:
    description: How long to wait after the reload until every endpoint presents the new chain, in seconds.
    type: int
    default: 60
  anchor:
    description:
      - Which certificate the records on issuers (usage 2) are published for, and so is remembered in the O(ledger), as
        for M(mailops.dane.dane_ledger).
    type: str
    default: issuer
    choices: [issuer, root]
  pkix:
    description:
      - What is asked of a chain that is not in O(dest) yet, for clients that verify without DANE (MTA-STS, submission).
        They trust the roots in O(trust_store), and need every intermediate from the server.
      - V(auto) refuses a chain that they would not accept for one of the O(names) while they accept the one in O(dest), and
        warns instead in the last week of the latter. V(require) refuses whatever they would not accept, V(warn) only warns.
    type: str
    default: "off"
    choices: [auto, warn, require, "off"]
  trust_store:
    description:
      - The trusted roots for O(pkix), a PEM file, or a directory as C(openssl rehash) leaves it. Empty takes the system's.
    type: path
    default: ""
  ledger:
    description: The ledger file.
    type: path
    default: /var/lib/mailops-dane/ledger.json
"""

EXAMPLES = r"""
- name: Look at the DNS
  mailops.dane.tlsa_wait:
    names: [_25._tcp.mx1.example.org.]
    timeout: 0
  delegate_to: localhost
  become: false
  register: dns

- name: Serve the next key
  mailops.dane.chain_deploy:
    src: /var/lib/mailops-dane/candidate.pem
    dest: /etc/postfix/dane-chain.pem
    names: "{{ dns.base_domains }}"
    services:
      - port: 25
        starttls: smtp
    looks: "{{ dns.names | map(attribute='look') | list }}"
"""

RETURN = r"""
chain:
  description: The chain that is served now; of several, the first in the file.
  returned: success
  type: dict
chains:
  description: All chains that are served now, one for each key algorithm, in the order of the file.
  returned: success
  type: list
  elements: dict
before:
  description: SHA-256 digests of the keys that the endpoints presented before.
  returned: success
  type: list
  elements: str
answer:
  description:
    - The answer to the question whether the chain may be deployed, with RV(ignore:verdict), RV(ignore:reasons) and
      RV(ignore:safe_at), the earliest time at which a no could become a yes. V(null) when nothing was to do.
  returned: success and refusal
  type: dict
pkix:
  description: Why clients that verify without DANE would refuse the chain, where it is served all the same; else empty.
  returned: success
  type: str
outcomes:
  description: What each endpoint presented at last.
  returned: success
  type: list
  elements: dict
restored:
  description: On failure after the file was replaced, whether the old one is back in service.
  returned: failure
  type: bool
"""

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _gate, _options, _pkix
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError
from ansible_collections.mailops.dane.plugins.module_utils._waivers import parse_override, parse_waivers


def main():
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "names": _options.required(_options.NAMES),
            "services": _options.required(_options.SERVICES),
            "looks": {"type": "list", "elements": "dict", "required": True},
            "service": {"type": "str", "default": "postfix", "choices": ["postfix"]},
            "expected_spki": {"type": "str", "default": ""},
            "enabling": {"type": "bool", "default": False},
            "handshake_timeout": {"type": "int", "default": 60},
            "anchor": {"type": "str", "default": "issuer", "choices": list(_chain.ANCHORS)},
            "pkix": {"type": "str", "default": "off", "choices": list(_pkix.MODES)},
            "trust_store": {"type": "path", "default": ""},
            "ledger": {"type": "path", "default": _gate.LEDGER_PATH},
            "waive": _options.WAIVE,
            "override": _options.OVERRIDE,
            "timing": _options.TIMING,
        },
        supports_check_mode=True,
    )
    params = module.params
    if not _chain.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography >= 3.3"), exception=_chain.CRYPTOGRAPHY_ERROR)
    try:
        _options.paths(params["src"], params["dest"], params["ledger"])
        result = _gate.deploy(_gate.Deployment(
            candidate=params["src"], dest=params["dest"], looks=_options.looks(params["looks"]),
            endpoints=_options.endpoints(params["names"], params["services"]),
            daemon=_gate.DAEMONS[params["service"]], timing=_options.timing(params["timing"]),
            empty_is_fine=params["enabling"], expected_spki=params["expected_spki"],
            handshake_timeout=_options.handshake_timeout(params["handshake_timeout"]), ledger_path=params["ledger"],
            override=parse_override(params["override"]), pkix=params["pkix"], trust_store=params["trust_store"],
            anchor=params["anchor"],
        ), write=not module.check_mode, look=_gate.look_with(parse_waivers(params["waive"])))
    except DaneError as exc:
        module.fail_json(msg=exc.message, **exc.fields)
    if result["answer"] and result["answer"]["verdict"] == "at your word":
        module.warn(result["answer"]["text"])
    if result["pkix"]:
        module.warn(result["pkix"])
    if result["changed"]:
        result["diff"] = {
            "before_header": params["dest"], "after_header": params["dest"],
            "before": "".join(f"key {spki}\n" for spki in result["before"]),
            "after": "".join(f"key {chain['spki']}\n" for chain in result["chains"]),
        }
    module.exit_json(**result)


if __name__ == "__main__":
    main()
