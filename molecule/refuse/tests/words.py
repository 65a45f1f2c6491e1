# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Words of a command line and of what comes back."""

from __future__ import annotations

import json


def flat(output):
    """Output in one line, with quotes as they were: Ansible wraps errors and prints results as JSON."""
    return " ".join(output.replace('\\"', '"').replace("\\n", " ").split())


def option(**values):
    """Extra variables of a command line."""
    return ("-e", json.dumps(values))
