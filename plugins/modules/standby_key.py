#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: standby_key
short_description: Make a standby key that only its operator can read
version_added: 0.1.0
description:
  - Makes private keys on the mail host, encrypts each to the certificates of its operator, and writes one file with the
    public key, by which the host knows what to keep published (RFC 7672 section 4), and the encrypted private key. The
    host itself cannot use it, and neither can whoever breaks into the host later.
  - The private key exists in the memory of this module and of C(openssl) only. It is never in a file, an argument, a
    result or a difference.
  - The file is a message as C(openssl cms -decrypt) reads it (CMS, RFC 5652, AES-256-CBC), with a few lines of text that
    say how. To get it to a safe place is the business of the playbook, for example by M(ansible.builtin.fetch).
  - A key of which there is a file already is kept, so that a second run changes nothing.
author:
  - The mailops.dane authors (@mailops)
requirements:
  - cryptography >= 3.3 and the C(openssl) program on the mail host
attributes:
  check_mode:
    support: full
    description: Says which keys would be made, and which files removed.
  diff_mode:
    support: none
    description: There is nothing to show of a key.
  platform:
    support: full
    description: The mail hosts.
    platforms: posix
  safe_file_operations:
    support: full
    description: A file appears as a whole, for root alone.
options:
  directory:
    description:
      - Where the files are, and nothing else. It is made if it is missing, for root alone.
    type: path
    required: true
  name:
    description:
      - The name of the host, for the names of the files - letters, digits, dots, hyphens and underscores.
    type: str
    required: true
  algorithms:
    description: The algorithms of which there is to be a key each. Files of others are left alone.
    type: list
    elements: str
    required: true
    choices: [ecdsa, rsa]
  used:
    description:
      - SHA-256 digests of public keys that are, or were, served, or that must never be. The file of such a key is removed,
        and another key takes its place.
    type: list
    elements: str
    default: []
  recipients:
    description:
      - Certificates (PEM text), one or more in each element. The holder of any one of their keys can decrypt.
      - Each has an RSA key of 2048 bits or more (encrypted to by OAEP) or an EC key; its key usage, if it states one,
        has to allow that; and it has to be in force when a key is made.
    type: list
    elements: str
    default: []
  make:
    description: Whether keys that are missing are made, and files of used keys removed. Without it the module only looks.
    type: bool
    default: true
seealso:
  - module: mailops.dane.chain_assemble
  - name: RFC 7672 section 4
    description: Why to publish the record of the next key ahead.
    link: https://www.rfc-editor.org/rfc/rfc7672#section-4
"""

EXAMPLES = r"""
- name: Make a standby key that stays away from the host
  mailops.dane.standby_key:
    directory: /var/lib/mailops-dane/standby
    name: "{{ inventory_hostname }}"
    algorithms: [ecdsa]
    recipients:
      - "{{ lookup('ansible.builtin.file', '/etc/ansible/dane-operators.pem') }}"
  register: standby

- name: Export it
  ansible.builtin.fetch:
    src: "{{ standby.kept[0].path }}"
    dest: /srv/standby-keys/
    flat: true

- name: Show the records to publish
  ansible.builtin.debug:
    msg: "{{ standby.kept[0].chain.matches | select('match', '3 1 [12]') }}"
"""

RETURN = r"""
kept:
  description: The standby keys that there are now, in the order of O(algorithms).
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file with the encrypted private key.
      type: str
    algorithm:
      description: The algorithm of the key, V(ecdsa) or V(rsa).
      type: str
    spki:
      description: SHA-256 of the public key (SubjectPublicKeyInfo), the data of a C(3 1 1) record.
      type: str
    chain:
      description:
        - What is known of the chain that will have this key, in the form of
          RV(mailops.dane.chain_assemble#module:chain), with the TLSA records on the key alone as C(matches), because there
          is no certificate yet.
      type: dict
  sample:
    - path: /var/lib/mailops-dane/standby/mx1.example.org-ecdsa-9f86d081884c7d65.cms.pem
      algorithm: ecdsa
      spki: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      chain:
        id: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        spki: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
        algorithm: ecdsa
        matches: ["3 1 1 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
        issuer_records: []
missing:
  description: Algorithms of which there is no key - with O(make=false), and in check mode, where one would be made.
  returned: success
  type: list
  elements: str
made:
  description: The files of the keys that this run has made.
  returned: success
  type: list
  elements: str
removed:
  description: The files of used keys that were removed.
  returned: success
  type: list
  elements: str
"""

import re
import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _standby_key
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError, DaneError

FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "algorithms": {"type": "list", "elements": "str", "required": True, "choices": list(_standby_key.ALGORITHMS)},
            "used": {"type": "list", "elements": "str", "default": []},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "make": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    if not _chain.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography >= " + _chain.CRYPTOGRAPHY_MINIMUM),
                         exception=_chain.CRYPTOGRAPHY_ERROR)
    if _chain.cryptography_too_old():
        module.fail_json(msg=f"cryptography is too old: found {_chain.cryptography_too_old()}, expected "
                             f"{_chain.CRYPTOGRAPHY_MINIMUM} or newer")
    try:
        result = keep(module.params, module.check_mode)
    except DaneError as exc:
        module.fail_json(msg=exc.message, **exc.fields)
    module.exit_json(**result)


def keep(params, check_mode):
    """See to it that there is a key of each algorithm; what there is now, and what changed (the module's result)."""
    if not FILE_NAME.fullmatch(params["name"]):
        raise ChainError(f"Cannot name a file after {params['name']!r:.100}: expected letters, digits, dots, hyphens and "
                         "underscores")
    kept, used = _standby_key.kept(params["directory"], params["algorithms"], params["used"])
    missing = [one for one in params["algorithms"] if one not in [key.algorithm for key in kept]]
    removed = used if params["make"] else []
    changed = bool(params["make"] and (missing or removed))
    made = []
    if changed and not check_mode:
        made = [make(params, algorithm) for algorithm in missing]
        # Only now: whoever is interrupted before has one file too many, and not one too few.
        for key in removed:
            _standby_key.forget(key)
        missing = []
    kept = sorted(kept + made, key=lambda key: params["algorithms"].index(key.algorithm))
    return {"changed": changed, "kept": [key.to_dict() for key in kept], "missing": missing,
            "made": [key.path for key in made], "removed": [key.path for key in removed]}


def make(params, algorithm):
    """A new key of an algorithm for all recipients."""
    now = time.time()
    recipients = [certificate for text in params["recipients"]
                  for certificate in _standby_key.load_recipients(text, "recipients", now)]
    if not recipients:
        raise ChainError("Cannot make a standby key: recipients is empty, expected the certificate of whoever keeps it")
    return _standby_key.make(params["directory"], params["name"], algorithm, recipients)


if __name__ == "__main__":
    main()
