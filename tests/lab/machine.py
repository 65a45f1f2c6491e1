# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine the lab runs on: commands, deadlines, the lock, and the packages the lab needs."""

from __future__ import annotations

import contextlib
import os
import pathlib
import resource
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

LAB = pathlib.Path(__file__).resolve().parent
REPO = LAB.parent.parent
# Where another lab than the machine's own has its files (world.py).
PLACE = "DANE_LAB_PLACE"
BUILD = pathlib.Path(os.environ.get(PLACE) or REPO / "build" / "lab")
LOCK = "\0mailops-dane-lab"
HELD = "DANE_LAB_HELD"
PACKAGES = (
    "podman runc netavark uidmap mmdebstrap iproute2 nftables iptables openssh-client python3-dnspython ca-certificates"
).split()
STARTED = time.monotonic()


class LabError(Exception):
    """The lab cannot go on; the message says where and why."""


def say(text):
    """A line of progress, with the seconds since the start."""
    print(f"lab {time.monotonic() - STARTED:6.1f}s  {text}", flush=True)


def run(*command, check=True, timeout=60, stdin=None, apart=True):
    """Run a command, return its output; a failure names the command and shows what it said.

    Ctrl-C at the terminal does not reach a command that is kept apart: Podman broken off in the middle of making a
    container leaves an address in use that nobody has.
    """
    try:
        done = subprocess.run(
            [str(part) for part in command],
            input=stdin,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            start_new_session=apart,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"Cannot run {' '.join(map(str, command))!r}: no end after {timeout} s") from error
    if check and done.returncode:
        said = (done.stderr + done.stdout).strip()[-2000:]
        raise LabError(f"Cannot run {' '.join(map(str, command))!r}: exit status {done.returncode}: {said}")
    return done.stdout


def together(function, items, workers=6):
    """Call the function for all items at the same time; the first failure is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return list(pool.map(function, items))


def wait_until(question, deadline, pause=0.2):
    """Ask until the answer is None ("nothing missing") or the deadline is past; return what is still missing."""
    while True:
        missing = question()
        if missing is None or time.monotonic() > deadline:
            return missing
        time.sleep(pause)


@contextlib.contextmanager
def locked(limit=180):
    """Only one lab command that changes something runs on this machine at a time.

    An abstract socket is the lock: it belongs to the whole machine, ends with the process, and leaves no file.
    A caller that holds it for many commands says so in the environment.
    """
    if os.environ.get(HELD):
        yield
        return
    deadline = time.monotonic() + limit
    told = False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
        while True:
            try:
                lock.bind(LOCK)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"Cannot lock the lab: another lab command has held it for {limit} s") from error
            if not told:
                say(f"waiting for another lab command on this machine to end (at most {limit} s)")
                told = True
            time.sleep(0.5)
        yield


def family(pid):
    """All descendants of a process (list of int)."""
    parents = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found, new = [], [pid]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def kill(pids, number=signal.SIGKILL):
    """End what is left of these processes."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


def require_packages():
    """Install what is missing; nothing is asked of the network when all is there."""
    if os.geteuid() != 0:
        raise LabError("Cannot run the lab as an ordinary user: it makes containers with systemd; run it as root")
    status = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *PACKAGES, check=False)
    present = {line.split()[0] for line in status.splitlines() if line.endswith(" installed")}
    missing = [name for name in PACKAGES if name not in present]
    if not missing:
        return
    say("installing packages: " + " ".join(missing))
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "update", "-q", timeout=300)
    run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, timeout=600)


def podman(*arguments, **options):
    """Podman with a runtime that works here: crun refuses the old control groups, runc takes both."""
    return run("podman", "--runtime", "runc", *arguments, **options)


def limits():
    """Podman's own default limits are higher than a process without CAP_SYS_RESOURCE may set."""
    wanted = 20000
    options = []
    for name, kind in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        options.append(f"--ulimit={name}={value}:{value}")
    return options


def fail(error):
    """Say it in clear words, exit with 1."""
    print(f"lab: FAILED: {error}", file=sys.stderr, flush=True)
    sys.exit(1)
