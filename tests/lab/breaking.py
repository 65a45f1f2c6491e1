# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be broken in the lab from outside, and how it is mended. The collection knows nothing of any of this.

A fault is two scripts for the machine's shell, so that it can strike at a task boundary, too (see
tests/faults/callbacks/moments.py).
"""

from __future__ import annotations

import pathlib
import shlex
import subprocess
import sys
from typing import NamedTuple

import hosts

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


class Fault(NamedTuple):
    """``on`` and ``off`` are scripts; ``off`` also mends what is whole."""

    name: str
    on: str
    off: str

    def __str__(self):
        return self.name

    def strike(self):
        """Break it."""
        _run(self.on)

    def lift(self):
        """Mend it."""
        _run(self.off)


def _run(script):
    done = subprocess.run(["sh", "-ec", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
                          check=False)
    if done.returncode:
        raise OSError(f"{script[:300]!r} ended with {done.returncode}: {done.stderr[-500:]}{done.stdout[-500:]}")


def inside(host, script):
    """The command that runs a script in a host's container."""
    return f"podman --runtime runc exec {hosts.HOSTS[host].container} sh -ec {shlex.quote(script)}"


def _entered(host, namespaces, script):
    pid = f"$(podman --runtime runc inspect -f '{{{{.State.Pid}}}}' {hosts.HOSTS[host].container})"
    return f"nsenter -t {pid} {namespaces} -- sh -ec {shlex.quote(script)}"


def rules(host, name, text):
    """Packet filter rules in a host's own network, as a table of this name."""
    # Named before it is deleted, so that one that is not there is no error, and every error is one.
    gone = f"table inet {name}\ndelete table inet {name}\n"
    on = f"nft -f - <<'END'\n{gone}table inet {name} {{\n{text}\n}}\nEND\n"
    off = f"nft -f - <<'END'\n{gone}END\n"
    return Fault(f"{name} at {host}", _entered(host, "-n", on), _entered(host, "-n", off))


def unreachable(host):
    """SSH to it is cut and stays so; mail goes on."""
    # On the way in only: on the way out the resets themselves would be stopped.
    return rules(host, "no_ssh", "chain in { type filter hook input priority 0; tcp dport 22 reject with tcp reset; }")


def silent(host):
    """It answers nothing at all."""
    container = hosts.HOSTS[host].container
    state = f"$(podman --runtime runc inspect -f '{{{{.State.Status}}}}' {container})"
    return Fault(f"{host} is silent", f"podman --runtime runc pause {container}",
                 f'if [ "{state}" = paused ]; then podman --runtime runc unpause {container}; fi')


def acme_down():
    """The ACME server refuses connections. (One that is restarted has forgotten its accounts.)"""
    return rules("acme", "acme_down", (
        "chain in { type filter hook input priority 0; tcp dport 14000 reject with tcp reset; }"))


def resolver_fails():
    """The resolver of controller and hosts answers SERVFAIL for the zone."""
    control = "unbound-control -s /run/unbound.ctl -q"
    zone = hosts.ZONE + "."
    return Fault("resolver answers SERVFAIL",
                 inside("resolver", f"{control} forward_add {zone} 127.0.0.1@1; {control} flush_zone {zone}"),
                 inside("resolver", f"{control} forward_remove {zone}; {control} flush_zone {zone}; "
                                    f"{control} flush_infra all"))


def key_revoked():
    """The primary no longer knows the key of the updates."""
    conf = "/etc/bind/named.conf"
    return Fault("TSIG key revoked", inside("ns0", (
        f"[ -f {conf}.whole ] || cp -p {conf} {conf}.whole; "
        f"sed -i -e '/^key \"dane\\.\"/d' -e '/grant dane\\. /d' {conf}; rndc reconfig")),
        inside("ns0", f"if [ -f {conf}.whole ]; then mv {conf}.whole {conf}; rndc reconfig; fi"))


def signatures_end_soon(seconds):
    """What the primary signs from now on is valid for so long, and the TLSA records are signed anew."""
    conf = "/usr/share/lab/policy.conf"
    short = f"signatures-validity {seconds}s; signatures-validity-dnskey {seconds}s; signatures-refresh 60s; "
    short += "signatures-jitter 0;"
    return Fault(f"signatures for {seconds} s", inside("ns0", (
        f"[ -f {conf}.whole ] || cp -p {conf} {conf}.whole; "
        f"sed -i 's/^\\tparent-ds-ttl.*/&\\n\\t{short}/' {conf}; rndc reconfig; sleep 1")),
        inside("ns0", f"if [ -f {conf}.whole ]; then cp -p {conf}.whole {conf}; rm {conf}.whole; rndc reconfig; sleep 1; fi"))


# --- the secondary that falls back ---

ZONE_FILE = f"/var/lib/nsd/{hosts.ZONE}.zone"
OLDER = "/var/tmp/older.zone"


def remember_zone(host="ns1"):
    """Keep the zone as this secondary (NSD) has it, for :func:`falls_back`."""
    _run(inside(host, f"nsd-control write {hosts.ZONE} >/dev/null; sleep 0.5; cp {ZONE_FILE} {OLDER}"))


def falls_back(host="ns1"):
    """The secondary serves the zone that was kept, as one does that was restored from a backup, and hears of no newer."""
    deaf = rules(host, "deaf", (
        f"chain out {{ type filter hook output priority 0; ip daddr {hosts.HOSTS['ns0'].ipv4} drop; }}"))
    return Fault(f"{host} falls back", deaf.on + "\n" + inside(host, (
        # Not asked politely: with its primary out of reach it may take its time, until systemd has no more patience.
        "systemctl kill --signal=SIGKILL nsd; systemctl stop nsd; "
        f"cp {OLDER} {ZONE_FILE}; rm -f /var/lib/nsd/xfrd.state; systemctl start nsd")),
        deaf.off + "\n" + inside(host, f"nsd-control transfer {hosts.ZONE} >/dev/null"))


# --- on a mail host ---

WRAPPER = "/usr/local/sbin/postfix"


def postfix_command(host, name, script):
    """Stands before Postfix's own command. In the script ``$1`` is what is asked; what falls through is done."""
    text = f"#!/bin/sh\n{script}\nexec /usr/sbin/postfix \"$@\"\n"
    return Fault(f"{name} at {host}", inside(host, (
        f"printf %s {shlex.quote(text)} > {WRAPPER}.new; chmod 755 {WRAPPER}.new; mv {WRAPPER}.new {WRAPPER}")),
        inside(host, f"rm -f {WRAPPER}"))


def configuration_refused(host):
    """Postfix's own check fails."""
    return postfix_command(host, "Postfix refuses its configuration", (
        '[ "$1" != check ] || { echo "postfix: fatal: bad numerical configuration: lab_limit = many" >&2; exit 1; }'))


def reload_fails(host):
    """The reload fails."""
    return postfix_command(host, "reload fails", (
        '[ "$1" != reload ] || { echo "postfix/postfix-script: fatal: the Postfix mail system is not here" >&2; exit 1; }'))


def killed_in(host, step):
    """The process that asks Postfix for this (``check``, ``reload``) is dead before it is done; once."""
    return postfix_command(host, f"killed in the {step}", (
        f'if [ "$1" = {step} ]; then rm -f {WRAPPER}; kill -KILL "$PPID"; exit 0; fi'))


def connection_lost_before_the_reload(host):
    """The chain file is replaced, the connection is lost, and then the reload goes on; once."""
    return postfix_command(host, "connection lost before the reload", (
        f'if [ "$1" = reload ]; then rm -f {WRAPPER}; pkill -KILL -f "^sshd: root@"; sleep 2; fi'))


def main_cf_rewritten(host):
    """Another role lets Postfix read the same chain from a file of its own."""
    mine, theirs = "/etc/postfix/dane-chain.pem", "/etc/ssl/private/other-role.pem"
    return Fault(f"main.cf rewritten at {host}", inside(host, (
        f"cp -p {mine} {theirs}; postconf -e smtpd_tls_chain_files={theirs}; /usr/sbin/postfix reload 2>/dev/null")),
        inside(host, f"postconf -e smtpd_tls_chain_files={mine}; /usr/sbin/postfix reload 2>/dev/null; rm -f {theirs}"))


def small_disk(host, directory):
    """A directory on a small file system of its own: the ground for :func:`full`."""
    room = "/run/room" + directory.replace("/", "-")
    on = (f"mkdir -p {room} && mount -t tmpfs -o size=4m,mode=$(stat -c %a {directory}) tmpfs {room} && "
          f"cp -a {directory}/. {room}/ && mount --bind {room} {directory}")
    # Below the mount first, so that nobody ever sees an old content.
    off = (f"if mountpoint -q {directory}; then rm -f {room}/.filler; mkdir -p /run/below; mount --bind / /run/below; "
           f"find /run/below{directory} -mindepth 1 -delete; cp -a {room}/. /run/below{directory}/; umount /run/below; "
           f"umount -l {directory}; umount -l {room}; fi")
    return Fault(f"small disk below {directory} at {host}", _entered(host, "-m -p", on), _entered(host, "-m -p", off))


def full(host, directory):
    """No byte can be written there any more."""
    filler = f"{directory}/.filler"
    return Fault(f"disk full below {directory} at {host}", _entered(host, "-m -p", (
        # It has to end with an error, that of a full disk.
        f"if dd if=/dev/zero of={filler} bs=4k 2>/dev/null; then exit 1; fi; [ -s {filler} ]")),
        _entered(host, "-m -p", f"rm -f {filler}"))


def ledger_lost(host):
    """The host was set up anew, and nobody had a copy of its memory."""
    return Fault(f"ledger lost at {host}", inside(host, "rm -rf /var/lib/mailops-dane"), "true")


PYTHON = "/usr/local/bin/python3-other-clock"


def clock(host, offset):
    """The clock of a host, as the modules there see it: containers share the machine's own."""
    from machine import BUILD  # pylint: disable=import-outside-toplevel
    container = hosts.HOSTS[host].container
    variables = BUILD / "host_vars" / f"{hosts.HOSTS[host].name}.yml"
    text = (f"#!/bin/sh\nexport LD_PRELOAD=/usr/local/lib/libfaketime.so.1 FAKETIME={offset} FAKETIME_DONT_FAKE_MONOTONIC=1\n"
            'exec /usr/bin/python3 "$@"\n')
    on = (f"podman --runtime runc cp {FAKETIME} {container}:/usr/local/lib/libfaketime.so.1\n"
          + inside(host, f"printf %s {shlex.quote(text)} > {PYTHON}; chmod 755 {PYTHON}")
          + f"\nmkdir -p {variables.parent}; echo 'ansible_python_interpreter: {PYTHON}' > {variables}")
    return Fault(f"clock {offset} at {host}", on, f"rm -f {variables}")


def controllers_clock(offset):
    """Variables of a run whose controller has another time."""
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent / "other_clock")}


def acme_spoils(mode, out):
    """The ACME server's answers are spoiled on the way (see acme_in_between.py).

    :param out: directory for the certificate of the server in between, and what it says.
    """
    here = pathlib.Path(__file__).resolve().parent
    for part in ("cert", "key"):
        (out / f"acme-{part}.pem").write_bytes(subprocess.run(
            ["sh", "-c", inside("acme", f"cat /usr/share/lab/acme/{part}.pem")], check=True, capture_output=True).stdout)
    redirect = rules("acme", "spoiled", (
        "chain pre { type nat hook prerouting priority -100; tcp dport 14000 redirect to :14005; }"))
    program = " ".join(shlex.quote(str(part)) for part in (
        sys.executable, here / "acme_in_between.py", 14005, out / "acme-cert.pem", out / "acme-key.pem", mode))
    pid_file, said = out / "acme-in-between.pid", out / f"acme-{mode}.txt"
    start = _entered("acme", "-n", f"{program} </dev/null >{said} 2>&1 & echo $! > {pid_file}; sleep 1; kill -0 $!")
    # The process may have ended by itself; the case then misses the words that it should have said.
    stop = f"if [ -s {pid_file} ]; then if kill -0 $(cat {pid_file}); then kill $(cat {pid_file}); fi; rm {pid_file}; fi"
    return Fault(f"ACME server: {mode}", f"{start}\n{redirect.on}", f"{redirect.off}\n{stop}")


def ttl_raised(names, ttl):
    """Somebody who may gives the RRsets of these hosts another TTL, and senders come by before anything else happens."""
    here = pathlib.Path(__file__).resolve()
    script = f"{shlex.quote(sys.executable)} {here} ttl {ttl} {' '.join(names)}; sleep 4"
    return Fault(f"TTL {ttl}", script, "true")


def set_ttl(ttl, names):
    """Give the TLSA RRsets of these hosts another TTL."""
    import zone  # pylint: disable=import-outside-toplevel
    for host in names:
        owner = f"_25._tcp.{hosts.HOSTS[host].name}."
        message = zone.update(hosts.ZONE)
        for (name, kind), (_ttl, texts) in zone.content(hosts.ZONE).items():
            if kind == "TLSA" and name.to_text() == owner:
                message.delete(name, kind)
                for text in sorted(texts):
                    message.add(name, ttl, kind, text)
        zone.send(message)


if __name__ == "__main__":
    set_ttl(int(sys.argv[2]), sys.argv[3:])
