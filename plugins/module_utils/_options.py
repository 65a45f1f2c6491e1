# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that several modules share, and what they become. Private to this collection."""

from __future__ import annotations

from . import _probe
from ._errors import DaneError
from ._rollover import Timing

TIMING = {
    "type": "dict",
    "default": {},
    "options": {name: {"type": "int", "default": default} for name, default in Timing()._asdict().items()},
}

NAMES = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "name": {"type": "str", "required": True},
        "addresses": {"type": "list", "elements": "str", "required": True},
        "ttl": {"type": "int", "default": 0},
    },
}

SERVICES = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "port": {"type": "int", "required": True},
        "starttls": {
            "type": "str", "default": "smtp", "choices": ["smtp", "imap", "pop3", "sieve", "lmtp", "none"],
        },
    },
}

WAIVE = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "what": {"type": "str", "required": True, "choices": ["server", "endpoint"]},
        "name": {"type": "str", "required": True},
        "until": {"type": "str", "required": True},
        "reason": {"type": "str", "required": True},
    },
}


def timing(options):
    """The option ``timing`` as :class:`_rollover.Timing` (seconds; ``factor`` is a count of TTLs).

    :raises DaneError: a factor below 1 or a negative time.
    """
    made = Timing(**{name: value for name, value in (options or {}).items() if value is not None})
    for name, value in made._asdict().items():
        if value < (1 if name == "factor" else 0):
            raise DaneError(f"Cannot use timing {name}={value}: it must be at least {1 if name == 'factor' else 0}")
    return made


def endpoints(names, services):
    """Every endpoint under some base domains: each address, port, key algorithm and server name.

    :param names: list of ``{"name", "addresses"}``, with ``ttl`` (seconds) how long caches may lead to the addresses.
    :param services: list of ``{"port", "starttls"}``.
    :returns: list of endpoint dicts for ``_probe.look``.
    :raises DaneError: a base domain without an address.
    """
    found = []
    for entry in names:
        if not entry["addresses"]:
            raise DaneError(f"Cannot look at {entry['name']!r}: it has no address")
        found += [{**endpoint, "ttl": entry.get("ttl") or 0}
                  for endpoint in _probe.endpoints_of(entry["name"], entry["addresses"], services)]
    return found


def required(spec):
    """The same option, to be given by the caller."""
    return {**{key: value for key, value in spec.items() if key != "default"}, "required": True}
