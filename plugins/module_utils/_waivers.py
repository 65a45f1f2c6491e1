# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waivers: what an operator declares gone for good, for how long and why, so that nothing waits for its word.

Pure, standard library only. Private to this collection.
"""

from __future__ import annotations

import datetime
from typing import NamedTuple

from ._errors import WaiverError


class Waiver(NamedTuple):
    """An operator's word that a silent ``server`` or ``endpoint`` need not be heard, until a time (epoch seconds)."""

    what: str
    name: str
    until: float
    reason: str

    def __str__(self):
        day = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=self.until - 1)
        return f"{self.what} {self.name} until {day:%Y-%m-%d}: {self.reason}"


def parse_waivers(options):
    """Read ``[{"what": "server", "name": "192.0.2.1", "until": "2026-12-31", "reason": "..."}]``.

    :returns: tuple of :class:`Waiver`; ``until`` includes the whole day named, UTC.
    :raises WaiverError: an entry that lacks something, or whose day is none.
    """
    found = []
    if not isinstance(options or (), (list, tuple)):
        raise WaiverError(f"Cannot use the waivers {options!r:.80}: expected a list of dictionaries")
    for entry in options or ():
        given = entry if isinstance(entry, dict) else {}
        missing = [part for part in Waiver._fields if not str(given.get(part) or "").strip()]
        if missing or entry["what"] not in ("server", "endpoint"):
            raise WaiverError(
                f"Cannot use waiver {entry!r}: expected what (server or endpoint), name (its address), until "
                f"(YYYY-MM-DD) and reason" + (f"; {', '.join(missing)} is missing" if missing else ""))
        try:
            # Newer Pythons would take other forms as well.
            day = datetime.datetime.strptime(str(entry["until"]).strip(), "%Y-%m-%d").date()
        except ValueError as exc:
            raise WaiverError(f"Cannot use waiver {entry!r}: until is not a day such as 2026-12-31: {exc}") from exc
        until = ((day - datetime.date(1970, 1, 1)).days + 1) * 86400.0
        found.append(Waiver(entry["what"], str(entry["name"]).strip(), until, str(entry["reason"]).strip()))
    return tuple(found)


def waive_servers(look, waivers, now):
    """The look with the outcome ``waived`` for silent and lame servers that a waiver in force names, by address or name.

    A server that answers needs no waiver: what it gives counts, waived or not. One that is not in the look, because
    nothing leads to it any more, can be waived by its address.
    """
    servers = [
        {"address": waiver.name, "outcome": "waived", "detail": f"waived, {waiver}", "name": "", "version": None, "left": True}
        for waiver in waivers if waiver.what == "server" and now < waiver.until
        and waiver.name not in {server["address"].partition(" ")[0] for server in look["servers"]}
    ]
    for server in look["servers"]:
        if server["outcome"] != "version":
            names = {server["address"].partition(" ")[0], str(server.get("name") or "").rstrip(".")}
            server = _waive(server, "server", names, waivers, now)
        servers.append(server)
    return {**look, "servers": servers}


def waive_endpoints(outcomes, waivers, now):
    """The outcomes with ``waived`` for silent endpoints whose address a waiver in force names."""
    return [
        _waive(outcome, "endpoint", {outcome["endpoint"]["address"]}, waivers, now)
        if outcome["outcome"] == "silent" else outcome
        for outcome in outcomes
    ]


def _waive(found, what, names, waivers, now):
    for waiver in waivers:
        if waiver.what == what and waiver.name.rstrip(".") in names:
            if now < waiver.until:
                return {**found, "outcome": "waived", "detail": f"waived, {waiver} (was: {found['detail']})"}
            return {**found, "detail": f"{found['detail']}; the waiver has run out: {waiver}"}
    return found
