# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's hosts: one table of names, addresses and roles; everything else is derived from it.

A role is a directory below ``files/``: ``rootfs/`` is laid over the host's file system before its systemd starts,
``first-boot`` runs once after that, and the units listed here are enabled.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

ZONE = "example.test"
TTL = 10
IMAGE_NAME = "localhost/mailops-dane-lab"
NETWORK = "dane-lab"
PREFIX4 = "10.99.0."
PREFIX6 = "fd99:0:0:1::"
CONTROLLER4 = PREFIX4 + "1"
CONTROLLER6 = PREFIX6 + "1"

ROLE_UNITS = {
    "common": ["ssh.service"],
    "root": ["named.service"],
    "primary": ["named.service"],
    "nsd": ["nsd.service"],
    "knot": ["knot.service"],
    "lag": [],
    "unbound": ["unbound.service"],
    "acme": ["pebble@1.service", "pebble@2.service"],
    "mail": ["postfix.service", "rsyslog.service"],
    "sender": ["postfix.service", "rsyslog.service"],
}


@dataclass(frozen=True)
class Host:
    """One container."""

    short: str
    number: int
    roles: tuple
    dns: str = PREFIX4 + "3"

    @property
    def name(self):
        """The host's name in the lab's DNS."""
        return f"{self.short}.{ZONE}"

    @property
    def ipv4(self):
        return PREFIX4 + str(self.number)

    @property
    def ipv6(self):
        return PREFIX6 + str(self.number)

    @property
    def mac(self):
        """Stays when the host is made anew, so that its neighbours need not learn it again (up to eight seconds)."""
        return f"02:00:0a:63:00:{self.number:02x}"

    @property
    def container(self):
        return f"{NETWORK}-{self.short}"

    @property
    def units(self):
        """The systemd units that this host enables."""
        return [unit for role in ("common", *self.roles) for unit in ROLE_UNITS[role]]


HOSTS = {
    host.short: host
    for host in (
        Host("root", 2, ("root",)),
        Host("resolver", 3, ("unbound",), dns="127.0.0.1"),
        # A CA asks a resolver of its own, which keeps nothing for long (see trees.py).
        Host("acme", 4, ("unbound", "acme"), dns="127.0.0.1"),
        Host("ns0", 11, ("primary",)),
        Host("ns1", 12, ("nsd", "lag")),
        Host("ns2", 13, ("knot", "lag")),
        Host("mx1", 21, ("mail",)),
        Host("mx2", 22, ("mail",)),
        # With two there is none in the middle.
        *([Host("mx3", 23, ("mail",))] if os.environ.get("DANE_LAB_MAIL_HOSTS") == "3" else []),
        Host("s1", 31, ("unbound", "sender"), dns="127.0.0.1"),
        Host("s2", 32, ("unbound", "sender"), dns="127.0.0.1"),
        Host("s3", 33, ("unbound", "sender"), dns="127.0.0.1"),
    )
}


def with_role(role):
    """All hosts that have this role, in the table's order."""
    return [host for host in HOSTS.values() if role in host.roles]


NAMESERVERS = [HOSTS["ns0"], HOSTS["ns1"], HOSTS["ns2"]]
SECONDARIES = with_role("lag")
MAIL_HOSTS = with_role("mail")
SENDERS = with_role("sender")
# But that of the CA, which answers nobody else.
RESOLVERS = [host for host in with_role("unbound") if "acme" not in host.roles]


def mail_domain(host):
    """The mail domain whose only MX is this host, so that a sender can be sure which one it reaches."""
    return f"{host.short}-only.{ZONE}"


def phase(sender):
    """Seconds by which a sender starts later than the first, so that their caches expire at different times."""
    return round(SENDERS.index(sender) * TTL / len(SENDERS), 1)
