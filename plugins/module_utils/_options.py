# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that several modules share, and what they become. Private to this collection."""

from __future__ import annotations

import re

from . import _probe
from ._errors import DaneError, LedgerError, RecordError
from ._memory import Name
from ._rollover import Timing
from ._tlsa import Record, owner_name

# A daemon that has not come up after an hour will not.
MOST_HANDSHAKE_SECONDS = 3600

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
        "problem": {"type": "str", "default": ""},
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

OVERRIDE = {
    "type": "dict",
    "options": {
        "names": {"type": "list", "elements": "str", "required": True},
        "until": {"type": "str", "required": True},
        "reason": {"type": "str", "required": True},
    },
}


def timing(options):
    """The option ``timing`` as :class:`_rollover.Timing` (seconds; ``factor`` is a count of TTLs).

    It may come from a file as well, where nobody checked it.

    :raises DaneError: an unknown name, no whole number, a factor below 1 or a negative time.
    """
    if not isinstance(options or {}, dict):
        raise DaneError(f"Cannot use timing {options!r:.100}: expected a dictionary")
    given = {name: value for name, value in (options or {}).items() if value is not None}
    unknown = sorted(set(given) - set(Timing._fields))
    if unknown:
        raise DaneError(f"Cannot use timing {unknown[0]!r:.60}: it is none of {', '.join(Timing._fields)}")
    for name, value in given.items():
        least = 1 if name == "factor" else 0
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 31:
            raise DaneError(f"Cannot use timing {name}={value!r:.60}: it must be a whole number, at least {least}")
    return Timing(**given)


def handshake_timeout(seconds):
    """How long the daemon may take to present a new chain (seconds, int).

    :raises DaneError: no whole number, negative, or beyond sense.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 0 <= seconds <= MOST_HANDSHAKE_SECONDS:
        raise DaneError(f"Cannot use handshake_timeout={seconds!r:.60}: expected seconds, 0 to {MOST_HANDSHAKE_SECONDS}")
    return seconds


def paths(*given):
    """Paths that may be none (None).

    :raises DaneError: one that no file can have.
    """
    for path in given:
        if path is not None and "\0" in path:
            raise DaneError(f"Cannot use {path!r:.200}: a path has no NUL in it")


def looks(given):
    """The option ``looks``: a list of looks at the DNS, each of which a memory could take in.

    :raises LedgerError: one of them is none; it names which and what is wrong.
    """
    for number, look in enumerate(given):
        try:
            if not isinstance(look, dict) or not isinstance(look.get("owner"), str):
                raise LedgerError(f"expected a dictionary with owner, found {look!r:.80}")
            Name(look["owner"]).observe(look, Timing())
        except LedgerError as exc:
            raise LedgerError(f"Cannot use looks[{number}]: {exc.message}. Give it as tlsa_wait returns it, in "
                              "names[].look") from exc
    return given


def published(given):
    """The option ``published``: owner name to a list of records.

    :raises RecordError: it is not.
    """
    for owner, records in given.items():
        if not isinstance(records, list) or not all(isinstance(text, str) for text in records):
            raise RecordError(f"Cannot use published[{owner!r}]: expected a list of records such as '3 1 1 ...', found "
                              f"{records!r:.80}")
        for text in records:
            Record.parse(text)
    return given


def key_digests(given, option):
    """An option that lists keys by their SHA-256 digests.

    :raises LedgerError: something else is in it. Written down, it would never be found again.
    """
    for digest in given:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise LedgerError(f"Cannot use {option}={digest!r:.80}: expected the SHA-256 of a public key, 64 hex digits in "
                              "lower case")
    return given


def endpoints(names, services):
    """Every endpoint under some base domains: each address, port, key algorithm and server name.

    :param names: list of ``{"name", "addresses"}``, with ``ttl`` (seconds) how long caches may lead to the addresses.
    :param services: list of ``{"port", "starttls"}``.
    :returns: list of endpoint dicts for ``_probe.look``.
    :raises DaneError: a base domain without an address.
    """
    found = []
    for entry in names:
        for service in services:
            # Only for what it refuses.
            owner_name(entry["name"], service["port"])
        if not entry["addresses"]:
            raise DaneError(f"Cannot look at {entry['name']!r}: {entry.get('problem') or 'it has no address'}")
        ttl = entry.get("ttl") or 0
        if not isinstance(ttl, int) or not 0 <= ttl < 1 << 32:
            raise DaneError(f"Cannot look at {entry['name']!r}: ttl {ttl!r:.60} is not in 0..4294967295")
        found += [{**endpoint, "ttl": entry.get("ttl") or 0}
                  for endpoint in _probe.endpoints_of(entry["name"], entry["addresses"], services)]
    return found


def required(spec):
    """The same option, to be given by the caller."""
    return {**{key: value for key, value in spec.items() if key != "default"}, "required": True}
