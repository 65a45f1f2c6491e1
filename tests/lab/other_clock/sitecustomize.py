# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read by every Python of a run that has another clock (see breaking.controllers_clock).

libfaketime takes its offset off the end of a sleep that is given by the clock that nobody can set, although it leaves that
clock alone, and the sleep fails. So Python sleeps here by a call that takes how long, not until when.
"""

from __future__ import annotations

import select
import time


def sleep(seconds):
    """As time.sleep."""
    select.select([], [], [], seconds)


time.sleep = sleep
