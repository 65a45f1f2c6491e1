# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The senders' logs as values: every delivery that Postfix attempted, and what every Unbound fetched.

Postfix's smtp process logs, for one delivery at a time (so its process id links the lines)::

    postfix/smtp[77]: Verified TLS connection established to mx1.example.test[10.99.0.21]:25: TLSv1.3 with ...
    postfix/smtp[77]: 4F2A: to=<t@mx1-only.example.test>, relay=mx1.example.test[10.99.0.21]:25, ..., status=sent (...)

Instead of *Verified* it can be Trusted, Untrusted or Anonymous. A mismatch under ``dane-only`` ends in
``dsn=4.7.5, status=deferred (Server certificate not trusted)``. When a further address is left to try, only
``4F2A: Server certificate not trusted`` is logged for the first one: a *stumble*, which makes the delivery a failure
here although the message may still get through.
"""

from __future__ import annotations

import datetime
import re
from typing import NamedTuple

_LINE = re.compile(
    r"^(?P<stamp>\d{4}-\d\d-\d\dT\S+|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d(?:\.\d+)?) (?P<host>\S+) "
    r"(?P<instance>postfix[^/\s]*)/(?P<service>[\w/-]+)\[(?P<pid>\d+)\]: (?P<text>.*)$"
)
_TLS = re.compile(r"^(?:[0-9A-Za-z]+: )?(?P<level>\w+) TLS connection established to (?P<peer>\S+\[\S+\]:\d+):")
_STATUS = re.compile(
    r"^(?P<qid>[0-9A-Za-z]+): to=<(?P<to>[^>]*)>,.*? relay=(?P<relay>[^,]+),.*? dsn=(?P<dsn>[\d.]+), "
    r"status=(?P<status>\w+) \((?P<reason>.*)\)$"
)
_ACTIVE = re.compile(r"^(?P<qid>[0-9A-Za-z]+): from=<.*\(queue active\)$")
# what the smtp process says about an address it gives up while others are left (its text ends the try there)
_STUMBLE = re.compile(
    r"^(?P<qid>[0-9A-Za-z]+): (?P<reason>Server certificate not (?:trusted|verified).*|Cannot start TLS.*|"
    r"TLS is required.*|TLSA lookup error.*|no TLSA.*|non DNSSEC.*|.*DANE.*)$"
)
_WARNING = re.compile(r"^warning: (?P<reason>.*(?:TLSA|DANE|TLS library problem|certificate).*)$")
# log-replies: client, name, type, class, rcode, seconds, answered from the cache, size; through syslog or bare
_REPLY = re.compile(
    r"^(?:\[(?P<epoch>\d+)\] unbound|(?P<stamp>\d{4}-\d\d-\d\dT\S+|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d) \S+ unbound\S* )"
    r"\[\d+:\S+\] (?:info|reply): (?:reply: )?\S+ (?P<name>\S+) TLSA IN (?P<rcode>\w+) [\d.]+ (?P<cached>[01]) \d+"
)


class Delivery(NamedTuple):
    """One outcome that a sender logged.

    ``resolution`` is the width of the log's clock (1 s in the classic form): it happened within [at, at+resolution).
    """

    sender: str
    host: str
    at: float
    resolution: float
    verified: bool
    status: str
    reason: str
    stumbled: bool = False

    @property
    def failed(self):
        """Sent without verification, or only after another address had failed, is a failure too."""
        return self.stumbled or not (self.verified and self.status == "sent")


class Fetch(NamedTuple):
    """A TLSA answer that a sender's Unbound had to fetch (not from its cache)."""

    sender: str
    owner: str
    at: float
    resolution: float


def _epoch(stamp, near):
    """Epoch and resolution of a log stamp. The classic form has no year: the one nearest to ``near``; UTC."""
    if stamp[0].isdigit():
        when = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00"))
        if when.tzinfo is None:
            when = when.replace(tzinfo=datetime.timezone.utc)
        return when.timestamp(), (0.001 if "." in stamp else 1.0)
    year = datetime.datetime.fromtimestamp(near, datetime.timezone.utc).year
    best = None
    for candidate in (year - 1, year, year + 1):
        form = "%Y %b %d %H:%M:%S.%f" if "." in stamp else "%Y %b %d %H:%M:%S"
        try:
            when = datetime.datetime.strptime(f"{candidate} {stamp}", form)
        except ValueError:  # 29 February
            continue
        epoch = when.replace(tzinfo=datetime.timezone.utc).timestamp()
        if best is None or abs(epoch - near) < abs(best - near):
            best = epoch
    return best, (0.001 if "." in stamp else 1.0)


class PostfixLog:
    """Reads one sender's mail log line by line.

    :param sender: its name.
    :param domains: {recipient domain: mail host}; other recipients (bounces, root's mail) are none of our business.
    :param near: an epoch near the log's time, for stamps without a year.
    """

    def __init__(self, sender, domains, near):
        self.sender, self.domains, self.near = sender, domains, near
        self.deliveries = []
        self.queued = {}
        self._levels = {}
        self._warnings = {}
        self._stumbling = {}

    def feed(self, lines):
        """Take in the lines of a log."""
        for line in lines:
            found = _LINE.match(line.rstrip("\n"))
            if found:
                at, resolution = _epoch(found["stamp"], self.near)
                self._line(found["service"], found["pid"], found["text"], at, resolution)

    def _line(self, service, pid, text, at, resolution):
        tls = _TLS.match(text)
        if tls:
            self._levels.setdefault(pid, {})[tls["peer"]] = tls["level"]
            return
        active = _ACTIVE.match(text)
        if active:
            self.queued.setdefault(active["qid"], at)
            return
        status = _STATUS.match(text)
        if status:
            self._outcome(status, pid, at, resolution)
            return
        if service.rpartition("/")[2] not in ("smtp", "lmtp"):
            return
        warning = _WARNING.match(text)
        if warning:
            self._warnings[pid] = warning["reason"]
            return
        stumble = _STUMBLE.match(text)
        if stumble:
            self._stumbling.setdefault(pid, []).append((stumble["qid"], stumble["reason"]))

    def _outcome(self, status, pid, at, resolution):
        levels = self._levels.pop(pid, {})
        warning = self._warnings.pop(pid, "")
        stumbles = [reason for qid, reason in self._stumbling.pop(pid, []) if qid == status["qid"]]
        self.queued.pop(status["qid"], None)
        host = self.domains.get(status["to"].rpartition("@")[2].lower())
        if host is None:
            return
        level = levels.get(status["relay"])
        verified = level == "Verified"
        reason = "" if verified and status["status"] == "sent" else status["reason"]
        if status["status"] == "sent" and not verified:
            reason = f"sent, but the TLS connection was {level or 'none'}, not Verified"
        elif stumbles and not reason:
            reason = f"{stumbles[0]}, at another address of the host"
        elif reason and warning:
            reason = f"{reason}; {warning}"
        self.deliveries.append(
            Delivery(self.sender, host, at, resolution, verified, status["status"], reason, bool(stumbles))
        )


def fetches(lines, sender, near):
    """The TLSA fetches in an Unbound log with ``log-replies: yes`` (list of Fetch), a file of its own or syslog's."""
    found = []
    for line in lines:
        reply = _REPLY.match(line)
        if reply and reply["cached"] == "0" and reply["rcode"] == "NOERROR":
            at, resolution = (float(reply["epoch"]), 1.0) if reply["epoch"] else _epoch(reply["stamp"], near)
            found.append(Fetch(sender, reply["name"].lower().rstrip(".") + ".", at, resolution))
    return found
