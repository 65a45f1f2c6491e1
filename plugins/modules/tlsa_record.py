#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tlsa_record
short_description: Publish and withdraw TLSA records, without touching anybody else's
version_added: 0.1.0
description:
  - Adds, removes or sets TLSA records at one or many owner names by dynamic updates (RFC 2136), signed with TSIG.
  - Every change is a compare-and-swap. The RRset is read from the server that takes the update, and the update pins
    what was read. When somebody else was quicker, it is read again, the change is planned and asked about anew, and
    only then sent again, five times at most.
  - An RRset is changed in one step, and never left empty, not even for a moment.
  - All names are checked, read and asked about before the first one is changed.
  - A record that mail servers have to ignore (RFC 7672 section 3.1.3), and the digest of an empty file, are never
    published.
author:
  - The mailops.dane authors (@mailops)
attributes:
  check_mode:
    support: full
    description: Everything is read and asked, nothing is sent.
  diff_mode:
    support: full
    description: Shows the RRsets before and after in zone-file lines.
  platform:
    support: full
    description: Where dnspython is.
    platforms: posix
extends_documentation_fragment:
  - mailops.dane.dns
  - mailops.dane.override
options:
  records:
    description:
      - What is wanted at which owner name. An empty list changes nothing.
      - Entries for the same owner name are taken together.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description:
          - The owner name, for instance V(_25._tcp.mx1.example.org).
          - It may not be an alias (CNAME). Name what it is an alias of.
        type: str
      host:
        description:
          - The base domain, instead of O(records[].name), together with O(records[].port).
          - With O(state=present) and O(state=exact) it has to have an address, unless O(zone) is given.
        type: str
      port:
        description: The port of the service.
        type: int
        default: 25
      rdata:
        description:
          - Records in zone-file form, for instance V(3 1 1 0123...) with 64 digits. RFC 7218 acronyms are understood.
          - With O(state=absent), and for records that are there already, C(sha256:) and the digest of the data may
            stand for the data of a record with matching type 0.
        type: list
        elements: str
        default: []
      certificate_path:
        description:
          - A file with a certificate (PEM), on the host that runs the task, of which records are computed. Of several
            certificates in the file the first is taken.
        type: path
      publickey_path:
        description:
          - A file with a public or private key (PEM), on the host that runs the task, of which records are computed.
            Only combinations with selector 1 are possible.
        type: path
      combination:
        description:
          - The parameter combinations in which records of O(records[].certificate_path) or
            O(records[].publickey_path) are computed, as three numbers or RFC 7218 acronyms.
        type: list
        elements: str
        default: ["3 1 1"]
      ttl:
        description:
          - The TTL of the RRset, in seconds. One RRset has one TTL, so records that are there already get it too.
          - The default leaves the TTL as it is, and gives a new RRset 3600. O(state=absent) leaves it as it is anyway.
        type: int
  state:
    description:
      - V(present) adds what is missing and leaves other records alone.
      - V(absent) removes exactly the given records, where they are there, and leaves others alone.
      - V(exact) makes the RRset these records and no others.
    type: str
    choices: [present, absent, exact]
    default: present
  rehearse:
    description:
      - Before anything else, have the server accept an update of each owner name that changes nothing. So a server that
        does not let the key change these names is noticed before other things are done on the strength of it.
      - In check mode nothing is sent, and only a wrong key is noticed.
    type: bool
    default: false
  server:
    description:
      - The primary server, which takes updates. An address, or a name, which is resolved through O(resolver).
    type: str
    required: true
  port:
    description: Its port.
    type: int
    default: 53
  key_name:
    description: The name of the TSIG key. Without it, messages are not signed.
    type: str
  key_algorithm:
    description: The algorithm of the TSIG key.
    type: str
    choices: [hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384, hmac-sha512]
    default: hmac-sha256
  key_secret:
    description: The secret of the TSIG key (base64).
    type: str
  zone:
    description:
      - The zone that holds all of the names.
      - The default is to find the zone of each name through O(resolver). It then has to be signed and to validate,
        unless O(state=absent), because senders ignore TLSA records in any other.
    type: str
  timeout:
    description: How long the server may take for an update, in seconds.
    type: float
    default: 10.0
  view:
    description:
      - What senders may meet at the endpoints of each owner name. When given, it is asked whether the change suits all
        of that (RFC 7671 section 8), and refused if not.
      - A dictionary by owner name, and every name that is to be changed has to be in it. Each entry has
        RV(ignore:chains), a list of chains as M(mailops.dane.chain_assemble) returns them, each with
        RV(ignore:presented_at), the places that a refusal names, if they are known; RV(ignore:seen_at), the time of
        the look, which may not be more than 60 seconds away; RV(ignore:chains_known), whether all endpoints were
        looked at (default V(true)); RV(ignore:versions), RRsets that other servers serve; RV(ignore:remembered), RRsets
        of which somebody will see to it that caches have let them go, and if it is given, what the change replaces has to
        be one of them, with its TTL; RV(ignore:gone_at), until
        when chains that are presented no longer may still be met, by their RV(ignore:id); RV(ignore:security) of the
        zone, without V(secure) of which nothing is published;
        RV(ignore:enabling) and RV(ignore:retiring), whether the name may be without records before or after.
        Only with RV(ignore:retiring) the last record can be removed.
      - Without it only records in parameter combinations that are published already can be added, which suits whatever
        is presented. Any other change is refused, unless O(unchecked).
    type: dict
  unchecked:
    description:
      - Make the change at your word, without asking whether it suits what the endpoints present.
      - A record that a served key needs can be removed so, and mail be lost.
    type: bool
    default: false
notes:
  - M(community.general.nsupdate) and most modules for providers replace or delete whole RRsets, which can leave senders
    without a record that they need. This module does not.
seealso:
  - module: mailops.dane.tlsa_wait
  - module: mailops.dane.chain_assemble
  - name: RFC 7671
    description: Operational guidance for DANE, with the order of steps in a rollover.
    link: https://www.rfc-editor.org/rfc/rfc7671
"""

EXAMPLES = r"""
- name: Publish the first record of a name, that of the key in use
  mailops.dane.tlsa_record:
    records:
      - host: mx1.example.org
        certificate_path: /etc/ssl/certs/mx1.pem
        ttl: 3600
    server: ns0.example.org
    key_name: dane.
    key_secret: "{{ vault_dane_tsig }}"
    unchecked: true

- name: Publish next keys for two hosts at once
  mailops.dane.tlsa_record:
    records:
      - name: _25._tcp.mx1.example.org.
        rdata: ["3 1 1 {{ next_spki.mx1 }}"]
      - name: _25._tcp.mx2.example.org.
        rdata: ["3 1 1 {{ next_spki.mx2 }}"]
    server: 192.0.2.1
    key_name: dane.
    key_secret: "{{ vault_dane_tsig }}"
  delegate_to: localhost
  run_once: true

- name: Withdraw the record of an old key, if no sender can still need it
  mailops.dane.tlsa_record:
    state: absent
    records:
      - name: _25._tcp.mx1.example.org.
        rdata: ["3 1 1 {{ old_spki }}"]
    server: 192.0.2.1
    key_name: dane.
    key_secret: "{{ vault_dane_tsig }}"
    view:
      _25._tcp.mx1.example.org.:
        chains: ["{{ presented }}"]
        seen_at: "{{ presented_at }}"
"""

RETURN = r"""
results:
  description: What was found and made of it, for each owner name.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The owner name.
      type: str
      sample: _25._tcp.mx1.example.org.
    zone:
      description: The zone that holds it.
      type: str
      sample: example.org.
    changed:
      description: Whether the RRset was changed, or would be in check mode.
      type: bool
    before:
      description: The records that the server gave at first, in zone-file form.
      type: list
      elements: str
    after:
      description: The records that are there now, or would be.
      type: list
      elements: str
    ttl:
      description: The TTL of the RRset now, or as it would be. Of an empty RRset it is the negative TTL.
      type: int
    answer:
      description: Whether the change may be made, and why, when O(view) was given and there was something to change.
      type: dict
done:
  description: The owner names that were already changed, or found as wanted, when the module failed.
  returned: failure
  type: list
  elements: str
not_done:
  description: The owner names that were not changed because the module failed. With one of them it failed.
  returned: failure
  type: list
  elements: str
rcode:
  description: What the server answered, when it refused. For TSIG the name of the error, such as V(BADSIG).
  returned: when a server refused
  type: str
  sample: REFUSED
answer:
  description: The answer that was no, with its reasons.
  returned: when the change was refused because of O(view)
  type: dict
answers:
  description: The answers that were no, by owner name, where there are several.
  returned: when several changes were refused because of O(view)
  type: dict
"""

import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _dns, _options, _tlsa, _update
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError, DnsError, RecordError
from ansible_collections.mailops.dane.plugins.module_utils._waivers import parse_override


def wanted_records(entry):
    """The records that one entry of ``records`` asks for (set of Record)."""
    records = {_tlsa.Record.parse(text) for text in entry["rdata"]}
    combinations = [_tlsa.Combination.parse(text) for text in entry["combination"]]
    for combination in combinations if entry["certificate_path"] or entry["publickey_path"] else []:
        records.add(_tlsa.compute(combination, *material(entry)))
    return records


def material(entry):
    """The certificate (or None) and the public key of which records are computed (DER bytes)."""
    path = entry["certificate_path"] or entry["publickey_path"]
    try:
        with open(path, "rb") as file:
            text = file.read()
    except (OSError, ValueError) as exc:
        cause = getattr(exc, "strerror", None) or exc
        raise RecordError(f"Cannot compute a TLSA record of {path!r}: {cause}", path=path) from exc
    if entry["publickey_path"]:
        return None, _chain.public_key_of(text, path)
    certificates = _chain.load_certificates(text, path)
    if not certificates:
        raise RecordError(f"Cannot compute a TLSA record of {path!r}: there is no certificate in it", path=path)
    return certificates[0].der, certificates[0].spki


def owner_of(entry):
    """The owner name of one entry of ``records`` (str)."""
    return _tlsa.owner_name(entry["host"], entry["port"]) if entry["host"] else _dns.canonical(entry["name"])


def gathered(entries):
    """Records and TTL for each owner name: dict of str to (set of Record, int or None)."""
    found = {}
    for entry in entries:
        owner = owner_of(entry)
        records, ttl = found.get(owner, (set(), None))
        if None not in (ttl, entry["ttl"]) and ttl != entry["ttl"]:
            raise RecordError(f"Cannot publish at {owner!r}: one RRset has one TTL, found {ttl} and {entry['ttl']}")
        if entry["ttl"] is not None and not 0 <= entry["ttl"] < 2**31:
            raise RecordError(f"Cannot publish at {owner!r}: TTL {entry['ttl']} is not in 0..2147483647")
        found[owner] = (records | wanted_records(entry), ttl if entry["ttl"] is None else entry["ttl"])
    return found


def zones_of(owners, params, settings):
    """The zone of each owner name (dict of str to str), and that it is fit for TLSA records."""
    if params["zone"]:
        zone = _dns.canonical(params["zone"])
        for owner in owners:
            if not ("." + owner).endswith("." + zone.lstrip(".")):
                raise DnsError(f"Cannot publish at {owner!r}: it is not in zone {zone!r}", owner=owner, zone=zone)
        return dict.fromkeys(owners, zone)
    zones = _dns.find_zones(owners, settings)
    if params["state"] != "absent":
        for owner, zone in zones.items():
            if zone.security != _dns.SECURE:
                raise DnsError(
                    f"Cannot publish at {owner!r}: zone {zone.name!r} is {zone.security}, not secure, so senders "
                    "ignore TLSA records in it. Sign it and have its DS published; if it is signed, name a validating "
                    "resolver", owner=owner, zone=zone.name, security=zone.security)
        hosts = {entry["host"]: owner_of(entry) for entry in params["records"] if entry["host"]}
        for host, problem in _dns.addresses_of(hosts, settings).items():
            if isinstance(problem, DnsError):
                raise DnsError(f"Cannot publish at {hosts[host]!r}: {problem.message}", owner=hosts[host], host=host)
    return {owner: zone.name for owner, zone in zones.items()}


def check_view(view):
    """The option ``view`` with owner names as they are written here."""
    for owner, one in view.items():
        if not isinstance(one, dict):
            raise RecordError(f"Cannot use the view of {owner!r}: expected a dictionary, found {type(one).__name__}")
    canonical = {_dns.canonical(owner): one for owner, one in view.items()}
    if len(canonical) != len(view):
        raise RecordError(f"Cannot use the view: one owner name is in it twice: {', '.join(sorted(view))}")
    return canonical


def run(params, check_mode):
    """Do what the options ask for; returns the result (dict)."""
    _dns.require_library()
    settings = _dns.Settings.from_options(params)
    found = gathered(params["records"])
    view = None if params["view"] is None else check_view(params["view"])
    door = None if params["unchecked"] else _update.Door(
        view, time.time, parse_override(params["override"]))
    publisher = _update.Rfc2136(
        params["server"], params["port"], params["key_name"], params["key_algorithm"], params["key_secret"],
        params["timeout"], settings)
    zones = zones_of(sorted(found), params, settings) if found else {}
    wanted = [
        _update.Wanted(owner, zones[owner], frozenset(records), ttl) for owner, (records, ttl) in sorted(found.items())]
    for want in wanted if params["rehearse"] and not check_mode else ():
        publisher.rehearse(want.zone, want.owner)
    changes = _update.apply_all(publisher, wanted, params["state"], door, check_mode)
    results = []
    for change in changes:
        result = {
            "name": change.owner, "zone": zones[change.owner], "changed": change.changed,
            "before": [str(record) for record in sorted(change.before.records)],
            "after": [str(record) for record in sorted(change.after.records)], "ttl": change.after.ttl,
        }
        if door and change.owner in door.answers:
            result["answer"] = door.answers[change.owner].to_dict()
        results.append(result)
    return {"changed": any(change.changed for change in changes), "results": results, "diff": {
        "before": "".join(f"{line}\n" for change in changes for line in change.before.lines(change.owner)),
        "after": "".join(f"{line}\n" for change in changes for line in change.after.lines(change.owner)),
    }}


def main():
    module = AnsibleModule(
        argument_spec={
            **_dns.argument_spec(),
            "records": {
                "type": "list", "elements": "dict", "required": True,
                "options": {
                    "name": {"type": "str"},
                    "host": {"type": "str"},
                    "port": {"type": "int", "default": 25},
                    "rdata": {"type": "list", "elements": "str", "default": []},
                    "certificate_path": {"type": "path"},
                    "publickey_path": {"type": "path"},
                    "combination": {"type": "list", "elements": "str", "default": ["3 1 1"]},
                    "ttl": {"type": "int"},
                },
                "mutually_exclusive": [("name", "host"), ("certificate_path", "publickey_path")],
                "required_one_of": [("name", "host")],
            },
            "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
            "rehearse": {"type": "bool", "default": False},
            "server": {"type": "str", "required": True},
            "port": {"type": "int", "default": 53},
            "key_name": {"type": "str", "no_log": False},
            "key_algorithm": {
                "type": "str", "choices": list(_update.ALGORITHMS), "default": "hmac-sha256", "no_log": False},
            "key_secret": {"type": "str", "no_log": True},
            "zone": {"type": "str"},
            "timeout": {"type": "float", "default": 10.0},
            "view": {"type": "dict"},
            "override": _options.OVERRIDE,
            "unchecked": {"type": "bool", "default": False},
        },
        required_together=[("key_name", "key_secret")],
        mutually_exclusive=[("view", "unchecked"), ("override", "unchecked")],
        supports_check_mode=True,
    )
    files = [entry for entry in module.params["records"] if entry["certificate_path"] or entry["publickey_path"]]
    if files and not _chain.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography >= " + _chain.CRYPTOGRAPHY_MINIMUM),
                         exception=_chain.CRYPTOGRAPHY_ERROR)
    try:
        result = run(module.params, module.check_mode)
    except DaneError as exc:
        module.fail_json(msg=exc.message, changed=bool(exc.fields.get("done")) and not module.check_mode, **exc.fields)
    for one in result["results"]:
        if one.get("answer", {}).get("verdict") == "at your word":
            module.warn(one["answer"]["text"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
