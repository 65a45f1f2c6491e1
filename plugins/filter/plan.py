# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters for the roles of this collection: what a batch of hosts wants, gathered. Private to the roles."""

from __future__ import annotations

import importlib
import os
import time

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.mailops.dane.plugins.module_utils import _elsewhere, _lineages, _operation, _plan, _role_options
from ansible_collections.mailops.dane.plugins.module_utils._errors import ChainError, DaneError

UTILS = _plan.__name__.rpartition(".")[0]


def _library(module):
    """A module of the library, imported when it is used.

    Each task on each host is a process of its own, in which Ansible compiles the whole of this file and of what it imports
    for one filter: so what leads to cryptography, or to what runs on mail hosts, has to wait until it is asked for.
    """
    return importlib.import_module(f"{UTILS}.{module}")


def _late(module, name):
    """A function of a module of the library that is imported when it is called."""
    def function(*args, **kwargs):
        return getattr(_library(module), name)(*args, **kwargs)
    return function


def _filter(function):
    def wrapped(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except DaneError as exc:
            raise AnsibleFilterError(exc.message) from exc
    return wrapped


def publish(hosts, enabling=False):
    """See ``_plan.publish``."""
    return _plan.publish(hosts, time.time(), enabling)


def withdraw(hosts, elsewhere=None):
    """See ``_plan.withdraw``."""
    return _plan.withdraw(hosts, time.time(), elsewhere)


def absent(inventory, present, hostvars):
    """See ``_plan.absent``; a host's base domains are its ``dane_names``, else its own name."""
    return _plan.absent({host: hostvars[host].get("dane_names") or [host] for host in inventory}, present)


def views(hosts, enabling=False):
    """See ``_plan.views``."""
    return _plan.views(hosts, time.time(), enabling)


def decide(hosts, mode="auto", reason="routine"):
    """See ``_operation.decide``."""
    return _operation.decide(hosts, mode, time.time(), reason)


def schedule(hosts, mode):
    """See ``_operation.schedule``."""
    return _operation.schedule(hosts, mode, time.time())


def linger_seconds(hosts):
    """See ``_plan.linger_seconds``."""
    return _plan.linger_seconds(hosts, time.time())


def issuer_pool(paths):
    """The records of the issuers in PEM files on the controller (sorted list of text); see ``_chain.issuer_records``.

    :raises ChainError: a file that cannot be read or holds no certificate, or a certificate that is no CA.
    """
    found = set()
    for path in paths:
        _chain = _library("_chain")
        if not _chain.HAS_CRYPTOGRAPHY:
            raise ChainError(f"Cannot read {path!r}: there is no cryptography beside this Ansible; install it with pip")
        try:
            with open(path, encoding="utf-8") as stream:
                certificates = _chain.load_certificates(stream.read(), path)
        except (OSError, UnicodeDecodeError) as exc:
            raise ChainError(f"Cannot read {path!r}: {getattr(exc, 'strerror', None) or exc}; expected a PEM file on the "
                             "controller, by its whole path") from exc
        if not certificates:
            raise ChainError(f"Cannot use {path!r} as issuers: found no certificate in PEM form in it")
        found.update(text for certificate in certificates for text in _chain.issuer_records(certificate))
    return sorted(found)


def standby_recipients(path):
    """The certificates in a PEM file on the controller that standby keys are encrypted to (list of PEM text); none without a
    path. Whether they are in force is looked at where a key is made: until then the old one serves.

    :raises ChainError: a file that cannot be read, or a certificate that nothing can be encrypted to.
    """
    if not path:
        return []
    if not _library("_chain").HAS_CRYPTOGRAPHY:
        raise ChainError(f"Cannot read {path!r}: there is no cryptography beside this Ansible; install it with pip")
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as stream:
            return [one.pem() for one in _library("_standby_key").load_recipients(stream.read(), path)]
    except (OSError, UnicodeDecodeError) as exc:
        raise ChainError(f"Cannot read {path!r}: {getattr(exc, 'strerror', None) or exc}; expected a PEM file on the "
                         "controller, by its whole path") from exc


def impossible_store(store, method, records, key_types, export, recipient):
    """See ``_role_options.impossible_store``; and there have to be recipients."""
    try:
        # What is wrong with these is said elsewhere.
        wanted = _role_options.combinations(records)
    except DaneError:
        return []
    found = _role_options.impossible_store(store, method, wanted, key_types, export)
    if store != _operation.OFFLINE:
        return found
    try:
        if not standby_recipients(recipient):
            found.append("dane_standby_recipient: Cannot encrypt the standby key to nobody: expected a PEM file on the "
                         "controller with the certificate of whoever keeps it")
    except DaneError as exc:
        found.append(f"dane_standby_recipient: {exc.message}")
    return found


def impossible_options(records, base_domains, services, pool=(), endpoints=None):
    """See ``_role_options.impossible_options``; and the files of the pool have to be issuers."""
    found = _role_options.impossible_options(records, base_domains, services, pool, endpoints)
    try:
        issuer_pool(pool)
    except DaneError as exc:
        found.append(f"dane_issuer_pool: {exc.message}")
    return found


def pinned_elsewhere(host, outcomes, looks, looks_elsewhere):
    """See ``_elsewhere.pinned_elsewhere``."""
    return _elsewhere.pinned_elsewhere(host, outcomes, looks, looks_elsewhere, time.time())


def read_options(path):
    """The names of the options in a role's meta/argument_specs.yml (list of str)."""
    with open(path, encoding="utf-8") as stream:
        return _role_options.option_names(yaml.safe_load(stream))


def only(mapping, keys):
    """The part of a mapping with these keys (dict)."""
    return {key: value for key, value in mapping.items() if key in keys}


def lineage(result):
    """One result of openssl_privatekey_info over the lineages: ``{"lineage", "spki", "spki512", "algorithm", "made"}`` (data of
    ``3 1 1`` and ``3 1 2``, epoch)."""
    digests = {name: text.replace(":", "") for name, text in result["public_key_fingerprints"].items()}
    kind = result["type"].lower()
    return {"lineage": result["item"]["name"], "spki": digests["sha256"], "spki512": digests["sha512"],
            "algorithm": {"ecc": "ecdsa"}.get(kind, kind), "made": result["item"]["made"]}


class FilterModule:
    """The filters, each under the collection's name."""

    def filters(self):
        """Name to function (dict)."""
        functions = {
            "dane_publish": publish,
            "dane_withdraw": withdraw,
            "dane_absent": absent,
            "dane_agreed": _plan.agreed,
            "dane_soon": _operation.soon,
            "dane_views": views,
            "dane_linger_seconds": linger_seconds,
            "dane_memories": _plan.memories,
            "dane_candidates": _plan.candidates,
            "dane_awaited": _plan.awaited,
            "dane_issuer_pool": issuer_pool,
            "dane_owner_names": _role_options.owner_names,
            "dane_read_options": read_options,
            "dane_lineage": lineage,
            "dane_lineage_names": _lineages.directories,
            "dane_lineages_there": _lineages.there,
            "dane_served_types": _lineages.served,
            "dane_lineages": _lineages.of_algorithms,
            "dane_following": _lineages.following,
            "dane_parts": _lineages.parts,
            "dane_chain_files": _lineages.chain_files,
            "dane_standbys": _lineages.standbys,
            "dane_impossible_types": _lineages.impossible_types,
            "dane_impossible_store": impossible_store,
            "dane_standby_recipients": standby_recipients,
            "dane_used_keys": _operation.used_keys,
            "dane_not_exported": _operation.not_exported,
            "dane_only": only,
            "dane_problems": _plan.problems,
            "dane_looked_at": _plan.looked_at,
            "dane_owners": _plan.owners,
            "dane_decide": decide,
            "dane_schedule": schedule,
            "dane_gives_up": _operation.gives_up,
            "dane_burnt": _operation.burnt,
            "dane_warning": _operation.warning,
            "dane_until": _operation.until,
            "dane_duration": _role_options.duration,
            "dane_key_lifetime": _operation.key_lifetime,
            "dane_impossible_names": _elsewhere.impossible_names,
            "dane_owners_elsewhere": _elsewhere.owners_elsewhere,
            "dane_pinned_elsewhere": pinned_elsewhere,
            "dane_impossible_ages": _role_options.impossible_ages,
            "dane_damages": _late("_certbot", "damages"),
            "dane_impossible_authenticator": _late("_certbot", "impossible_authenticator"),
            "dane_impossible_notifications": _late("_notify", "impossible_notifications"),
            "dane_certbot_objections": _late("_certbot", "objections"),
            "dane_authenticator_arguments": _late("_certbot", "authenticator_arguments"),
            "dane_key_arguments": _late("_certbot", "key_arguments"),
            "dane_renewal_settings": _late("_certbot", "renewal_settings"),
            "dane_impossible_request": _late("_certbot", "impossible_request"),
            "dane_request_objections": _late("_certbot", "request_objections"),
            "dane_rfc2136_credentials": _late("_certbot", "rfc2136_credentials"),
            "dane_foreign": _plan.foreign,
            "dane_unknown_options": _role_options.unknown_options,
            "dane_not_shared": _role_options.not_shared,
            "dane_impossible_options": impossible_options,
            "dane_combinations": _role_options.combinations,
        }
        return {name: _filter(function) for name, function in functions.items()}
