# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures that tests of several directories share."""

from __future__ import annotations

import pytest
from dns_world import World


@pytest.fixture(scope="session")
def dns_world(tmp_path_factory):
    """Real name servers on the loopback interface (:class:`dns_world.World`), started once."""
    world = World(tmp_path_factory.mktemp("dns"))
    try:
        world.start()
        yield world
    finally:
        world.stop()


@pytest.fixture
def publish(dns_world):
    """A function that adds records (text) to an RRset on the primary, and waits until every server has them."""
    def add(owner, *records, ttl=10):
        dns_world.update(owner, add=records, ttl=ttl)
        dns_world.settle()

    return add
