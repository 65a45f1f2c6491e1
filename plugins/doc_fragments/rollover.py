# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of the modules that ask what may still be seen. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """``extends_documentation_fragment: mailops.dane.rollover``; the specifications are in ``_options``."""

    DOCUMENTATION = r"""
options:
  waive:
    description:
      - Silent servers and endpoints that need not be heard, each until a day and for a reason.
      - One that answers needs no waiver. What it gives counts all the same.
    type: list
    elements: dict
    default: []
    suboptions:
      what:
        description: What is waived.
        type: str
        required: true
        choices: [server, endpoint]
      name:
        description: Its address, or the name of the server.
        type: str
        required: true
      until:
        description: The last day (UTC) on which the waiver holds, such as V(2026-12-31).
        type: str
        required: true
      reason:
        description: Why. It is shown wherever the waiver is used.
        type: str
        required: true
  timing:
    description: How long things may still be seen after they went.
    type: dict
    default: {}
    suboptions:
      factor:
        description: How many TTLs (RFC 7671 section 8.1).
        type: int
        default: 2
      floor:
        description: The least time to wait for caches, in seconds.
        type: int
        default: 900
      slack:
        description: Added to each lifetime, in seconds.
        type: int
        default: 120
      linger:
        description: How long a chain may be met after the last endpoint stopped presenting it, in seconds.
        type: int
        default: 300
      ceiling:
        description: How long a record from before the first look may be in caches, in seconds.
        type: int
        default: 86400
      view_max_age:
        description: How old a look may be to count as one at the present, in seconds.
        type: int
        default: 60
      look_max_age:
        description: How old the last look in a ledger may be before it no longer counts as complete, in seconds.
        type: int
        default: 604800
      lame_looks:
        description: How many looks must find a server without authority before it no longer counts.
        type: int
        default: 3
      lame_seconds:
        description: The time over which they must be spread, in seconds.
        type: int
        default: 600
"""
