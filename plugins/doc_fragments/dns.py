# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that all modules which talk to name servers share. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
requirements:
  - dnspython >= 2.2, and for dnspython's DNSSEC support a recent enough cryptography (dnspython 2.6 needs 41, 2.7
    needs 43, 2.8 needs 45), on the host that runs the task
options:
  resolver:
    description:
      - Addresses of validating resolvers, tried in turn, as V(ADDRESS) or V(ADDRESS@PORT), for instance V(192.0.2.53),
        V(2001:db8::53) or V(127.0.0.1@5353).
      - What they call authentic (the AD bit) is believed, so the way to them has to be trusted too.
      - The default is the system's resolver, from C(/etc/resolv.conf).
    type: list
    elements: str
  extra_servers:
    description:
      - Addresses of servers to ask as authoritative ones besides those in NS records, in the form of O(resolver).
        For instance a hidden primary, or single machines behind an anycast address.
    type: list
    elements: str
    default: []
  ip_versions:
    description:
      - The address families that the host which runs the task can reach. Name server addresses of the others are left
        out.
    type: list
    elements: int
    choices: [4, 6]
    default: [4, 6]
  query_timeout:
    description:
      - How long to wait for the answer to one question, in seconds. A server that does not answer is asked three times,
        the last time over TCP.
    type: float
    default: 2.0
"""
