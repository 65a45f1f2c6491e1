# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option of the modules that ask one of the two questions. Private to this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """``extends_documentation_fragment: mailops.dane.override``; the specification is in ``_options``."""

    DOCUMENTATION = r"""
options:
  override:
    description:
      - A no counts as a yes at some base domains, until a day, at your word. Senders may then refuse mail.
      - It is answered V(at your word), with everything that was against it, and warned of. It never leaves an RRset
        without a usable record, and lets no wrong key or chain pass.
    type: dict
    suboptions:
      names:
        description: The base domains for which it counts, such as V(mx1.example.org).
        type: list
        elements: str
        required: true
      until:
        description: The last day (UTC) on which it counts, such as V(2026-12-31).
        type: str
        required: true
      reason:
        description: Why. It is shown wherever the override is used.
        type: str
        required: true
"""
