# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mail hosts with their administrators."""

from __future__ import annotations

import pytest
from mailhost import MailHost


@pytest.fixture(scope="session")
def mail(lab, mail_hosts):
    """The mail hosts by their short names (dict of MailHost)."""
    return {short: MailHost(short, lab) for short in mail_hosts}
