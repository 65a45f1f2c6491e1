#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: chain_assemble
short_description: Make the one file of private key, certificate and issuers that a mail server presents
version_added: 0.1.0
description:
  - From a private key, its certificate and a heap of issuers, finds the chain, verifies it, and writes key, certificate
    and issuers, in the order in which a server presents them, to one file.
  - Every signature is verified; the key has to belong to the certificate; the certificate has to cover all base
    domains; dates, path lengths, key usages and name constraints have to hold. An error says which certificate is
    at fault, what was found and what was expected, and nothing is written.
  - Among several issuers of the same name (cross-signed, renewed or expired ones) all paths are tried.
  - Returns the TLSA data of every certificate in the file, so that the records can be published before the file is
    used. Deploying it is the business of M(mailops.dane.chain_deploy).
  - With O(further) the file gets a chain for each of several key algorithms, one behind the other, as Postfix reads them
    from one file. All of them are verified before anything is written.
  - The private key does not leave the host. Results and differences show digests only.
author:
  - The mailops.dane authors (@mailops)
requirements:
  - cryptography >= 3.3 on the mail host, and the C(openssl) program for O(pkix)
extends_documentation_fragment:
  - ansible.builtin.files
attributes:
  check_mode:
    support: full
    description: Everything is verified, nothing is written.
  diff_mode:
    support: full
    description: Shows subject, end of validity and key digest of each certificate before and after, never a key.
  platform:
    support: full
    description: The mail hosts.
    platforms: posix
  safe_file_operations:
    support: full
    description: The new file takes the place of the old one in one step, with owner and mode already set.
options:
  privatekey_path:
    description:
      - The private key (PEM, not encrypted).
    type: path
    required: true
  certificate_path:
    description:
      - The certificate (PEM). Further certificates in the file belong to the heap of issuers, and are preferred.
    type: path
    required: true
  issuers:
    description:
      - PEM files with one or more certificates, or directories with such files (C(*.pem), C(*.crt), C(*.cer)).
      - In a directory a file that cannot be read as certificates is skipped with a warning.
    type: list
    elements: path
    default: []
  further:
    description:
      - Keys of other algorithms with their certificates, for the same file. They follow behind the first, in this order.
      - Two keys of one algorithm are refused, because a server presents one chain for each.
    type: list
    elements: dict
    default: []
    suboptions:
      privatekey_path:
        description: As O(privatekey_path).
        type: path
        required: true
      certificate_path:
        description: As O(certificate_path).
        type: path
        required: true
      issuers:
        description: As O(issuers).
        type: list
        elements: path
        default: []
  base_domains:
    description:
      - The names that each certificate has to cover, usually the host names in MX records.
    type: list
    elements: str
    required: true
  dest:
    description:
      - The file to write. Without it the chain is only checked and returned.
    type: path
  include_root:
    description:
      - Whether the self-signed root belongs to the chain. It is needed only where a DANE-TA record is about the root,
        and is then an error if it is neither among the certificates nor in O(trust_store).
      - RV(chain.issuer_records) are then about the root.
    type: bool
    default: false
  valid_for:
    description:
      - For how many seconds from now all certificates have to remain valid.
      - Without it, a day, or a third of the life of the certificate where that is less.
    type: int
  combinations:
    description:
      - The parameter combinations for which TLSA data is returned, as three numbers or RFC 7218 acronyms. Usage 3
        (DANE-EE) is about the certificate itself, usage 2 (DANE-TA) about its issuers.
    type: list
    elements: str
    default: ["3 1 1"]
  pkix:
    description:
      - What is asked of the chain for clients that verify without DANE (MTA-STS, submission). They trust the roots in
        O(trust_store), and need every intermediate from the server.
      - V(auto) refuses a chain that they would not accept for one of the O(base_domains) while they accept the one in
        O(served_path), and warns instead in the last week of the latter. V(require) refuses whatever they would not
        accept, V(warn) only warns.
    type: str
    default: "off"
    choices: [auto, warn, require, "off"]
  trust_store:
    description:
      - The trusted roots for O(pkix) and O(include_root), a PEM file, or a directory as C(openssl rehash) leaves it.
        Empty takes the system's.
    type: path
    default: ""
  served_path:
    description: The file with the chain that is served now, for O(pkix=auto). It need not exist.
    type: path
  mode:
    description:
      - The permissions of O(dest). It holds a private key.
    type: raw
    default: '0600'
seealso:
  - module: mailops.dane.chain_deploy
  - module: mailops.dane.tlsa_record
  - name: RFC 7671
    description: What a server has to present for DANE-TA and DANE-EE records.
    link: https://www.rfc-editor.org/rfc/rfc7671
"""

EXAMPLES = r"""
- name: Assemble what Postfix is to present
  mailops.dane.chain_assemble:
    privatekey_path: /etc/letsencrypt/live/mx1.example.org/privkey.pem
    certificate_path: /etc/letsencrypt/live/mx1.example.org/fullchain.pem
    base_domains: [mx1.example.org]
    dest: /etc/postfix/tls/next.pem
  register: next_chain

- name: Assemble a file from which Postfix presents an ECDSA and an RSA key
  mailops.dane.chain_assemble:
    privatekey_path: /etc/letsencrypt/live/mx1.example.org/privkey.pem
    certificate_path: /etc/letsencrypt/live/mx1.example.org/fullchain.pem
    further:
      - privatekey_path: /etc/letsencrypt/live/mx1.example.org-rsa/privkey.pem
        certificate_path: /etc/letsencrypt/live/mx1.example.org-rsa/fullchain.pem
    base_domains: [mx1.example.org]
    dest: /etc/postfix/tls/next.pem

- name: Show the record to publish
  ansible.builtin.debug:
    msg: "_25._tcp.mx1.example.org. IN TLSA {{ next_chain.certificates[0].records['3 1 1'] }}"

- name: Check a chain that is anchored in the root of an own authority, for a month from now
  mailops.dane.chain_assemble:
    privatekey_path: /etc/ssl/private/mx1.key
    certificate_path: /etc/ssl/certs/mx1.pem
    issuers:
      - /etc/ssl/ca/root.pem
      - /etc/ssl/ca/intermediates
    include_root: true
    base_domains: [mx1.example.org, mx.example.net]
    valid_for: 2592000
    combinations: ["DANE-TA SPKI SHA2-256", "3 1 1"]
"""

RETURN = r"""
chain:
  description: The first chain as it will be presented. Times are seconds since the epoch, digests lower-case hex.
  returned: success
  type: dict
  contains:
    id:
      description: SHA-256 over the certificates.
      type: str
    spki:
      description: SHA-256 of the public key (SubjectPublicKeyInfo).
      type: str
    algorithm:
      description: The algorithm of the key, such as V(ecdsa) or V(rsa).
      type: str
    subject:
      description: Subject of the certificate (RFC 4514).
      type: str
    issuer:
      description: Issuer of the certificate (RFC 4514).
      type: str
    names:
      description: The DNS names of the certificate.
      type: list
      elements: str
    not_before:
      description: Beginning of its validity.
      type: int
    not_after:
      description: End of its validity.
      type: int
    matches:
      description:
        - All TLSA records of usages 2 and 3 that match the chain for all O(base_domains), until the end of
          O(valid_for). The data of matching type 0 is replaced by its SHA-256.
      type: list
      elements: str
    issuer_records:
      description:
        - Those of them that are published for the issuer, digests of the first certificate above the leaf, or of the
          root with O(include_root). Empty when senders cannot verify the chain up to it.
      type: list
      elements: str
chains:
  description: All chains in the order of the file, RV(chain) and those of O(further), each like RV(chain).
  returned: success
  type: list
  elements: dict
certificates:
  description: The certificates in the order of the file.
  returned: success
  type: list
  elements: dict
  contains:
    depth:
      description: V(0) is a certificate itself, its issuers follow.
      type: int
    subject:
      description: Its subject (RFC 4514).
      type: str
    issuer:
      description: Its issuer (RFC 4514).
      type: str
    not_after:
      description: End of its validity, in seconds since the epoch.
      type: int
    spki:
      description: SHA-256 of its public key.
      type: str
    records:
      description: TLSA rdata by parameter combination, for those of the O(combinations) that apply at this depth.
      type: dict
  sample:
    - depth: 0
      subject: CN=mx1.example.org
      issuer: CN=Example Intermediate
      not_after: 1798761600
      spki: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
      records:
        3 1 1: 3 1 1 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
spki:
  description: SHA-256 of the first public key, the data of a C(3 1 1) record.
  returned: success
  type: str
dest:
  description: The file.
  returned: success and O(dest) is given
  type: str
"""

import os
import tempfile
import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.mailops.dane.plugins.module_utils import _chain, _pkix, _tlsa
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError, DaneError, RecordError

DAY = 86400
MOST_SECONDS = 100 * 366 * DAY
PEM_SUFFIXES = (".pem", ".crt", ".cer")


def main():
    module = AnsibleModule(
        argument_spec={
            "privatekey_path": {"type": "path", "required": True, "no_log": False},
            "certificate_path": {"type": "path", "required": True},
            "issuers": {"type": "list", "elements": "path", "default": []},
            "base_domains": {"type": "list", "elements": "str", "required": True},
            "dest": {"type": "path"},
            "further": {"type": "list", "elements": "dict", "default": [], "options": {
                "privatekey_path": {"type": "path", "required": True, "no_log": False},
                "certificate_path": {"type": "path", "required": True},
                "issuers": {"type": "list", "elements": "path", "default": []},
            }},
            "include_root": {"type": "bool", "default": False},
            "valid_for": {"type": "int"},
            "combinations": {"type": "list", "elements": "str", "default": ["3 1 1"]},
            "pkix": {"type": "str", "default": "off", "choices": list(_pkix.MODES)},
            "trust_store": {"type": "path", "default": ""},
            "served_path": {"type": "path"},
            "mode": {"type": "raw", "default": "0600"},
        },
        add_file_common_args=True,
        supports_check_mode=True,
    )
    if not _chain.HAS_CRYPTOGRAPHY:
        module.fail_json(msg=missing_required_lib("cryptography >= " + _chain.CRYPTOGRAPHY_MINIMUM),
                         exception=_chain.CRYPTOGRAPHY_ERROR)
    if _chain.cryptography_too_old():
        module.fail_json(msg=f"cryptography is too old: found {_chain.cryptography_too_old()}, expected "
                             f"{_chain.CRYPTOGRAPHY_MINIMUM} or newer")
    try:
        content, result = assemble(module)
        result["changed"] = False
        if module.params["dest"]:
            result["dest"] = module.params["dest"]
            result.update(write(module, content))
    except DaneError as exc:
        module.fail_json(msg=exc.message, **exc.fields)
    module.exit_json(**result)


def assemble(module):
    """The text of the file, and what there is to say about it."""
    params = module.params
    combinations = wanted_combinations(params["combinations"])
    if not params["base_domains"]:
        raise ChainError("Cannot check names: base_domains is empty, expected at least one name")
    check_valid_for(params["valid_for"])
    now = time.time()
    parts = [assemble_one(module, part, now) for part in (params, *params["further"])]
    _chain.check_algorithms([certificates[0] for _key, certificates, _until in parts], params["dest"] or "the chain file")
    there = served(params["served_path"])
    for _key, certificates, _until in parts:
        warning = _pkix.objection(params["pkix"], certificates, params["base_domains"],
                                  _chain.counterpart(certificates, there), params["trust_store"], now)
        if warning:
            module.warn(warning)
    for combination in combinations:
        if combination.usage == _tlsa.DANE_TA and any(len(certificates) == 1 for _key, certificates, _until in parts):
            module.warn(f"There is no {combination} record: the chain has no issuer, only the certificate itself")
    anchor = "root" if params["include_root"] else "issuer"
    chains = [_chain.describe(certificates, params["base_domains"], until, now, anchor)
              for _key, certificates, until in parts]
    return "".join(_chain.file_text(key, certificates) for key, certificates, _until in parts), {
        "chain": chains[0], "chains": chains,
        "certificates": [
            {**facts(certificate), "depth": depth, "issuer": certificate.issuer,
             "records": _chain.records_of(certificate, depth, combinations)}
            for _key, certificates, _until in parts for depth, certificate in enumerate(certificates)
        ],
        "spki": _chain.spki_digest(parts[0][0].spki),
    }


def served(path):
    """The chains in the file that is served now (list, empty without one)."""
    return _chain.load_chains(read(path), path) if path and os.path.exists(path) else []


def assemble_one(module, part, now):
    """A key, the certificates to present with it, and until when (epoch) they have to remain valid."""
    params = module.params
    key = _chain.load_pem(read(part["privatekey_path"]), part["privatekey_path"]).key
    if key is None:
        raise ChainError(f"Cannot use {part['privatekey_path']!r}: found no private key in it")
    given = _chain.load_pem(read(part["certificate_path"]), part["certificate_path"]).certificates
    if not given:
        raise ChainError(f"Cannot use {part['certificate_path']!r}: found no certificate in it")
    _chain.check_key_belongs(key, given[0])
    others = [*given[1:], *heap(module, part["issuers"])]
    if params["include_root"]:
        others += _pkix.roots([given[0], *others], params["trust_store"])
    until = now + (_chain.reserve(given[0], DAY) if params["valid_for"] is None else params["valid_for"])
    certificates = _chain.order(
        given[0], others, params["base_domains"], until, want_root=params["include_root"], now=now)
    return key, certificates, until


def check_valid_for(seconds):
    """Make sure that it is a time (seconds, or None where none is given)."""
    if seconds is not None and not 0 <= seconds < MOST_SECONDS:
        raise ChainError(f"Cannot use valid_for={seconds!r:.60}: it must not be "
                         + ("negative" if seconds < 0 else f"more than {MOST_SECONDS} (100 years)"))


def wanted_combinations(texts):
    """The parameter combinations asked for, of which only usages 2 and 3 are for mail servers."""
    combinations = [_tlsa.Combination.parse(text) for text in texts]
    for combination in combinations:
        if combination.usage not in (_tlsa.DANE_TA, _tlsa.DANE_EE):
            raise RecordError(f"Cannot compute {str(combination)!r}: usages 0 and 1 (PKIX) are not for SMTP (RFC 7672 "
                              "section 3.1.3), expected 2 or 3")
    return combinations


def heap(module, places):
    """The certificates in files and directories, in their order."""
    found = []
    for place in places:
        if not os.path.isdir(place):
            certificates = _chain.load_certificates(read(place), place)
            if not certificates:
                raise ChainError(f"Cannot use {place!r} as issuers: found no certificate in PEM form in it")
            found += certificates
            continue
        for name in listed(place):
            path = os.path.join(place, name)
            if not name.endswith(PEM_SUFFIXES) or not os.path.isfile(path):
                continue
            try:
                found += _chain.load_certificates(read(path), path)
            except ChainError as exc:
                module.warn(f"{path!r} is skipped: {exc.message}")
    return found


def listed(directory):
    try:
        return sorted(os.listdir(directory))
    except OSError as exc:
        raise ChainError(f"Cannot read the directory {directory!r}: {exc.strerror}") from exc


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as exc:
        raise ChainError(f"Cannot read {path!r}: {getattr(exc, 'strerror', None) or exc}") from exc


def facts(certificate):
    return {"subject": certificate.subject, "not_after": certificate.not_after,
            "spki": _chain.spki_digest(certificate.spki)}


def facts_of_file(content, path):
    """What a difference shows of a file: never its text, which holds a key."""
    if content is None:
        return {}
    try:
        bundles = _chain.load_bundles(content, path)
    except ChainError:
        return {"certificates": "not readable"}
    keys = [_chain.spki_digest(bundle.key.spki) if bundle.key else None for bundle in bundles]
    return {"key": keys[0] if len(keys) == 1 else keys,
            "certificates": [facts(certificate) for bundle in bundles for certificate in bundle.certificates]}


def write(module, text):
    """Bring the file to be what it should be; what changed, and the difference in facts."""
    # Ansible's own functions do not get along with a bare name.
    dest = os.path.abspath(module.params["dest"])
    if os.path.islink(dest) or os.path.isdir(dest):
        kind = "a symbolic link" if os.path.islink(dest) else "a directory"
        raise ChainError(f"Cannot write {dest!r}: it is {kind}, expected a file or nothing")
    if not os.path.isdir(os.path.dirname(dest) or "."):
        raise ChainError(f"Cannot write {dest!r}: its directory does not exist; make it first")
    content = text.encode("ascii")
    old = read(dest) if os.path.exists(dest) else None
    changed = old != content
    arguments = module.load_file_common_arguments(module.params, path=dest)
    diff = {"before_header": dest, "after_header": dest, "before": facts_of_file(old, dest),
            "after": facts_of_file(content, dest)}
    if changed and not module.check_mode:
        replace(module, dest, content, arguments)
    return {"changed": module.set_fs_attributes_if_different(arguments, changed, diff), "diff": diff}


def move(module, temporary, dest):
    try:
        module.atomic_move(temporary, dest, unsafe_writes=bool(module.params["unsafe_writes"]), keep_dest_attrs=False)
    except Exception as exc:
        # ansible-core 2.19 raises just this where older ones end the module.
        raise ChainError(f"Cannot write {dest!r}: {exc.__cause__ or exc}") from exc


def replace(module, dest, content, arguments):
    """Put the content in place in one step; it never stands anywhere with another owner or a wider mode."""
    handle, temporary = tempfile.mkstemp(prefix=".chain-", dir=os.path.dirname(dest) or ".")
    module.add_cleanup_file(temporary)
    # The mode of what atomic_move creates comes from the umask, after the rename.
    before = os.umask(0o177)
    try:
        if os.path.exists(dest):
            known = os.stat(dest)
            if (known.st_uid, known.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(temporary, known.st_uid, known.st_gid)
        module.set_owner_if_different(temporary, arguments["owner"], False)
        module.set_group_if_different(temporary, arguments["group"], False)
        module.set_mode_if_different(temporary, arguments["mode"], False)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        move(module, temporary, dest)
    except (OSError, ValueError) as exc:
        raise ChainError(f"Cannot write {dest!r}: {getattr(exc, 'strerror', None) or exc}") from exc
    finally:
        os.umask(before)


if __name__ == "__main__":
    main()
