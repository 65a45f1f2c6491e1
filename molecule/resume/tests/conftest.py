# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mail flows and is watched all along; each test is one rekey."""

from __future__ import annotations

import pytest
import scene
from runs import Rekey


@pytest.fixture(scope="session", autouse=True)
def mail(stage, play):
    """Hosts under DANE, senders that deliver, a witness that watches, all along."""
    play("enable")
    stage.watch()
    stage.deliver()
    yield
    scene.lab("senders", "stop")


@pytest.fixture
def rekey(stage, request):
    """A rekey that begins now (Rekey)."""
    return Rekey(stage, request.node.name.removeprefix("test_").replace("_", "-"))
