# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab's network and containers: made, found again, removed without a trace."""

from __future__ import annotations

import json
import secrets
import shutil
import time

import hosts
from hosts import HOSTS, NETWORK, SECONDARIES, SENDERS
from image import tag
from machine import BUILD, REPO, LabError, limits, podman, run, say, together, wait_until

LABEL = "mailops.dane.lab"


def running():
    """Short name -> state of every container of a lab, whoever made it."""
    listed = json.loads(podman("ps", "--all", "--format", "json", "--filter", f"label={LABEL}") or "[]")
    return {item["Names"][0].removeprefix(NETWORK + "-"): item["State"] for item in listed or []}


def owner():
    """The checkout whose lab is up, or None."""
    listed = json.loads(podman("ps", "--all", "--format", "json", "--filter", f"label={LABEL}") or "[]")
    return listed[0]["Labels"][LABEL] if listed else None


def networks():
    """The lab's networks: one, or what a start that broke off left behind."""
    return podman("network", "ls", "--format", "{{.Name}}", "--filter", f"label={LABEL}").split()


def make_network():
    """A bridge without a way out; Podman makes it when the first host starts.

    Each lab's network has a name of its own: Podman remembers addresses in use by the network's name, for ever where it
    was killed while it made a container.
    """
    name = f"{NETWORK}-{secrets.token_hex(3)}"
    podman(
        "network", "create", "--internal", "--disable-dns", "--label", f"{LABEL}={REPO}", "--ipv6",
        "--subnet", hosts.PREFIX4 + "0/24", "--subnet", hosts.PREFIX6 + "/64", name,
    )  # fmt: skip


def address_of_this_machine():
    """An internal network gives the machine itself no address: add one for each family."""
    bridge = json.loads(podman("network", "inspect", *networks()))[0]["network_interface"]
    # The bridge would pass neighbour solicitations only to ports where it believes a listener, and hosts come and go.
    run("ip", "link", "set", "dev", bridge, "type", "bridge", "mcast_snooping", "0")
    here = run("ip", "-o", "addr", "show", "dev", bridge)
    if f" {hosts.CONTROLLER4}/" not in here:
        run("ip", "addr", "add", hosts.CONTROLLER4 + "/24", "dev", bridge)
    if f" {hosts.CONTROLLER6}/" not in here:
        run("ip", "addr", "add", hosts.CONTROLLER6 + "/64", "dev", bridge, "nodad")


def start(host):
    """One container with systemd as its first process."""
    (network,) = networks()
    options = [
        f"--hostname={host.name}",
        f"--network={network}",
        f"--ip={host.ipv4}",
        f"--ip6={host.ipv6}",
        f"--mac-address={host.mac}",
    ]
    options += [f"--dns={host.dns}", "--dns-opt=trust-ad", "--dns-opt=edns0", "--dns-search=."]
    options += ["--no-hosts", "--sysctl=net.ipv6.conf.all.accept_dad=0", "--sysctl=net.ipv6.conf.default.accept_dad=0"]
    options.append(f"--volume={BUILD / 'hosts' / host.short}:/lab:ro")
    if host in SENDERS:
        options.append(f"--volume={BUILD / 'logs' / host.short}:/var/log/lab")
    if host in SECONDARIES:
        options.append("--cap-add=NET_ADMIN")
    podman(
        "run", "--detach", "--systemd=always", "--pull=never", f"--name={host.container}", f"--label={LABEL}={REPO}",
        *limits(), *options, tag(), "/usr/local/sbin/lab-init",
    )  # fmt: skip


def start_all():
    """All hosts at the same time."""
    make_network()
    first, *others = HOSTS.values()
    start(first)
    address_of_this_machine()
    together(start, others, workers=4)


def remove(host):
    """This host's container is gone afterwards, whatever it was doing."""
    podman("rm", "--force", "--time=0", "--ignore", host.container, timeout=90)


def remove_all():
    """Containers, network, files: everything but the image. Also after a start that broke off."""
    names = list(running())
    # A paused container cannot be killed.
    paused = [f"{NETWORK}-{name}" for name, state in running().items() if state == "paused"]
    if paused:
        podman("unpause", *paused, check=False)
    if names:
        podman("rm", "--force", "--time=0", *(f"{NETWORK}-{name}" for name in names), timeout=120)
    for network in networks():
        podman("network", "rm", "--force", network)
    if BUILD.exists():
        shutil.rmtree(BUILD)


def execute(host, *command, check=True, timeout=60):
    """Run a command in the host's container, not through SSH."""
    return podman("exec", host.container, *command, check=check, timeout=timeout)


def last_words(host, unit=None, lines=15):
    """The end of a host's log, for messages of failure."""
    if running().get(host.short) != "running":
        return f"its container is {running().get(host.short, 'absent')}\n" + podman(
            "logs", "--tail", str(lines), host.container, check=False
        )
    chosen = ["--unit", unit] if unit else []
    command = ["journalctl", "--no-pager", "-o", "cat", "-n", str(lines), *chosen]
    return execute(host, *command, check=False, timeout=15).strip()


def pause(host):
    """The host no longer answers anything, but its address is there."""
    podman("pause", host.container)


def resume(host):
    """The host answers again."""
    state = running().get(host.short)
    if state == "paused":
        podman("unpause", host.container)
    elif state != "running":
        podman("start", host.container)


def say_removed():
    """The last line of ``down``."""
    left = running()
    if left:
        raise LabError(f"Cannot remove the lab: still there: {', '.join(left)}")
    say("the lab is gone")


def wait_for_state(host, state, limit=20):
    """Wait for a container's state."""
    missing = wait_until(lambda: None if running().get(host.short) == state else state, time.monotonic() + limit)
    if missing:
        raise LabError(f"Cannot start {host.short!r}: it is {running().get(host.short)!r}, not {state!r}")
