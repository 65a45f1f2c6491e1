# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Years on the lab: timers on the mail hosts that fire in seconds, playbooks that run by a schedule, seasons to wait for.

Nothing here renews a certificate: that is done by certbot's own timer and the gate. Nothing here repeats a playbook that
failed, either: a run of the schedule that fails is a failure.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import shlex
import socket
import subprocess
import time
import urllib.parse
from typing import NamedTuple

import containers
import hosts
import scene
import snapshot
from judge import years
from mailhost import MailHost

SEED = int(os.environ.get("DANE_SEED") or random.SystemRandom().randrange(10**6))
CERTIFICATE_SECONDS = 600
# How long certbot's timer and that of the daily look wait after they have run (seconds).
CERTBOT_PAUSE, LOOK_PAUSE = 20, 60
SEASON_LIMIT, RUN_LIMIT, REBOOT_LIMIT, LOCK_LIMIT = 420, 900, 120, 180
DUE = ("-e", "dane_rekey=due")
# What the controller's timers run, one after the other.
SCHEDULE = (("renew",), ("enable",), ("rekey", *DUE))
# The caches of the lab have let go after that many runs that do not wait.
MOST_RUNS = 12
CHAIN_FILE = "/etc/postfix/dane-chain.pem"
IN_THE_FILE = f"""
openssl x509 -in {CHAIN_FILE} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1
openssl x509 -in {CHAIN_FILE} -noout -serial -issuer
"""
LINEAGES = """
for live in /etc/letsencrypt/live/*/; do
    echo "$(basename $live) $(openssl pkey -in $live/privkey.pem -pubout -outform DER | sha256sum | cut -d' ' -f1)"
done
"""
TIMERS = f"""
set -e
mkdir -p /etc/systemd/system/certbot.timer.d /etc/systemd/system/certbot.service.d /etc/systemd/system/mailops-dane-look.timer.d
cat > /etc/systemd/system/certbot.timer.d/years.conf <<'END'
[Timer]
OnCalendar=
OnActiveSec=2s
OnUnitInactiveSec={CERTBOT_PAUSE}s
RandomizedDelaySec=0
AccuracySec=1s
Persistent=false
END
cat > /etc/systemd/system/certbot.service.d/years.conf <<'END'
[Service]
Environment=REQUESTS_CA_BUNDLE=@ca@
PrivateTmp=no
END
cat > /etc/systemd/system/mailops-dane-look.timer.d/years.conf <<'END'
[Timer]
OnCalendar=
OnActiveSec=30s
OnUnitInactiveSec={LOOK_PAUSE}s
RandomizedDelaySec=0
AccuracySec=1s
Persistent=false
END
systemctl daemon-reload
systemctl enable --quiet certbot.timer
systemctl restart certbot.timer mailops-dane-look.timer
"""
HOLD = """
systemctl stop certbot.timer
while systemctl show -P ActiveState certbot.service | grep -q activating; do sleep 1; done
"""


def listens(address, port):
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


class Served(NamedTuple):
    """What a mail host serves, by its chain file."""

    key: str
    serial: str
    issuer: str


class Year:
    """The mail hosts, the site's options, and everything that happens to them.

    :ivar stage: scene.Stage. :ivar mail: {short name: MailHost}. :ivar outages: restarts (list of years.Outage).
    """

    def __init__(self, stage):
        self.stage = stage
        self.mail = {short: MailHost(short, stage.about) for short in stage.lab.names}
        self.options = {**stage.variables(), "dane_hook_resolvers": [stage.about["resolver"]["ipv4"]]}
        self.outages = []
        self.runs = 0
        self.turn = 0
        self.acme = stage.about["acme"]["directory"]
        self.chance = random.Random(SEED)
        stage.say(f"seed {SEED}")

    # ---- the controller

    def site(self, **options):
        """The operator changes the group_vars."""
        self.options.update(options)
        place = pathlib.Path(self.stage.about["inventory"]).parent / "group_vars" / "mailservers.yml"
        place.write_text(json.dumps(self.options, indent=1) + "\n", encoding="utf-8")

    def run(self, playbook, *arguments):
        """A playbook of the schedule, which has to succeed.

        :returns: what it said (str).
        :raises Failed: it did not.
        """
        self.runs += 1
        log = self.stage.out / f"{self.runs}-{playbook}.log"
        command = self.stage.command(playbook, *arguments)
        self.stage.say("$ " + " ".join(["ansible-playbook", *command[1:]]))
        with log.open("wb") as output:
            try:
                status = subprocess.run(command, env=self.stage.environment(), stdin=subprocess.DEVNULL, stdout=output,
                                        stderr=subprocess.STDOUT, check=False, timeout=RUN_LIMIT).returncode
            except subprocess.TimeoutExpired:
                status = f"no end after {RUN_LIMIT} s"
        said = log.read_text(encoding="utf-8", errors="replace")
        self.must(status == 0, f"{playbook} ended with {status}, see {log}:\n{said[-2500:]}")
        return said

    def must(self, good, what):
        """What has to be so.

        :raises Failed: it is not.
        """
        if not good:
            raise scene.Failed(what)

    # ---- the mail hosts

    def served(self):
        """What each host serves: {short name: Served}."""
        return {host: Served(*snapshot.execute(host, IN_THE_FILE).split("\n")[:3]) for host in self.mail}

    def lineage(self, host):
        """The lineage that has the key which a host serves (str)."""
        key = self.served()[host].key
        found = dict(reversed(line.split()) for line in snapshot.execute(host, LINEAGES).splitlines())
        self.must(key in found, f"{host}: no lineage has the served key {key[:16]}")
        return found[key]

    def start_timers(self):
        """certbot's timer, and that of the daily look, in the time of this lab."""
        for host in self.mail:
            self._execute(host, TIMERS.replace("@ca@", self.stage.about["acme"]["ca_file_on_hosts"]))

    def hold_certbot(self, host, held):
        """On most days certbot's timer finds nothing to do: here it would come at any moment."""
        self._execute(host, HOLD if held else "systemctl start certbot.timer")

    def _execute(self, host, script):
        done = subprocess.run(["podman", "--runtime", "runc", "exec", hosts.HOSTS[host].container, "sh", "-c", script],
                              check=False, capture_output=True, text=True, timeout=LOCK_LIMIT)
        self.must(done.returncode == 0, f"{host}: {script[:80]!r} ended with {done.returncode}: {done.stderr}{done.stdout}")
        return done.stdout

    def certonly(self, host, server, *arguments):
        """What an administrator types, again while certbot's timer is just at work (Said)."""
        deadline = time.monotonic() + LOCK_LIMIT
        lineage = self.lineage(host)
        while True:
            said = self.mail[host].certonly(server, *arguments, lineage=lineage)
            if "Another instance of Certbot is already running" not in said.text:
                return said
            self.must(time.monotonic() < deadline, f"{host}: certbot is locked for ever")
            time.sleep(1)

    def reboot(self, host):
        """The host goes down and comes up again, with everything that it started by itself."""
        self.stage.say(f"{host} is restarted")
        container, began = hosts.HOSTS[host].container, time.time()
        containers.podman("stop", "--time=40", container, timeout=90)
        containers.podman("start", container, timeout=90)
        since = time.time()
        self.stage.wait_for(lambda: self.stage.lab.delivering(host, since), REBOOT_LIMIT,
                            f"mail to {host} after its restart")
        self.outages.append(years.Outage(host, began, time.time()))
        self.stage.say(f"{host} is back, {time.time() - began:.0f} s later")

    def restart_the_other_authority(self):
        """The ACME server that issued nothing that is served. Pebble then has another root, and knows no account."""
        about = self.stage.about["acme"]
        number, url = (2, about["other_directory"]) if self.acme == about["directory"] else (1, about["directory"])
        parts = urllib.parse.urlsplit(url)
        scene.lab("exec", "acme", "systemctl", "restart", f"pebble@{number}")
        self.stage.wait_for(lambda: listens(self.stage.about["hosts"]["acme"]["ipv4"], parts.port), 30, "an ACME server")
        for host in self.mail:
            self._execute(host, f"rm -rf /etc/letsencrypt/accounts/{parts.netloc}")

    # ---- time that passes

    def season(self, renewals=2, runs=1):
        """Time passes: the schedule runs, and certbot's timers renew on each host that often with the key as it is."""
        before = self.served()
        seen = {host: {one.serial} for host, one in before.items()}
        for _run in range(runs):
            self.run(*SCHEDULE[self.turn % len(SCHEDULE)])
            self.turn += 1
            self._look_around(before, seen)
        self.stage.wait_for(lambda: self._look_around(before, seen) >= renewals, SEASON_LIMIT,
                            f"{renewals} renewals on each host by certbot's timer")
        self.stage.say("renewals: " + ", ".join(f"{host} {len(serials) - 1}" for host, serials in seen.items()))

    def _look_around(self, before, seen):
        """The least number of renewals of a host; no key may have changed."""
        now = self.served()
        for host, one in now.items():
            self.must(one.key == before[host].key, f"{host} serves another key: {one.key[:16]}")
            seen[host].add(one.serial)
        time.sleep(1)
        return min(len(serials) for serials in seen.values()) - 1

    def a_year_passes(self):
        """The keys are older than `dane_key_max_age`, as far as the hosts know."""
        for host in self.mail.values():
            host.age_key()

    # ---- what has to be so

    def records(self):
        """{short name: the records that every server has there (set of text)}."""
        found = {}
        for source, texts in snapshot.tlsa_records(self.stage.lab.names.values()).items():
            found.setdefault(source.split()[0].split(".")[2], set()).add(tuple(texts or ()))
        self.must(all(len(versions) == 1 for versions in found.values()), f"the servers differ: {found}")
        return {host: set(next(iter(versions))) for host, versions in found.items()}

    def operations(self):
        """The open operations: {short name: dict or None}."""
        return {host: json.loads(snapshot.execute(host, "cat /var/lib/mailops-dane/ledger.json"))["operation"]
                for host in self.mail}

    def journal(self, host, since, words):
        """How often the gate's journal says this since an epoch (int)."""
        said = snapshot.execute(host, f"journalctl -t dane-gate -o cat --since=@{since:.0f} | grep -c {shlex.quote(words)}")
        return int(said.strip() or 0)
