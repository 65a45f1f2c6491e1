# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a command in a world with a lab of its own, beside other labs: world.py NAME COMMAND [ARGUMENT ...]

One machine has one lab, because all labs have the same addresses. In a world the command has a network of its own
(loopback alone, no way out), container storage of its own, and what it starts ends with it, whatever became of it. The
lab's image has to be there already (``lab.py image``); it is taken from the machine's storage as it is. What the lab
leaves for other programs is in build/worlds/NAME/lab instead of build/lab.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys

LAB = pathlib.Path(__file__).resolve().parent

sys.path.insert(0, str(LAB))
import machine

WORLDS = machine.REPO / "build" / "worlds"
# A world's own networks, mounts and processes. /run is where Podman keeps what is up.
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
INSIDE = "--inside"
STORAGE = """[storage]
driver = "overlay"
graphroot = "{own}"
runroot = "/run/containers/storage"
[storage.options]
additionalimagestores = ["{machines}"]
"""


# Every systemd, journald and udev watches files, about 60 of them in one lab; 128 is what Debian allows a user.
WATCHERS = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
WATCHERS_WANTED = 512


@contextlib.contextmanager
def room():
    """Let the machine have as many watchers of files as several labs need, and as many as before afterwards."""
    before = int(WATCHERS.read_text(encoding="ascii"))
    if before < WATCHERS_WANTED:
        WATCHERS.write_text(str(WATCHERS_WANTED), encoding="ascii")
    try:
        yield
    finally:
        WATCHERS.write_text(str(before), encoding="ascii")


def possible():
    """Whether this machine lets us make a world (bool)."""
    return os.geteuid() == 0 and subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0


def command(name, arguments):
    """The command line that runs another one in the world of that name (list of str)."""
    return [sys.executable, str(pathlib.Path(__file__).resolve()), name, *arguments]


def main(arguments):
    """Run the command; its exit status."""
    if len(arguments) < 2 or arguments[0] == INSIDE and len(arguments) < 3:
        sys.exit(__doc__)
    if arguments[0] == INSIDE:
        return inside(WORLDS / arguments[1], arguments[2:])
    place = WORLDS / arguments[0]
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    machines = machine.podman("info", "--format", "{{.Store.GraphRoot}}").strip()
    (place / "storage.conf").write_text(STORAGE.format(own=place / "containers", machines=machines), encoding="utf-8")
    ours = [sys.executable, str(pathlib.Path(__file__).resolve()), INSIDE, *arguments]
    # Signals reach the command by itself, as it is in our process group, and we stay to tidy up.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    try:
        return subprocess.run([*UNSHARE, *ours], check=False).returncode
    finally:
        shutil.rmtree(place / "containers", ignore_errors=True)


def inside(place, arguments):
    """The first process of the world: mounts, and the command; it reaps what others leave behind."""
    networks = pathlib.Path("/etc/containers/networks")
    networks.mkdir(parents=True, exist_ok=True)
    for directory in ("/run", str(networks)):
        machine.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", directory)
    for directory in ("/run/lock", "/run/netns"):
        pathlib.Path(directory).mkdir()
    machine.run("ip", "link", "set", "lo", "up")
    environment = {
        **os.environ, machine.PLACE: str(place / "lab"), "CONTAINERS_STORAGE_CONF": str(place / "storage.conf")}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    process = subprocess.Popen(arguments, env=environment)
    while True:
        ended, status = os.wait()
        if ended == process.pid:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
