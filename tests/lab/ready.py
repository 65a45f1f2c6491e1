# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When is the lab up? Questions to every host from outside, each asked until a deadline; and the longer check."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request

import containers
import hosts
import zone
from hosts import HOSTS, MAIL_HOSTS, NAMESERVERS, RESOLVERS, SECONDARIES, SENDERS, ZONE
from machine import BUILD, LabError, run, say, together, wait_until


def ssh_command(host, user="root"):
    """The SSH command for a host, without what to run there."""
    directory = BUILD / "ssh"
    return [
        "ssh", "-i", str(directory / "id_ed25519"), "-o", f"UserKnownHostsFile={directory / 'known_hosts'}",
        "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
        "-o", "ConnectTimeout=3", "-o", "LogLevel=ERROR", f"{user}@{host.ipv4}",
    ]  # fmt: skip


def ssh_problem(host, user="root"):
    """None when this user can log in."""
    try:
        said = run(*ssh_command(host, user), "id", "-un", check=False, timeout=10)
    except LabError as error:
        return str(error)
    return None if said.strip() == user else f"no SSH login as {user}"


def talk(address, port, *lines):
    """Connect, read the greeting, say each line, and return all that was said."""
    with socket.create_connection((address, port), timeout=3) as connection:
        stream = connection.makefile("rw", newline="\r\n")
        said = stream.readline()
        for line in lines:
            stream.write(line + "\r\n")
            stream.flush()
            reply = stream.readline()
            while reply[3:4] == "-":
                said += reply
                reply = stream.readline()
            said += reply
    return said


def smtp_problem(host):
    """None when the host offers STARTTLS over IPv4 and IPv6."""
    for address in (host.ipv4, host.ipv6):
        try:
            said = talk(address, 25, "EHLO controller.test", "QUIT")
        except (OSError, ValueError) as error:
            return f"no SMTP at {address}: {error}"
        if "STARTTLS" not in said:
            return f"no STARTTLS at {address}"
    return None


def greeting_problem(host, port):
    """None when something greets at this port."""
    try:
        return None if talk(host.ipv4, port) else f"no greeting at port {port}"
    except OSError as error:
        return f"no greeting at port {port}: {error}"


def acme_problem(host):
    """None when both ACME servers show their directory, with a certificate of the lab's CA."""
    context = ssl.create_default_context(cafile=str(BUILD / "pebble-ca.pem"))
    for port in (14000, 14001):
        try:
            with urllib.request.urlopen(f"https://{host.ipv4}:{port}/dir", timeout=3, context=context) as answer:
                json.load(answer)
        except (OSError, ValueError, urllib.error.URLError) as error:
            return f"no ACME directory at port {port}: {error}"
    return None


def resolver_problem(host):
    """None when this resolver validates the lab's signed zone and reads the unsigned one."""
    if not zone.authenticated(host.ipv4, f"mx1.{ZONE}"):
        return f"no answer with AD for mx1.{ZONE}"
    plain = zone.ask(host.ipv4, "mx.plain.test", "A")
    return None if plain is not None and plain.answer else "no answer for mx.plain.test"


def secondary_problem(host):
    """None when the secondary serves the primary's zone; a notify helps one that started before the primary."""
    if zone.serial(host.ipv4) is None:
        containers.execute(HOSTS["ns0"], "rndc", "notify", ZONE, check=False, timeout=10)
        time.sleep(0.3)
    return zone.nameserver_problem(host)


def questions():
    """(host, unit whose log explains a failure, question) for everything that has to answer."""
    asked = [(HOSTS["ns0"], "named", zone.nameserver_problem)]
    asked += [(host, None, secondary_problem) for host in SECONDARIES]
    asked += [(host, "unbound", resolver_problem) for host in RESOLVERS]
    asked += [(HOSTS["acme"], None, acme_problem)]
    asked += mail_questions()
    asked += [(host, None, lambda host: greeting_problem(host, 25)) for host in SENDERS]
    return asked


def mail_questions():
    """The same, for the mail hosts alone."""
    asked = [(host, "postfix@-", smtp_problem) for host in MAIL_HOSTS]
    return asked + [(host, "ssh", ssh_problem) for host in MAIL_HOSTS]


def wait_for(asked, limit):
    """Ask all questions at the same time until each has its answer; a failure shows the hosts' last log lines."""
    deadline = time.monotonic() + limit

    def one(item):
        host, unit, question = item
        return host, unit, wait_until(lambda: question(host), deadline)

    failed = [(host, unit, missing) for host, unit, missing in together(one, asked, workers=8) if missing]
    if not failed:
        return
    text = [f"not everything answers after {limit} s"]
    for host, unit, missing in failed:
        text.append(f"{host.short}: {missing}\n{containers.last_words(host, unit)}")
    raise LabError("\n\n".join(text))


def report(name, problem, failures):
    """One line per check."""
    say(f"{'FAIL' if problem else 'ok':4}  {name}{': ' + problem if problem else ''}")
    if problem:
        failures.append(name)


def check():
    """Everything the lab promises, one line each."""
    failures = []
    for host in NAMESERVERS:
        report(f"{host.short} serves {ZONE}, signed, over IPv4 and IPv6", zone.nameserver_problem(host), failures)
    report("the secondaries are in step", zone.behind(), failures)
    for host in RESOLVERS:
        report(f"{host.short} validates from the lab's root", resolver_problem(host), failures)
        report(f"{host.short} walks the DS chain anew", walk_problem(host), failures)
    report("an update with TSIG is seen on all servers", update_problem(), failures)
    report("the other key is refused", refused_problem(), failures)
    report("the ACME servers answer", acme_problem(HOSTS["acme"]), failures)
    for host in MAIL_HOSTS:
        report(f"{host.short} speaks SMTP with STARTTLS over IPv4 and IPv6", smtp_problem(host), failures)
        report(f"{host.short} lets root in by SSH", ssh_problem(host), failures)
        report(f"{host.short} lets admin in, with sudo", sudo_problem(host), failures)
        report(f"certbot on {host.short} reaches the ACME server", certbot_problem(host), failures)
        report(f"{host.short} sees the AD bit through glibc", trust_ad_problem(host), failures)
    report("no way out of the lab", way_out_problem(), failures)
    if failures:
        raise LabError(f"{len(failures)} of the checks failed")
    say("all checks passed")


def walk_problem(host):
    """With an empty cache the resolver still finds the chain of trust, and its end at the unsigned zone."""
    containers.execute(host, "unbound-control", "-s", "/run/unbound.ctl", "flush_zone", ".")
    for name, kind in ((ZONE, "DNSKEY"), (ZONE, "DS"), (f"mx1.{ZONE}", "A")):
        if not zone.authenticated(host.ipv4, name, kind):
            return f"no {kind} of {name} with AD"
    return "plain.test is not seen as insecure" if zone.authenticated(host.ipv4, "mx.plain.test") else None


def update_problem():
    """A TXT record, added with the product's key, arrives everywhere within five seconds; then it goes again."""
    name = f"_lab-check.{ZONE}."
    message = zone.update(ZONE, "tsig")
    message.replace(name, hosts.TTL, "TXT", str(time.time_ns()))
    zone.send(message)
    deadline = time.monotonic() + 5
    missing = zone.wait_until(lambda: without(name), deadline, 0.1)
    message = zone.update(ZONE, "tsig")
    message.delete(name)
    zone.send(message)
    return missing


def without(name):
    """The servers that do not have this TXT record, or None."""
    late = []
    for host in NAMESERVERS:
        answer = zone.ask(host.ipv4, name, "TXT")
        if answer is None or not answer.answer:
            late.append(host.short)
    return f"not seen on {', '.join(late)}" if late else None


def refused_problem():
    """The key without rights gets REFUSED, not silence and not success."""
    message = zone.update(ZONE, "tsig_refused")
    message.add(f"_lab-check.{ZONE}.", hosts.TTL, "TXT", "no")
    said = zone.outcome(message)
    return None if said == "REFUSED" else f"got {said}"


def sudo_problem(host):
    """None when admin becomes root without a password."""
    said = run(*ssh_command(host, "admin"), "sudo", "-n", "id", "-un", check=False, timeout=10).strip()
    return None if said == "root" else f"sudo said {said!r}"


def certbot_problem(host):
    """A dry run against the ACME server: account, http-01, and a certificate thrown away.

    The account goes too, so that the host is as virgin as before.
    """
    server = f"https://acme.{ZONE}:14000/dir"
    directory = "/tmp/lab-check"
    said = run(
        *ssh_command(host),
        f"certbot certonly --standalone -n --agree-tos -m lab@{ZONE} --server {server} -d {host.name} "
        f"--config-dir {directory} --work-dir {directory} --logs-dir {directory} 2>&1; "
        f"test -e {directory}/live/{host.name}/cert.pem && echo ISSUED; rm -rf {directory}",
        check=False,
        timeout=60,
    )
    return None if "ISSUED" in said else said.strip()[-600:]


def trust_ad_problem(host):
    """None when the host's resolv.conf lets the AD bit through."""
    said = containers.execute(host, "cat", "/etc/resolv.conf")
    return None if "trust-ad" in said and "edns0" in said else said


def way_out_problem():
    """None when a lab host has no route to an address outside."""
    said = containers.execute(HOSTS["mx1"], "ip", "route", "get", "192.0.2.1", check=False)
    said += containers.execute(HOSTS["mx1"], "ip", "-6", "route", "get", "2001:db8::1", check=False)
    return said.strip() or None
