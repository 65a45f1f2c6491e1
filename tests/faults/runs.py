# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are stopped or disturbed at a chosen moment, and a rekey that is judged from its first attempt to its end."""

from __future__ import annotations

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time
from typing import NamedTuple

import machine
import scene
import snapshot
from judge import timeline, verdict

HERE = pathlib.Path(__file__).resolve().parent
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
WAITING = r"(?m)^ +waiting \d+ s: "
PREPARE, DEPLOY, WITHDRAW = "^Prepare", "^Deploy", "^Withdraw"
KILL = "KILL"
# Seconds of a wait that is long enough to break something in, also on a busy machine.
LONG_WAIT = 40


class Moment(NamedTuple):
    """A task boundary (regular expressions of play and task, the nth that matches), and what is done there."""

    play: str
    task: str
    run: str
    nth: int = 1


class Run:
    """A playbook that is running, with its output in a file: what outlives a killed run would keep a pipe open."""

    kills = 0

    def __init__(self, stage, log, playbook, *arguments, at=(), die_in="", visited=None, env=None, limit="mailservers"):
        """
        :param log: path of the file for the output. :param at: Moments. :param env: variables beside those of a user.
        :param die_in: regular expression of plays: it dies at their first task boundary that is not in ``visited`` yet.
        """
        self.stage, self.log, self.at = stage, log, list(at)
        self.happened_file = log.with_suffix(".happened")
        self.happened_file.unlink(missing_ok=True)
        plan = log.with_suffix(".moments")
        plan.write_text(json.dumps({
            "at": [moment._asdict() for moment in self.at], "die_in": die_in, "visited": visited and str(visited),
            "happened": str(self.happened_file)}), encoding="utf-8")
        moments = {"ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callbacks"), "ANSIBLE_CALLBACKS_ENABLED": "moments",
                   "DANE_MOMENTS": str(plan)}
        command = stage.command(playbook, *arguments, limit=limit)
        stage.say("$ " + " ".join(["ansible-playbook", *command[1:]]))
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command, env={**stage.environment(), **moments, **(env or {})}, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True)

    @property
    def output(self):
        """What it said so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def said(self):
        """The same in one line, with quotes as they were: Ansible wraps errors and prints results as JSON."""
        return " ".join(self.output.replace('\\"', '"').replace("\\n", " ").split())

    @property
    def alive(self):
        """Whether it still runs."""
        return self.process.poll() is None

    def happened(self):
        """What the moments did, a line each (list of str)."""
        return self.happened_file.read_text(encoding="utf-8").splitlines() if self.happened_file.exists() else []

    def until(self, pattern, limit=300):
        """Wait until it has said something (regular expression)."""
        deadline = time.monotonic() + limit
        while not re.search(pattern, self.output):
            assert self.alive, f"it ended before it said {pattern!r}:\n{self.output[-3000:]}"
            assert time.monotonic() < deadline, f"it did not say {pattern!r} within {limit} s:\n{self.output[-3000:]}"
            time.sleep(0.05)
        return self

    def stop(self, number):
        """End it by a signal to the whole process group, as a terminal does; with SIGKILL all that it started, too."""
        last = (self.output.strip() or "(nothing)").splitlines()[-1][:100]
        self.stage.say(f"{signal.Signals(number).name} after {last!r}")
        started = machine.family(self.process.pid)
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            # Ansible's workers have sessions of their own.
            machine.kill(started)
            Run.kills += 1
        self.process.wait(60)
        machine.kill(started)
        assert self.process.returncode
        self.check()

    def end(self, limit=600):
        """Let it end by itself, or by a moment; its exit status."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            machine.kill([*machine.family(self.process.pid), self.process.pid])
            raise AssertionError(f"it did not end within {limit} s:\n{self.output[-3000:]}") from None
        happened = self.happened()
        for line in happened:
            self.stage.say(line)
        self.stage.say(f"ended with {status}")
        Run.kills += any(line.startswith("killed") for line in happened)
        self.check()
        assert not [line for line in happened if line.startswith("FAILED")], happened
        assert len(happened) >= len(self.at), f"not every fault happened: {happened} of {self.at}:\n{self.output[-3000:]}"
        return status

    def check(self):
        """What holds for any run, however it ended."""
        for trace in ("Traceback", "MODULE FAILURE", "Unexpected Exception", "Unexpected failure"):
            assert trace not in self.output, f"it said {trace!r}:\n{self.output[-4000:]}"
        assert self.stage.about["tsig"]["secret"] not in self.output


class Rekey:
    """One rekey of some hosts, however many runs it takes."""

    def __init__(self, stage, name, hosts=("mx1", "mx2")):
        self.stage, self.name, self.hosts, self.runs = stage, name, list(hosts), 0
        self.random = random.Random(f"{SEED} {name}")
        self.start = time.time()
        self.running = None
        self.faults = []
        self.keys_before = {host: keys(host) for host in stage.lab.names}
        self.certificates_before = {host: certificates(host) for host in stage.lab.names}
        self.served_before = {host: served(host) for host in stage.lab.names}
        # What a case makes of the judge's demands: the tests set these.
        self.only_one_key = True
        self.records_end_alone = True
        self.lagging = []
        self.deployed_after = 0.0
        self.deployed_after_publication = 0.0
        self.last_arguments = ()
        stage.say(f"--- {name}, seed {SEED}")

    @property
    def limit(self):
        """The limit of the command line that means the hosts of this rekey."""
        everywhere = set(self.hosts) == set(self.stage.lab.names)
        return "mailservers" if everywhere else ",".join(self.stage.lab.names[host] for host in self.hosts)

    def begin(self, playbook="rekey", *arguments, **options):
        """Start a run."""
        assert not (self.running and self.running.alive), "two runs at once"
        self.running = self.another(playbook, *arguments, **options)
        return self.running

    def another(self, playbook="rekey", *arguments, **options):
        """Start a run beside the one that is running."""
        self.runs += 1
        log = self.stage.out / f"{self.name}-{self.runs}.log"
        return Run(self.stage, log, playbook, *arguments, **{"limit": self.limit, **options})

    def until(self, pattern, *arguments, limit=300, **options):
        """The run that is running, or a new one, when it has said this."""
        run = self.running if self.running and self.running.alive else self.begin("rekey", *arguments, **options)
        return run.until(pattern, limit)

    def break_now(self, fault):
        """Do it now; it is lifted at the end of the test at the latest."""
        self.stage.say(f"fault: {fault}")
        self.faults.append(fault)
        fault.strike()
        return fault

    def break_at(self, play, task, fault, nth=1):
        """The Moment at which this fault is done."""
        self.faults.append(fault)
        return Moment(play, task, fault.on, nth)

    def lift(self):
        """End all faults, the last first."""
        while self.faults:
            fault = self.faults.pop()
            self.stage.say(f"lifted: {fault}")
            fault.lift()

    def lag(self, secondary, seconds):
        """Every version of the zone reaches this secondary so late, to the end of the rekey."""
        scene.lab("lag", secondary, str(seconds))
        self.lagging.append(secondary)

    def catch_up(self):
        """No secondary lags any more."""
        while self.lagging:
            scene.lab("lag", self.lagging.pop(), "off")

    def refused(self, *arguments, says, playbook="rekey", status=(2, 4), **options):
        """A run that has to end in a clean refusal that says all this; then the faults are lifted."""
        run = self.begin(playbook, *arguments, **options)
        self.must_refuse(run, says, status)
        self.lift()
        return run

    @staticmethod
    def must_refuse(run, says, status=(2, 4)):
        """This run has to end in a clean refusal."""
        ended = run.end()
        assert ended in status, f"exit status {ended}:\n{run.output[-4000:]}"
        for line in run.output.splitlines():
            if line.startswith(("fatal: ", "  waiting")):
                run.stage.say(f"it said: {line[:600]}")
        missing = [text for text in says if text not in run.said]
        assert missing == [], f"it did not say {missing}:\n{run.output[-4000:]}"

    def complete(self, *arguments, **options):
        """A run that is left alone has to succeed."""
        run = self.begin("rekey", *arguments, **options)
        assert run.end() == 0, run.output[-4000:]
        return run

    def targets(self):
        """The keys of the open operations: {host: digest, or None without an operation}."""
        return {host: (ledger(host)["operation"] or {}).get("target_spki") for host in self.stage.lab.names}

    def changed(self):
        """Hosts that serve another key than in the beginning (set)."""
        return {host for host in self.stage.lab.names if served(host) != self.served_before[host]}

    def completed(self):
        """The faults are lifted: the same command, once more, completes the rekey; and mail never failed."""
        if self.running and self.running.alive:
            assert self.running.end() == 0, self.running.output[-4000:]
        self.lift()
        targets = self.targets()
        if any(targets[host] is not None for host in self.hosts) or not self.changed():
            self.complete(*self.last_arguments)
        self.ended({host: target or served(host) for host, target in targets.items() if host in self.hosts})

    def ended(self, targets):
        """Each of these hosts serves its target, and got no other key and no other certificate; mail never failed.

        :param targets: {host: digest of its next key}; other hosts were not to be touched.
        """
        for host, target in targets.items():
            assert served(host) == target and target != self.served_before[host], host
            if self.only_one_key:
                assert keys(host) - self.keys_before[host] == {target}, host
                assert len(certificates(host) - self.certificates_before[host]) == 1, host
        for host in set(self.stage.lab.names) - set(targets):
            assert served(host) == self.served_before[host]
            assert keys(host) == self.keys_before[host]
        assert self.targets() == dict.fromkeys(self.stage.lab.names)
        result = self.verdict(set(targets) == set(self.stage.lab.names), self.records_end_alone)
        assert (result["failed"], result["exposure"]) == (0, 0)
        # Exposure is of caches of any age, so whose cache held the old records at that moment need not be known here: a
        # server that was silent then makes the deliveries too rare to tell.
        void = [reason for reason in result["void"] if not reason.startswith("no sender's cache is known")]
        assert not result["reasons"] + void
        self.waited(result)

    def verdict(self, new_keys=True, check_end=True):
        """What the judge says of the time since the start (dict), kept beside the logs."""
        self.catch_up()
        # The judge wants to see deliveries after the last change.
        time.sleep(6)
        evidence = self.stage.lab.evidence(self.stage.witness_file, self.start, time.time())
        result = verdict.judge(evidence, check_end, new_keys)
        (self.stage.out / f"{self.name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
        (self.stage.out / f"{self.name}.svg").write_text(timeline.draw(evidence, result), encoding="utf-8")
        for line in verdict.explain(result):
            self.stage.say(line)
        self.stage.say(verdict.render(result, self.name))
        return result

    def waited(self, result):
        """No host switched before it could: the wait is no luck of the caches."""
        published = {found["host"]: found["end"] for found in _with_host(result)}
        for switch in result["switches"]:
            assert self.start + switch["start"] >= self.deployed_after, "deployed too early"
            if switch["host"] in published:
                assert switch["start"] - published[switch["host"]] >= self.deployed_after_publication


def _with_host(result):
    return [{**found, "host": found["owner"].split(".")[2]} for found in result["publications"]]


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
