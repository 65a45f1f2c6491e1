# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""tests/lab/world.py: what runs in a world meets no other lab, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORLD = Path(__file__).resolve().parents[1] / "lab" / "world.py"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab, and so its worlds, need root")


def _run(name, code):
    return subprocess.run([sys.executable, str(WORLD), name, sys.executable, "-c", code], capture_output=True, text=True,
                          timeout=60, check=False)


def test_a_network_and_a_storage_of_its_own():
    done = _run("contract-own", """
import os, subprocess
print(os.readlink("/proc/self/ns/net"), os.environ["DANE_LAB_PLACE"].endswith("build/worlds/contract-own/lab"))
print(subprocess.run(["podman", "info", "--format", "{{.Store.GraphRoot}}"], capture_output=True, text=True).stdout)
raise SystemExit(3)
""")
    first, second = done.stdout.split("\n")[:2]
    assert done.returncode == 3, done.stderr
    assert first.split()[1] == "True" and first.split()[0] != os.readlink("/proc/self/ns/net")
    assert second.endswith("build/worlds/contract-own/containers")
    assert not (WORLD.parents[2] / "build" / "worlds" / "contract-own" / "containers").exists()


def test_what_it_started_ends_with_it():
    # Away from our process group, as a daemon would be.
    done = _run("contract-end", """
import os, subprocess
print(os.readlink("/proc/self/ns/pid"), flush=True)
subprocess.Popen(["sleep", "600"], start_new_session=True)
""")
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + 10
    while done.stdout.strip() in _process_worlds() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert done.stdout.strip() not in _process_worlds()


def _process_worlds():
    found = set()
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            found.add(os.readlink(link))
        except OSError:
            continue
    return found
