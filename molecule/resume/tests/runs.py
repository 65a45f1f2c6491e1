# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are stopped at a chosen moment, and a rekey that is judged from its first attempt to its end."""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time

import scene
import snapshot
from judge import timeline, verdict

SEED = int(os.environ.get("DANE_SEED") or random.SystemRandom().randrange(10**6))
LEDGER = "/var/lib/mailops-dane/ledger.json"
CHAIN_FILE = "/etc/postfix/dane-chain.pem"
# Each key once, however many certificates it has.
KEYS = """
for key in /etc/letsencrypt/archive/*/privkey*.pem; do
    openssl pkey -in "$key" -pubout -outform DER | sha256sum | cut -d' ' -f1
done | sort -u
"""
SERVED_KEY = f"openssl x509 -in {CHAIN_FILE} -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum | cut -d' ' -f1"


class Run:
    """A playbook that is running, with its output in a file: what outlives a killed run would keep a pipe open."""

    def __init__(self, stage, log, playbook, *arguments, limit="mailservers"):
        self.stage, self.log = stage, log
        command = stage.command(playbook, *arguments, limit=limit)
        stage.say("$ " + " ".join(["ansible-playbook", *command[1:]]))
        with log.open("wb") as output:
            self.process = subprocess.Popen(command, env=stage.environment(), stdin=subprocess.DEVNULL, stdout=output,
                                            stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def output(self):
        """What it said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def until(self, pattern, limit=120):
        """Wait until it has said something (regular expression)."""
        deadline = time.monotonic() + limit
        while not re.search(pattern, self.output):
            assert self.process.poll() is None, f"it ended before it said {pattern!r}:\n{self.output[-3000:]}"
            assert time.monotonic() < deadline, f"it did not say {pattern!r} within {limit} s:\n{self.output[-3000:]}"
            time.sleep(0.05)
        return self

    def stop(self, number):
        """End it by a signal to the whole process group, as a terminal does; with SIGKILL all that it started, too."""
        self.stage.say(f"{signal.Signals(number).name} after {self.output.strip().splitlines()[-1][:100]!r}")
        started = family(self.process.pid)
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            # Ansible's workers have sessions of their own.
            kill(started)
        self.process.wait(60)
        kill(started)
        assert self.process.returncode
        assert "Traceback" not in self.output

    def end(self, limit=240):
        """Let it end by itself; its exit status."""
        status = self.process.wait(limit)
        assert "Traceback" not in self.output
        return status


def kill(pids):
    """End what is left of these processes."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


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


class Rekey:
    """One rekey of some hosts, however many runs it takes."""

    def __init__(self, stage, name):
        self.stage, self.name, self.runs = stage, name, 0
        self.random = random.Random(f"{SEED} {name}")
        self.start = time.time()
        self.keys_before = {host: keys(host) for host in stage.lab.names}
        self.certificates_before = {host: certificates(host) for host in stage.lab.names}
        self.served_before = {host: served(host) for host in stage.lab.names}
        stage.say(f"--- {name}, seed {SEED}")

    def begin(self, playbook="rekey", *arguments, **options):
        """Start a run."""
        self.runs += 1
        return Run(self.stage, self.stage.out / f"{self.name}-{self.runs}.log", playbook, *arguments, **options)

    def complete(self, *arguments, **options):
        """A run that is left alone has to succeed."""
        run = self.begin("rekey", *arguments, **options)
        assert run.end() == 0, run.output[-4000:]
        return run

    def targets(self):
        """The keys of the open operations: {host: digest, or None without an operation}."""
        return {host: (ledger(host)["operation"] or {}).get("target_spki") for host in self.stage.lab.names}

    def ended(self, targets):
        """Each of these hosts serves its target, and got no other key and no other certificate; mail never failed.

        :param targets: {host: digest of its next key}; other hosts were not to be touched.
        """
        for host, target in targets.items():
            assert served(host) == target
            assert keys(host) - self.keys_before[host] == {target}
            assert len(certificates(host) - self.certificates_before[host]) == 1
        for host in set(self.stage.lab.names) - set(targets):
            assert served(host) == self.served_before[host]
            assert keys(host) == self.keys_before[host]
        assert self.targets() == dict.fromkeys(self.stage.lab.names)
        for secondary in ("ns1", "ns2"):
            scene.lab("lag", secondary, "off")
        # The judge wants to see deliveries after the last change.
        time.sleep(6)
        evidence = self.stage.lab.evidence(self.stage.witness_file, self.start, time.time())
        result = verdict.judge(evidence, True, set(targets) == set(self.stage.lab.names))
        (self.stage.out / f"{self.name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
        (self.stage.out / f"{self.name}.svg").write_text(timeline.draw(evidence, result), encoding="utf-8")
        for line in verdict.explain(result):
            self.stage.say(line)
        self.stage.say(verdict.render(result, self.name))
        assert (result["failed"], result["exposure"]) == (0, 0)
        assert result["outcome"] == "PASS"


def ledger(host):
    """The ledger of a mail host (dict)."""
    return json.loads(snapshot.execute(host, f"cat {LEDGER}"))


def keys(host):
    """Every key that certbot has made on a mail host (set of digests)."""
    return set(snapshot.execute(host, KEYS).split())


def certificates(host):
    """Every certificate that certbot has got there (set of paths)."""
    return set(snapshot.execute(host, "ls /etc/letsencrypt/archive/*/cert*.pem").split())


def served(host):
    """The key in the chain file (digest)."""
    return snapshot.execute(host, SERVED_KEY).strip()
