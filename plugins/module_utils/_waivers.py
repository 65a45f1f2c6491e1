# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes at an operator's word, until a day and for a reason that are shown wherever it is used.

Waivers declare a server or an endpoint gone for good, so that nothing waits for it. The override turns a no into a yes.

Pure, standard library only. Private to this collection.
"""

from __future__ import annotations

import datetime
import ipaddress
from typing import FrozenSet, NamedTuple

from ._errors import WaiverError
from ._rollover import Answer


class Waiver(NamedTuple):
    """An operator's word that a silent ``server`` or ``endpoint`` need not be heard, until a time (epoch seconds)."""

    what: str
    name: str
    until: float
    reason: str

    def __str__(self):
        return f"{self.what} {self.name} until {_day(self.until)}: {self.reason}"


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
        until = _end_of(entry["until"], f"waiver {entry!r}")
        found.append(Waiver(entry["what"], _as_written(str(entry["name"]).strip()), until, str(entry["reason"]).strip()))
    return tuple(found)


def _as_written(name):
    """An address as looks write it, and a name in lower case."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name.lower()


def _end_of(day, whose):
    """The end of a day, UTC (seconds since the epoch)."""
    try:
        # Newer Pythons would take other forms as well.
        date = datetime.datetime.strptime(str(day).strip(), "%Y-%m-%d").date()
    except ValueError as exc:
        raise WaiverError(f"Cannot use {whose}: until is not a day such as 2026-12-31: {exc}") from exc
    return ((date - datetime.date(1970, 1, 1)).days + 1) * 86400.0


def _day(until):
    return f"{datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=until - 1):%Y-%m-%d}"


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
    # One that is in force counts, whatever ran out beside it.
    for waiver in sorted(waivers, key=lambda waiver: waiver.until, reverse=True):
        if waiver.what == what and waiver.name.rstrip(".") in names:
            if now < waiver.until:
                return {**found, "outcome": "waived", "detail": f"waived, {waiver} (was: {found['detail']})"}
            return {**found, "detail": f"{found['detail']}; the waiver has run out: {waiver}"}
    return found


class Override(NamedTuple):
    """An operator's word that a no counts as yes at these base domains, until a time (epoch seconds)."""

    names: FrozenSet[str]
    until: float
    reason: str


def parse_override(option):
    """Read ``{"names": ["mx1.example.org"], "until": "2026-12-31", "reason": "..."}``.

    :returns: :class:`Override`, or None for nothing; ``until`` includes the whole day named, UTC.
    :raises WaiverError: it lacks something, or its day is none.
    """
    if not option:
        return None
    given = option if isinstance(option, dict) else {}
    names, reason = given.get("names"), str(given.get("reason") or "").strip()
    if not (names and isinstance(names, (list, tuple)) and all(isinstance(name, str) and name.strip(". ") for name in names)
            and reason):
        raise WaiverError(f"Cannot use the override {option!r:.200}: expected names (a list of base domains), until "
                          "(YYYY-MM-DD) and reason")
    return Override(frozenset(map(_base, names)), _end_of(given.get("until"), f"the override {option!r:.200}"), reason)


def _base(name):
    return name.strip().rstrip(".").lower()


def at_your_word(answer, override, now):
    """The answer, a no turned into a yes where an override in force names the base domain of every reason for it.

    Never for an RRset that would be left without a usable record: that is an outage whatever anybody says, and nothing
    that stands in the way needs it.

    :param answer: ``_rollover.Answer``. :param override: :class:`Override`, or None. :param now: seconds since the epoch.
    :returns: ``_rollover.Answer``, with the verdict ``at your word`` and what was against it as its reasons.
    """
    if answer.yes or override is None:
        return answer
    bases = {_base(reason["owner"].split(".", 2)[-1]) for reason in answer.reasons}
    if not bases <= override.names or any(reason["code"] == "empty" for reason in answer.reasons):
        return answer
    word = f"the override until {_day(override.until)} ({override.reason})"
    first = answer.reasons[0]
    if now >= override.until:
        ended = {**first, "code": "override-ended", "text": f"{first['owner']}: {word} has run out"}
        return answer._replace(reasons=answer.reasons + (ended,))
    taken = {**first, "code": "override", "text": f"{first['owner']}: taken all the same, by {word}"}
    return Answer("at your word", answer.reasons + (taken,))
