# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each host gets: the files of its roles with this lab's addresses and secrets filled in."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import re
import secrets
import shutil

import hosts
from hosts import HOSTS, MAIL_HOSTS, NAMESERVERS, SECONDARIES, SENDERS, ZONE
from machine import BUILD, LAB, run

KEYS = ("dane.", "refused.", "lab.")


def tsig():
    """This lab's TSIG keys: one that may change TLSA and TXT, one that may change nothing, the lab's own."""
    return {
        name: {
            "name": name,
            "algorithm": "hmac-sha256",
            "secret": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        for name in KEYS
    }


def make_ssh():
    """The client's key, one host key per host, and the known_hosts file that goes with them."""
    directory = BUILD / "ssh"
    (directory / "cm").mkdir(parents=True)
    known = []
    for name in ("id_ed25519", *HOSTS):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {name}", "-f", directory / name)
    for host in HOSTS.values():
        key = (directory / f"{host.short}.pub").read_text().split()
        known.append(f"{host.name},{host.short},{host.ipv4},{host.ipv6} {key[0]} {key[1]}\n")
    (directory / "known_hosts").write_text("".join(known))
    return directory


def both(name, host):
    """A and AAAA of a name in zone-file lines."""
    return f"{name} A {host.ipv4}\n{name} AAAA {host.ipv6}"


def values(keys):
    """What stands for the @words@ in the files; the same for all hosts."""
    only = {f"{host.short}4": host.ipv4 for host in HOSTS.values()}
    only.update({f"{host.short}6": host.ipv6 for host in HOSTS.values()})
    only.update(
        {
            "ttl": hosts.TTL,
            "prefix4": hosts.PREFIX4,
            "prefix6": hosts.PREFIX6,
            "controller4": hosts.CONTROLLER4,
            "primary4": HOSTS["ns0"].ipv4,
            "secondaries": " ".join(f"{host.ipv4};" for host in SECONDARIES),
            "glue": "\n".join(both(f"{host.short}.example", host) for host in NAMESERVERS),
            "addresses": "\n".join(both(host.short, host) for host in HOSTS.values()),
            "mail_domains": "\n".join(f"{hosts.mail_domain(host)}. MX 10 {host.short}" for host in MAIL_HOSTS),
            "shared_name": "\n".join(both("mail", host) for host in MAIL_HOSTS),
            "rcpt_domains": " ".join(hosts.mail_domain(host) for host in MAIL_HOSTS),
            "stubs": "",
            "cache": "",
            "listens": "\tinterface: 0.0.0.0\n\tinterface: ::0",
        }
    )
    for word, name in (("tsig", "dane."), ("tsig_refused", "refused."), ("tsig_lab", "lab.")):
        only[f"{word}_name"] = name
        only[f"{word}_secret"] = keys[name]["secret"]
    return only


def values_for(host, common):
    """What differs from host to host."""
    special = {"name": host.name, "mail_domain": hosts.mail_domain(host)}
    if host in SENDERS:
        special["phase"] = hosts.phase(host)
    if host.short == "s3":
        # This sender knows one secondary only, so it sees that secondary's lag undiluted.
        only = HOSTS["ns2"]
        special["stubs"] = (
            f"\nstub-zone:\n\tname: {ZONE}\n\tstub-addr: {only.ipv4}\n\tstub-addr: {only.ipv6}\n\tstub-prime: no\n"
        )
    if "acme" in host.roles:
        # As CAs do: certbot gives its TXT records 120 s, and what a cache has of the last challenge fails the next one.
        # For itself alone: to the lab it is a host without a resolver.
        special["listens"] = "\tinterface: 127.0.0.1"
        special["cache"] = "\tcache-max-ttl: 1\n\tcache-max-negative-ttl: 1\n"
    return {**common, **special}


def fill(text, known):
    """Put the values in; an unknown @word@ is an error in the lab's files."""
    return re.sub(r"@([a-z][a-z0-9_]*)@", lambda match: str(known[match.group(1)]), text)


def make_tree(host, common, ssh):
    """The directory that the host's container sees as /lab."""
    tree = BUILD / "hosts" / host.short
    known = values_for(host, common)
    (tree / "first-boot.d").mkdir(parents=True)
    for order, role in enumerate(("common", *host.roles)):
        source = LAB / "files" / role
        if (source / "rootfs").is_dir():
            copy(source / "rootfs", tree / "rootfs", known)
        if (source / "first-boot").is_file():
            copy_file(source / "first-boot", tree / "first-boot.d" / f"{order}-{role}", known)
    (tree / "units").write_text(" ".join(host.units) + "\n")
    for name, source in (
        ("root/.ssh/authorized_keys", "id_ed25519.pub"),
        ("home/admin/.ssh/authorized_keys", "id_ed25519.pub"),
        ("etc/ssh/ssh_host_ed25519_key", host.short),
        ("etc/ssh/ssh_host_ed25519_key.pub", host.short + ".pub"),
    ):
        target = tree / "rootfs" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ssh / source, target)
    etc_hosts = f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{host.ipv4} {host.name} {host.short}\n"
    (tree / "rootfs/etc/hosts").write_text(etc_hosts)


def copy(source, target, known):
    """Copy a directory of files, filled in."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            copy_file(path, target / path.relative_to(source), known)


def copy_file(source, target, known):
    """Copy one file, filled in, with its mode."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(fill(source.read_text(), known))
    target.chmod(source.stat().st_mode & 0o777)


def make_all():
    """Everything below build/lab that has to be there before the hosts start."""
    BUILD.mkdir(parents=True)
    os.chmod(BUILD, 0o755)
    keys = tsig()
    ssh = make_ssh()
    common = values(keys)
    for host in HOSTS.values():
        make_tree(host, common, ssh)
    for sender in SENDERS:
        (BUILD / "logs" / sender.short).mkdir(parents=True)
    write_inventory(ssh)
    write_description(keys, ssh)


def write_inventory(ssh):
    """The Ansible inventory of the mail hosts: how to reach them, nothing else."""
    options = f"-o UserKnownHostsFile={ssh / 'known_hosts'} -o StrictHostKeyChecking=yes"
    lines = ["mailservers:", "  hosts:"]
    for host in MAIL_HOSTS:
        lines += [f"    {host.name}:", f"      ansible_host: {host.ipv4}"]
    lines += [
        "  vars:",
        "    ansible_user: root",
        f"    ansible_ssh_private_key_file: {ssh / 'id_ed25519'}",
        f"    ansible_ssh_common_args: {options}",
        f"    ansible_control_path_dir: {ssh / 'cm'}",
        "    ansible_ssh_pipelining: true",
        "    ansible_python_interpreter: /usr/bin/python3",
    ]
    (BUILD / "inventory.yml").write_text("\n".join(lines) + "\n")


def write_description(keys, ssh):
    """lab.json: all that other tools need to know of the lab."""
    acme = HOSTS["acme"]
    description = {
        "zone": ZONE,
        "unsigned_zone": "plain.test",
        "ttl": hosts.TTL,
        "controller": {"ipv4": hosts.CONTROLLER4, "ipv6": hosts.CONTROLLER6},
        "hosts": {
            host.short: {
                "name": host.name,
                "ipv4": host.ipv4,
                "ipv6": host.ipv6,
                "container": host.container,
                "roles": list(host.roles),
            }
            for host in HOSTS.values()
        },
        "primary": "ns0",
        "nameservers": [host.short for host in NAMESERVERS],
        "secondaries": [host.short for host in SECONDARIES],
        "mail_hosts": {host.short: {"name": host.name, "domain": hosts.mail_domain(host)} for host in MAIL_HOSTS},
        "senders": {
            host.short: {
                "log": str(BUILD / "logs" / host.short / "mail.log"),
                "resolver": host.ipv4,
                "phase": hosts.phase(host),
                "asks": ["ns2"] if host.short == "s3" else [server.short for server in NAMESERVERS],
            }
            for host in SENDERS
        },
        "resolver": {"ipv4": HOSTS["resolver"].ipv4, "ipv6": HOSTS["resolver"].ipv6, "port": 53},
        "tsig": keys["dane."],
        "tsig_refused": keys["refused."],
        "tsig_lab": keys["lab."],
        "acme": {
            "directory": f"https://{acme.name}:14000/dir",
            "other_directory": f"https://{acme.name}:14001/dir",
            "management": f"https://{acme.ipv4}:15000",
            "other_management": f"https://{acme.ipv4}:15001",
            "ca_file": str(BUILD / "pebble-ca.pem"),
            "ca_file_on_hosts": "/etc/ssl/lab/pebble-ca.pem",
        },
        "root_key": str(BUILD / "root.key"),
        "ssh": {
            "key": str(ssh / "id_ed25519"),
            "known_hosts": str(ssh / "known_hosts"),
            "user": "root",
            "sudo_user": "admin",
        },
        "inventory": str(BUILD / "inventory.yml"),
    }
    path = BUILD / "lab.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(description, indent=2) + "\n")


def description():
    """lab.json as it is."""
    return json.loads(pathlib.Path(BUILD / "lab.json").read_text())
