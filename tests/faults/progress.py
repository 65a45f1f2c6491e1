# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later


"""What became of the cases, and the base of their classes."""

from __future__ import annotations

import re


class Progress:
    """What became of the cases, for the last line."""

    # By this name pytest knows it as a plugin.
    __name__ = "progress"

    def __init__(self, stage):
        self.stage = stage
        self.passed, self.failed, self.windows = [], [], []
        self.broken = False
        self.began = None

    def pytest_runtest_logreport(self, report):
        name = re.sub(r".*::test_", "", report.nodeid).replace("_", "-").replace("[", "-").rstrip("]")
        if report.failed:
            self.failed.append(name)
        elif report.when == "call" and report.passed and name != "completed":
            self.passed.append(name)

    def window_ends(self, end):
        """The judged time ends here, or begins."""
        if self.began is not None:
            self.windows.append((self.began, end))
        self.began = None


class Cases:
    """One rekey: every test is a case, and at the end it is completed by a plain re-run."""

    # Mail hosts of the rekey; all where none is named.
    hosts = ()
    # About how long it takes on a quiet machine, to share the cases out between labs.
    minutes = 4

    def test_completed(self, rekey):
        rekey.completed()
