#!/usr/bin/python3
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lab: real name servers, mail hosts, senders and an ACME CA in containers. Try ``lab.py --help``."""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import containers
import hosts
import image
import trees
from hosts import HOSTS, MAIL_HOSTS, RESOLVERS, SECONDARIES, SENDERS
from machine import BUILD, REPO, LabError, fail, locked, require_packages, run, say, together

UP_LIMIT = 120
RESET_LIMIT = 60


def ready():
    """The questions need dnspython, which a bare machine has only after require_packages()."""
    try:
        import ready as module  # pylint: disable=import-outside-toplevel
    except ModuleNotFoundError as error:
        raise LabError(f"Cannot use {sys.executable}: {error}; run tests/lab/lab.py itself") from error
    return module


def zone():
    """Likewise."""
    return ready().zone


def the_host(short):
    """A host by its short or full name."""
    host = HOSTS.get(short.removesuffix("." + hosts.ZONE))
    if host is None:
        raise LabError(f"Cannot find host {short!r}: the lab has {', '.join(HOSTS)}")
    return host


def require_up():
    """Most commands need the lab of this checkout."""
    owner = containers.owner()
    if owner is None:
        raise LabError("Cannot do that: no lab is up; `lab.py up` starts it")
    if owner != str(REPO):
        raise LabError(f"Cannot do that: the lab that is up belongs to {owner}")


def command_image(_options):
    """Build the image, if its definition changed."""
    require_packages()
    with locked():
        image.build()


def command_up(options):
    """Start the lab and wait until everything answers."""
    require_packages()
    with locked():
        owner = containers.owner()
        if owner and not options.fresh:
            raise LabError(f"Cannot start the lab: one is up already, started from {owner}; --fresh replaces it")
        containers.remove_all()
        image.build()
        trees.make_all()
        say(f"starting {len(HOSTS)} hosts")
        containers.start_all()
        copy_from_hosts()
        say("waiting until everything answers")
        ready().wait_for(ready().questions(), UP_LIMIT)
        say(f"the lab is up: {trees.BUILD / 'lab.json'}")


def copy_from_hosts():
    """What the image made itself and the controller needs: the ACME servers' CA and the root's key."""
    for name, source in (("pebble-ca.pem", "/etc/ssl/lab/pebble-ca.pem"), ("root.key", "/usr/share/lab/keys/root.key")):
        (BUILD / name).write_text(containers.execute(HOSTS["acme"], "cat", source))


def command_down(_options):
    """Remove everything but the image."""
    with locked():
        end_ssh()
        containers.remove_all()
        containers.say_removed()


def command_purge(options):
    """Remove the image too."""
    command_down(options)
    with locked():
        image.purge()


def end_ssh():
    """SSH connections that Ansible keeps open would outlive the hosts they lead to."""
    for path in (BUILD / "ssh" / "cm").glob("*"):
        run("ssh", "-O", "exit", "-o", f"ControlPath={path}", "gone", check=False, timeout=5)


def command_reset(_options):
    """Mail hosts as on the first day, zones with their initial content, no lag, no mail on its way, empty caches."""
    require_up()
    with locked():
        end_ssh()
        for host in HOSTS.values():
            if host not in MAIL_HOSTS and containers.running().get(host.short) != "running":
                containers.resume(host)
        together(lambda task: task(), [renew_mail_hosts, senders_off, lag_off_and_restore], workers=3)
        together(flush, RESOLVERS)
        ready().wait_for(ready().mail_questions(), RESET_LIMIT)
        zone().wait_in_step(time.monotonic() + 10)
        say("the lab is as new")


def renew_mail_hosts():
    """New containers from the same files, so SSH host keys stay."""
    together(containers.remove, MAIL_HOSTS)
    together(containers.start, MAIL_HOSTS)


def lag_off_and_restore():
    """The secondaries first, so that they get what the primary then sends."""
    together(lag_off, SECONDARIES)
    zone().restore_all()


def lag_off(host):
    """Let go of a secondary."""
    containers.execute(host, "systemctl", "stop", "lab-lag", check=False)


def flush(host):
    """Empty a resolver's caches."""
    control = "unbound-control -s /run/unbound.ctl"
    containers.execute(host, "sh", "-c", f"{control} -q flush_zone . && {control} -q flush_infra all")


def command_lag(options):
    """Let a secondary lag, or let it go."""
    require_up()
    host = the_host(options.host)
    if host not in SECONDARIES:
        raise LabError(f"Cannot let {host.short!r} lag: only {', '.join(h.short for h in SECONDARIES)} can")
    if options.seconds == "off":
        lag_off(host)
        say(f"{host.short} follows at once")
        return
    seconds = float(options.seconds)
    containers.execute(host, "sh", "-c", f"echo SECONDS_BEHIND={seconds} > /etc/lab-lag && systemctl restart lab-lag")
    say(f"{host.short} lags {seconds:g} s behind")


def command_stop(options):
    """The host answers nothing any more; its address stays."""
    require_up()
    containers.pause(the_host(options.host))
    say(f"{options.host} is silent")


def command_start(options):
    """The host answers again."""
    require_up()
    containers.resume(the_host(options.host))
    containers.wait_for_state(the_host(options.host), "running")
    say(f"{options.host} is back")


def command_senders(options):
    """Start or stop the stream of mail."""
    require_up()
    if options.action == "stop":
        senders_off()
        say("the senders are silent")
        return
    together(flush, SENDERS)
    together(lambda host: sender_on(host, options.level), SENDERS)
    say("the senders send: " + ", ".join(f"{host.short} after {hosts.phase(host)} s" for host in SENDERS))


def sender_on(host, level):
    """One sender, with the TLS level asked for."""
    change = f"postconf -e smtp_tls_security_level={level} && postfix reload 2>/dev/null"
    containers.execute(host, "sh", "-c", f"{change}; systemctl start lab-sender")


def senders_off():
    """No new messages; what is on its way ends by itself."""
    together(lambda host: containers.execute(host, "systemctl", "stop", "lab-sender"), SENDERS)


def command_check(_options):
    """Does the lab keep its promises?"""
    require_up()
    ready().check()


def command_status(_options):
    """Which hosts are there, and how they are."""
    owner = containers.owner()
    if owner is None:
        print("no lab is up")
        return
    print(f"lab of {owner}")
    states = containers.running()
    for host in HOSTS.values():
        state = states.get(host.short, "absent")
        print(f"{host.short:9} {host.ipv4:12} {host.ipv6:16} {state:8} {', '.join(host.roles)}")


def command_ssh(options):
    """Log in to a host, or run a command there."""
    require_up()
    command = ready().ssh_command(the_host(options.host), options.user)
    os.execvp(command[0], command + options.command)


def command_exec(options):
    """Run a command in a host's container, as root, without SSH."""
    require_up()
    command = ["podman", "--runtime", "runc", "exec", "-i", the_host(options.host).container, *options.command]
    sys.exit(subprocess.run(command, check=False).returncode)


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True)
    made = {}
    for name in ("image", "up", "down", "reset", "purge", "check", "status"):
        made[name] = commands.add_parser(name, help=globals()["command_" + name].__doc__)
    made["up"].add_argument("--fresh", action="store_true", help="replace a lab that is up")
    for name in ("ssh", "exec", "stop", "start", "lag", "senders"):
        made[name] = commands.add_parser(name, help=globals()["command_" + name].__doc__)
        if name != "senders":
            made[name].add_argument("host", help="short or full name")
    made["ssh"].add_argument("--user", default="root", help="root or admin")
    for name in ("ssh", "exec"):
        made[name].add_argument("command", nargs=argparse.REMAINDER)
    made["lag"].add_argument("seconds", help="seconds, or off")
    made["senders"].add_argument("action", choices=("start", "stop"))
    made["senders"].add_argument("--level", default="dane-only", choices=("dane-only", "dane"))
    return parser.parse_args()


def main():
    """Run one command; say in clear words what went wrong."""
    options = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        globals()["command_" + options.name](options)
    except LabError as error:
        fail(error)
    except KeyboardInterrupt:
        fail("interrupted; `lab.py down` removes what is there")


if __name__ == "__main__":
    main()
