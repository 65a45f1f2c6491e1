# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may not change behind anybody's back: the zone on every server, the files on a mail host."""

from __future__ import annotations

import subprocess

import hosts
import zone
from ready import ssh_command

# dpkg's list of packages tells whether one was installed.
DIRECTORIES = (
    "/etc/postfix /etc/letsencrypt /etc/mailops-dane /etc/systemd/system /usr/local /var/lib/mailops-dane"
    " /var/lib/dpkg/status"
)
LIST_FILES = rf"""
cd /
find {DIRECTORIES} -printf '%p|%y %m %u:%g %l\n' 2>/dev/null
find {DIRECTORIES} -type f -exec sha256sum {{}} + 2>/dev/null | sed 's/^\([0-9a-f]*\)  \(.*\)$/\2|sha256 \1/'
"""


def tlsa_records(names):
    """The TLSA records of base domains at every authoritative server address.

    :param names: base domains, for their port 25.
    :returns: ``{"_25._tcp.mx1.example.test. ns0 10.99.0.11": ["3 1 1 ab...", ...]}``; None where no server answered.
    """
    found = {}
    for name in names:
        owner = f"_25._tcp.{name}."
        for server in hosts.NAMESERVERS:
            for address in (server.ipv4, server.ipv6):
                found[f"{owner} {server.short} {address}"] = _ask(address, owner)
    return found


def _ask(address, owner):
    answer = zone.ask(address, owner, "TLSA")
    if answer is None:
        return None
    return sorted(
        f"{rdata.usage} {rdata.selector} {rdata.mtype} {rdata.cert.hex()}"
        for rrset in answer.answer if rrset.rdtype.name == "TLSA" for rdata in rrset)


def zone_content(name=hosts.ZONE):
    """Everything in the zone on the primary but what signing adds: {"owner type": [TTL, record, ...]}."""
    return {f"{owner} {kind}": [ttl, *sorted(records)] for (owner, kind), (ttl, records) in zone.content(name).items()}


def files(host):
    """Everything that the collection could touch on a mail host: {path: [kind, mode, owner and link, digest]}.

    :param host: short name.
    """
    said = execute(host, LIST_FILES)
    found = {}
    for line in sorted(said.splitlines()):
        path, _bar, about = line.partition("|")
        found.setdefault(path, []).append(about)
    return found


def execute(host, script):
    """What a script for the shell of a mail host prints, run there by root.

    :param host: short name.
    """
    done = subprocess.run([*ssh_command(hosts.HOSTS[host]), script], check=False, capture_output=True, timeout=60,
                          text=True)
    if done.returncode not in (0, 1):
        raise OSError(f"{host}: exit status {done.returncode}: {done.stderr}")
    return done.stdout
