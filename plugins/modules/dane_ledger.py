#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dane_ledger
short_description: Look at the endpoints of a mail host and take notes in its DANE ledger
version_added: 0.1.0
description:
  - The ledger lies on the mail host it speaks of and remembers, as digests only, which versions of the TLSA RRset and
    which chains a sender may still see, which records are ours, and what a run has begun.
  - This module shakes hands with the given endpoints, takes in looks at the DNS made elsewhere, notes what is about to
    be done, and returns the ledger. Everything is noted or nothing is.
  - The roles of this collection call it; in a playbook of your own it is useful to read the ledger.
author:
  - The mailops.dane authors (@mailops)
requirements:
  - the C(openssl) program on the mail host, for O(names)
  - cryptography >= 3.3 on the mail host, for O(names)
attributes:
  check_mode:
    support: full
    description: Looks at the endpoints and computes the ledger, but does not write it.
  diff_mode:
    support: none
    description: The ledger is returned; looks at the world are no difference that somebody asked for.
  platform:
    support: full
    description: The mail hosts.
    platforms: posix
extends_documentation_fragment:
  - mailops.dane.rollover
options:
  path:
    description: The ledger file.
    type: path
    default: /var/lib/mailops-dane/ledger.json
  names:
    description:
      - The base domains whose endpoints are looked at, each with its addresses. Without it there are no handshakes.
      - Endpoints at addresses that the ledger knows, and that caches may still lead to, are looked at as well.
    type: list
    elements: dict
    default: []
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
    default: []
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
    description: Fresh looks at the DNS, one for each owner name, as M(mailops.dane.tlsa_wait) returns them.
    type: list
    elements: dict
    default: []
  memories:
    description: What M(mailops.dane.tlsa_wait) made of the ledgers while it waited, by owner name.
    type: dict
    default: {}
  nothing_before:
    description: The names are being enabled. An RRset that is empty on all servers then has no history to wait for.
    type: bool
    default: false
  intents:
    description: Versions that are about to be published, a list for each owner name.
    type: dict
    default: {}
  settled:
    description:
      - Versions noted by O(intents) of an earlier call that have been published, or will not be, a list for each owner
        name.
      - Without it a version may still be about to appear for two minutes, whatever a look says meanwhile.
    type: dict
    default: {}
  published:
    description: The records that are ours from now on, by owner name. They replace what was noted for that name.
    type: dict
    default: {}
  operation:
    description:
      - The operation to open or to go on with (keys RV(ignore:id), RV(ignore:kind), RV(ignore:target_spki),
        RV(ignore:started)).
      - With RV(ignore:closed) true it closes the one with that RV(ignore:id), if it is open. An empty dictionary closes
        whichever is open.
    type: dict
  retire:
    description: SHA-256 digests of keys that must never be published or deployed again.
    type: list
    elements: str
    default: []
  issuers:
    description:
      - TLSA records (usage 2, digests) of the issuers of a chain that is about to be served, as
        RV(mailops.dane.chain_assemble#module:chain.issuer_records) has them. They are remembered for 180 days, because
        certification authorities alternate between issuers. That of the chain in O(chain_file) is remembered by itself.
    type: list
    elements: str
    default: []
  anchor:
    description:
      - Which certificate of the chain in O(chain_file) that is, because records on issuers are published for it - the
        first one above the leaf, or the self-signed root at the top, which has to be in the file.
    type: str
    default: issuer
    choices: [issuer, root]
  clock:
    description:
      - The controller's time, in seconds since the epoch. When this host's differs by more than a minute, the module fails
        before anything is looked at or written, because what one of them saw would be judged by the other's clock.
    type: float
  chain_file:
    description:
      - The file that the daemon reads. Its leaf's key is returned as RV(file_spki), and with O(names) its chain is noted
        as one that may be seen, because whatever process starts next presents it. Likewise each chain of a file with
        several, one for each key algorithm.
    type: path
  lineages:
    description:
      - certbot's directories C(live/NAME), which may hold the first certificate of the key in O(chain_file).
      - With it RV(key_since) and RV(lineage_keys) are returned, and the first certificate of that key is kept beside
        the ledger.
    type: list
    elements: path
  service:
    description:
      - The service that is to present O(chain_file). It is asked whether it is set up to, and what it says is returned
        as RV(objections).
    type: str
    choices: [postfix]
  managed:
    description: That setting of the service is about to be made, so what it is now is no objection.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Read the ledger
  mailops.dane.dane_ledger:
  register: ledger

- name: Look at the endpoints of this mail host and keep what was seen
  mailops.dane.dane_ledger:
    names:
      - name: mx1.example.org
        addresses: [192.0.2.25, "2001:db8::25"]
    services:
      - port: 25
        starttls: smtp
"""

RETURN = r"""
ledger:
  description: The ledger after this call.
  returned: success
  type: dict
lost:
  description: Why the ledger began anew (for example that there was none), or V(null).
  returned: success
  type: str
outcomes:
  description: What each endpoint presented.
  returned: success
  type: list
  elements: dict
presented:
  description: SHA-256 digests of the keys that the endpoints presented.
  returned: success
  type: list
  elements: str
file_spki:
  description: SHA-256 digest of the key whose chain is in O(chain_file), of several the first, or an empty string.
  returned: success
  type: str
file_keys:
  description: The keys whose chains are in O(chain_file), in its order.
  returned: success
  type: list
  elements: dict
  contains:
    spki:
      description: SHA-256 digest of the key.
      type: str
    algorithm:
      description: Its algorithm, such as V(ecdsa) or V(rsa).
      type: str
key_since:
  description:
    - Since when the key in O(chain_file), of several the oldest, is known, in seconds since the epoch - the beginning of
      the first certificate for it in O(chain_file), in O(lineages), or kept beside the ledger. V(null) when there is no
      certificate.
    - Of a key that took the place of another one, the first call that found it there.
  returned: O(lineages) is given
  type: int
lineage_keys:
  description: SHA-256 digests of the keys of the certificates in O(lineages).
  returned: O(lineages) is given
  type: list
  elements: str
objections:
  description: Why the O(service) would not present O(chain_file) and nothing else.
  returned: success
  type: list
  elements: str
now:
  description: The host's clock at the end of the call, in seconds since the epoch.
  returned: success
  type: float
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mailops.dane.plugins.module_utils import _age, _chain, _gate, _options
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError
from ansible_collections.mailops.dane.plugins.module_utils._waivers import parse_waivers


def main():
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "default": _gate.LEDGER_PATH},
            "names": _options.NAMES,
            "services": _options.SERVICES,
            "looks": {"type": "list", "elements": "dict", "default": []},
            "memories": {"type": "dict", "default": {}},
            "nothing_before": {"type": "bool", "default": False},
            "intents": {"type": "dict", "default": {}},
            "settled": {"type": "dict", "default": {}},
            "published": {"type": "dict", "default": {}},
            "operation": {"type": "dict"},
            "retire": {"type": "list", "elements": "str", "default": []},
            "issuers": {"type": "list", "elements": "str", "default": []},
            "anchor": {"type": "str", "default": "issuer", "choices": list(_chain.ANCHORS)},
            "clock": {"type": "float"},
            "chain_file": {"type": "path"},
            "lineages": {"type": "list", "elements": "path"},
            "service": {"type": "str", "choices": ["postfix"]},
            "managed": {"type": "bool", "default": False},
            "waive": _options.WAIVE,
            "timing": _options.TIMING,
        },
        required_by={"service": "chain_file", "lineages": "chain_file"},
        supports_check_mode=True,
    )
    params = module.params
    if (params["names"] or params["chain_file"]) and not _chain.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography >= 3.3"), exception=_chain.CRYPTOGRAPHY_ERROR)
    try:
        _gate.check_clock(params["clock"])
        _options.paths(params["path"], params["chain_file"], *params["lineages"] or ())
        _options.looks(params["looks"])
        _options.published(params["published"])
        _options.key_digests(params["retire"], "retire")
        look = _gate.look_with(parse_waivers(params["waive"]))
        endpoints = _gate.with_left(params["path"], _options.endpoints(params["names"], params["services"]))
        outcomes = look(endpoints, handshakes=_gate.HANDSHAKES)
        # Before anything is noted: what cannot be read fails here.
        file_keys = _gate.keys_of_file(params["chain_file"]) if params["chain_file"] else []
        age = {} if params["lineages"] is None else {
            "key_since": _age.known_since(
                os.path.dirname(params["path"]), params["chain_file"], params["lineages"], write=not module.check_mode),
            "lineage_keys": _age.keys_of(params["lineages"])}
        ledger, changed, lost = _gate.note(
            params["path"], _options.timing(params["timing"]), looks=params["looks"], memories=params["memories"],
            nothing_before=params["nothing_before"], intents=params["intents"], settled=params["settled"],
            published=params["published"], outcomes=outcomes, operation=params["operation"], retire=params["retire"],
            write=not module.check_mode,
            chain_file=params["chain_file"], issuers=params["issuers"], anchor=params["anchor"])
        objections = _gate.DAEMONS[params["service"]].objections(
            params["chain_file"], managed=params["managed"]) if params["service"] else []
    except DaneError as exc:
        module.fail_json(msg=exc.message, **exc.fields)
    module.exit_json(
        changed=changed, ledger=ledger.to_dict(), lost=lost, outcomes=outcomes, file_keys=file_keys,
        file_spki=file_keys[0]["spki"] if file_keys else "", objections=objections, now=time.time(), **age,
        presented=sorted({chain.spki for chain in ledger.chains.presented()}))


if __name__ == "__main__":
    main()
