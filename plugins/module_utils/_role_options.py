# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the roles: which there are, and what is wrong with a value, all of it at once and before anything is done.

Pure. Private to this collection. The options of modules are checked by Ansible, and by ``_options``.
"""

from __future__ import annotations

import difflib
import ipaddress
import re

from ._errors import DaneError, PlanError
from ._operation import OFFLINE
from ._plan import expressible
from ._tlsa import DANE_EE, DANE_TA, Combination, Record, owner_name, unusable_reason


# What a run says to whoever comes back. AWX gives it to the later nodes of a workflow as a variable.
ARTIFACT = "dane_result"
# One look, one update and one wait are made for all hosts of a run, by what one of them says.
SHARED = (
    "dane_publisher", "dane_dns_server", "dane_dns_port", "dane_tsig", "dane_dns_host", "dane_dns_python", "dane_resolvers",
    "dane_extra_servers", "dane_ip_versions", "dane_dns_timeout", "dane_wait", "dane_wait_timeout", "dane_wait_interval",
    "dane_ttl_factor", "dane_ttl_floor", "dane_ttl_slack", "dane_ttl_ceiling", "dane_rekey", "dane_reason", "dane_override",
)
MOST_SPREAD = 50
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


def unknown_options(given, known):
    """One sentence for every variable that looks like an option and is none (list of str).

    :param given: names of variables. :param known: names of options. ``dane_private_*`` is the user's own.
    """
    found = []
    for name in sorted(set(given) - set(known) - {ARTIFACT}):
        if name.startswith("dane_") and not name.startswith("dane_private_"):
            near = difflib.get_close_matches(name, sorted(known), 1)
            found.append(f"unknown option {name}" + (f", did you mean {near[0]}?" if near else ""))
    return found


def not_shared(mine, first):
    """Options of which a run takes one value for all its hosts, and that two of its hosts give differently (list of str).

    :param mine: the variables of a host. :param first: those of the first host of the run, whose value would be taken.
    """
    return [name for name in SHARED if mine.get(name) != first.get(name)]


def option_names(specifications):
    """The names of all options in a role's argument specifications (the parsed meta/argument_specs.yml; list of str)."""
    return sorted({name for entry in specifications["argument_specs"].values() for name in entry.get("options") or {}})


def impossible_options(records, base_domains, services, pool=(), endpoints=None):
    """One sentence for every option whose value cannot be used, as :func:`combinations`, :func:`owner_names`,
    :func:`check_pool` and :func:`check_endpoints` say it."""
    found = []
    for option, check in (
        ("dane_records", lambda: combinations(records)),
        ("dane_names, dane_services", lambda: owner_names(base_domains, services)),
        ("dane_issuer_pool", lambda: check_pool(pool, records)),
        ("dane_endpoints", lambda: check_endpoints({} if endpoints is None else endpoints, base_domains)),
    ):
        try:
            check()
        except DaneError as exc:
            found.append(f"{option}: {exc.message}")
    return found


def combinations(texts):
    """Check the option ``dane_records``: what can be kept published through a rekey.

    :raises RecordError: not a combination. :raises PlanError: one that SMTP senders ignore or that this collection
        does not keep yet.
    """
    for text in texts:
        combination = Combination.parse(text)
        reason = unusable_reason(Record(*combination, "00" * {0: 1, 1: 32, 2: 64}[combination.mtype]))
        if reason:
            raise PlanError(f"Cannot keep {text!r} published: {reason}")
        if not expressible(combination):
            raise PlanError(f"Cannot keep {text!r} published: it changes with every renewal or is too large (RFC 7671 "
                            f"sections 5.1 and 10.1); use {'2 1 1' if combination.usage == DANE_TA else '3 1 1'}")
    if not texts:
        raise PlanError("Cannot keep no record at all published: dane_records is empty; use 3 1 1")
    return [str(Combination.parse(text)) for text in texts]


def owner_names(base_domains, services):
    """The owner names of a host: each base domain with each port (list of str).

    :raises RecordError: not a host name, or not a port.
    """
    return [owner_name(name, service["port"]) for name in base_domains for service in services]


def check_pool(pool, records):
    """Check the option ``dane_issuer_pool``: issuers are published ahead only where records on issuers are.

    :param pool: what it names (list). :param records: ``dane_records``. :raises PlanError: without any on an issuer.
    """
    if pool and not any(Combination.parse(text).usage == DANE_TA for text in records):
        raise PlanError("Cannot publish issuers ahead: dane_records has no combination on an issuer, such as 2 1 1")


def check_endpoints(endpoints, base_domains):
    """Check the option ``dane_endpoints``: base domain to the addresses at which its endpoints are looked at.

    :param base_domains: ``dane_names``. :raises PlanError: of another name, or no address.
    """
    if not isinstance(endpoints, dict):
        raise PlanError(f"Cannot look at {endpoints!r:.80}: expected base domains, each with a list of addresses")
    ours = {str(name).rstrip(".").lower() for name in base_domains}
    for name, addresses in endpoints.items():
        if str(name).rstrip(".").lower() not in ours:
            raise PlanError(f"Cannot look at the endpoints of {name!r:.80}: dane_names has {', '.join(sorted(ours))}")
        try:
            if not isinstance(addresses, list) or not addresses:
                raise ValueError(f"expected a list of addresses, found {addresses!r:.80}")
            for address in addresses:
                ipaddress.ip_address(address)
        except ValueError as exc:
            raise PlanError(f"Cannot look at the endpoints of {name!r}: {exc}") from exc


def duration(text):
    """An option such as ``365d`` in seconds (int): a number of hours (h), days (d) or weeks (w).

    Minutes and months are no units here: what ``3m`` means depends on who reads it.

    :raises PlanError: something else, or nothing.
    """
    found = re.fullmatch("([0-9]{1,5})([hdw])", str(text).strip())
    if not found or not int(found.group(1)):
        raise PlanError(f"Cannot use {text!r:.40} as an age: expected a number of hours, days or weeks, such as 8760h, 365d "
                        "or 52w")
    return int(found.group(1)) * _HOURS[found.group(2)] * 3600


def impossible_ages(max_age, spread):
    """One sentence for each of ``dane_key_max_age`` and ``dane_key_spread`` that cannot be used (list of str)."""
    found = []
    try:
        duration(max_age)
    except PlanError as exc:
        found.append(f"dane_key_max_age: {exc.message}")
    if not re.fullmatch("[0-9]{1,2}", str(spread)) or int(spread) > MOST_SPREAD:
        found.append(f"dane_key_spread: Cannot use {spread!r:.40}: expected per cent of dane_key_max_age, 0 to {MOST_SPREAD}")
    return found


def impossible_store(store, method, combinations_wanted, key_types, export):
    """One sentence for everything that stands in the way of ``dane_standby_store`` (list of str).

    :param store: the option. :param method: ``dane_certbot_method``. :param combinations_wanted: ``dane_records`` (list of
        text, checked). :param key_types: ``dane_key_types``. :param export: ``dane_standby_export``.
    """
    if store != OFFLINE:
        return []
    found = []
    if method != "csr":
        found.append("certbot takes no key that it has not made into a lineage of its own, so the key could never be used: "
                     "expected dane_certbot_method: csr")
    if not any(Combination.parse(text).usage == DANE_EE for text in combinations_wanted):
        found.append("records on issuers wait for no key: expected 3 1 1 in dane_records, or dane_standby: false")
    if len(key_types) > 1:
        found.append(f"found {' and '.join(map(str, key_types))} in dane_key_types, expected one: one key can be brought back")
    if not re.match("[/~]", str(export)):
        found.append(f"found {str(export)!r:.100} in dane_standby_export, expected a directory on the controller by its whole "
                     "path: where the host cannot lose the key")
    return [f"dane_standby_store: Cannot keep a standby key offline: {problem}" for problem in found]
