# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run of the collection on the lab, as a user does it, with senders delivering and the judge watching.

The collection is the installed artifact below build/collections, called by its name; nothing is taken from the checkout.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import NamedTuple

LAB = pathlib.Path(__file__).resolve().parent
ROOT = LAB.parents[1]
PLAYBOOK = pathlib.Path(os.environ.get("DANE_ANSIBLE_BIN") or pathlib.Path(sys.executable).parent) / "ansible-playbook"

sys.path.insert(0, str(LAB))
import group_vars
import machine
from judge import timeline, verdict
from judge.labfile import Lab
from judge.sightings import read, runs

HOLD_LIMIT = 600
# Seconds of deliveries before what is judged, long enough for every cache to hold the RRset, and after it.
BEFORE, AFTER = 11.0, 7.0
READABLE = 20_000
RECAP = re.compile(r"^(?P<host>\S+)\s+: (?P<counts>ok=\d+.*)$", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Failed(Exception):
    """The scene cannot go on; the text says why."""


def lab(*command):
    """Run a lab.py command.

    :raises Failed: it ended with an error.
    """
    done = subprocess.run([sys.executable, str(LAB / "lab.py"), *command], check=False)
    if done.returncode:
        raise Failed(f"lab.py {' '.join(command[:2])} ended with {done.returncode}")


class Played(NamedTuple):
    """What became of a playbook."""

    command: list
    returncode: int
    output: str
    seconds: float

    def __repr__(self):
        return f"<{' '.join(self.command[1:])}: exit status {self.returncode}, {self.seconds:.0f} s, {self.changed}>"

    @property
    def recap(self):
        """What the recap counts: {host: {"ok": 12, "changed": 0, ...}}."""
        _before, _title, recap = self.output.rpartition("PLAY RECAP")
        return {found["host"]: {key: int(number) for key, number in re.findall(r"(\w+)=(\d+)", found["counts"])}
                for found in RECAP.finditer(recap)}

    @property
    def changed(self):
        """How many tasks changed something: {host: number}."""
        return {host: counts["changed"] for host, counts in self.recap.items()}


class Stage:
    """A lab that is up, and what may be done and seen on it.

    :param name: of the directory below build/ for what comes out.
    """

    def __init__(self, name):
        self.name = name
        self.out = ROOT / "build" / name
        self.witness_file = self.out / "witness.jsonl"
        self.rsa_file = self.out / "witness-rsa.jsonl"
        self.witnesses = []
        self.played = 0
        self.began = time.monotonic()
        self.lab_file = machine.BUILD / "lab.json"
        self.about = None
        self.lab = None

    def clear(self):
        """An empty place for what comes out."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.witness_file.unlink(missing_ok=True)
        self.rsa_file.unlink(missing_ok=True)
        # Empty: a configuration of the machine or of the user must not decide how the collection behaves here.
        (self.out / "ansible.cfg").write_text("", encoding="utf-8")

    def enter(self):
        """Read the description of the lab, and write a user's variables beside its inventory."""
        self.about = json.loads(self.lab_file.read_text(encoding="utf-8"))
        group_vars.write(self.lab_file)
        self.lab = Lab(self.lab_file)
        return self

    def variables(self):
        """A user's variables for this lab (dict)."""
        return group_vars.variables(self.about)

    def say(self, text):
        """A line of progress."""
        print(f"{self.name} {time.monotonic() - self.began:6.1f}s  {text}", flush=True)

    def environment(self):
        """What ansible-playbook runs with: the installed artifact, and no facts injected as variables."""
        return {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "build" / "collections"),
            "ANSIBLE_CONFIG": str(self.out / "ansible.cfg"),
            "ANSIBLE_HOST_KEY_CHECKING": "True",
            "ANSIBLE_INJECT_FACT_VARS": "False",
            "ANSIBLE_INVENTORY": self.about["inventory"],
            "PATH": f"{PLAYBOOK.parent}:{os.environ['PATH']}",
        }

    def command(self, playbook, *arguments, limit="mailservers"):
        """The command line of a user for a playbook of the collection, or a playbook file (list of str)."""
        name = str(playbook) if "/" in str(playbook) else f"mailops.dane.{playbook}"
        return [str(PLAYBOOK), name, *(["-l", limit] if limit else []), *arguments]

    def play(self, playbook, *arguments):
        """Run a playbook in the foreground.

        :raises Failed: it ended with an error.
        """
        command = self.command(playbook, *arguments)
        self.say("$ " + " ".join(["ansible-playbook", *command[1:]]))
        done = subprocess.run(command, env=self.environment(), stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            raise Failed(f"{playbook} ended with {done.returncode}")

    def run(self, playbook, *arguments, env=None, ansible=None, limit="mailservers"):
        """Run a playbook and keep what it says, whatever becomes of it (Played).

        :param env: variables beside those of :meth:`environment`. :param ansible: another ansible-playbook (path).
        :param limit: of the hosts, empty for all that the playbook names.
        """
        command = self.command(playbook, *arguments, limit=limit)
        if ansible:
            command[0] = str(ansible)
        self.say("$ " + " ".join(["ansible-playbook", *command[1:]]))
        environment = {**self.environment(), **(env or {})}
        environment["PATH"] = f"{pathlib.Path(command[0]).parent}:{environment['PATH']}"
        began = time.monotonic()
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        self.played += 1
        kept = self.out / f"played-{self.played}.log"
        kept.write_text(done.stdout, encoding="utf-8")
        # What -vvv says is for who looks into the file.
        print(done.stdout if len(done.stdout) < READABLE else f"[...]{done.stdout[-READABLE:]}\n(all of it: {kept})")
        return Played(command, done.returncode, COLOURS.sub("", done.stdout), time.monotonic() - began)

    def watch(self, rsa=False):
        """Start the witness; with ``rsa`` also one that knows RSA keys only."""
        for path, more in ((self.witness_file, []), (self.rsa_file, ["--rsa"]))[:2 if rsa else 1]:
            self.witnesses.append(subprocess.Popen(
                [sys.executable, str(LAB / "judge"), "witness", "--lab", str(self.lab_file), "--out", str(path), *more]))
            self.wait_for(path.exists, 10, "the witness's start")

    def stop_watching(self):
        """Let the witnesses write everything down."""
        running = [witness for witness in self.witnesses if witness.poll() is None]
        for witness in running:
            witness.terminate()
        for witness in running:
            try:
                witness.wait(30)
            except subprocess.TimeoutExpired:
                witness.kill()

    def deliver(self):
        """Start the senders, and wait until every one delivers verified mail to every host. Returns that epoch."""
        lab("senders", "start")
        since = time.time()
        for host in self.lab.names:
            self.wait_for(lambda h=host: self.lab.delivering(h, since), 60, f"verified delivery to {host} by every sender")
        return time.time()

    def versions(self, name, since):
        """The RRsets of a base domain in the order in which the primary gave them since an epoch, by the witness.

        :returns: list of sets of text, ``[{"3 1 1 ab..."}, ...]``; the first is the one that was there already.
        :raises Failed: the witness saw none.
        """
        seen = read(self.witness_file)
        for source in seen.sources(f"_25._tcp.{name}."):
            if source.server == self.about["primary"] and "." in source.address:
                return [set(run.value.records) for run in runs(seen.rrsets[source]) if run.end > since]
        raise Failed(f"the witness saw nothing at {name}")

    def wait_for(self, question, limit, what):
        """Ask until yes.

        :raises Failed: not within ``limit`` seconds.
        """
        deadline = time.monotonic() + limit
        while not question():
            if time.monotonic() > deadline:
                raise Failed(f"{what} did not happen within {limit:.0f} s")
            time.sleep(0.5)

    def judge(self, start, expect_new_keys=True, extra_records=0, end=None, suffix="", check_end=True, rsa=False):
        """The verdict on the time since ``start`` (epoch); keeps everything; the result dict of the judge.

        :param check_end: whether keys and records at the end are judged, too. :param end: epoch, now where it is not
            given. :param suffix: of the names of the files that are kept. :param rsa: by the witness that knows RSA only.
        """
        end = end or time.time()
        self.stop_watching()
        evidence = self.lab.evidence(self.rsa_file if rsa else self.witness_file, start, end)
        result = verdict.judge(evidence, check_end, expect_new_keys, extra_records)
        (self.out / f"verdict{suffix}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (self.out / f"timeline{suffix}.svg").write_text(timeline.draw(evidence, result), encoding="utf-8")
        for line in verdict.explain(result):
            self.say(line)
        return result

    def verdict_line(self, result):
        """The last line."""
        return verdict.render(result, self.name)


class Scene(Stage):
    """A fresh lab from ``with`` to the end of the block, with all that was started taken down again."""

    hold = None

    def __enter__(self):
        self.clear()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _interrupted)
        try:
            self.hold = machine.locked(HOLD_LIMIT)
            self.hold.__enter__()
            os.environ[machine.HELD] = "1"
            lab("up", "--fresh")
            self.enter()
        except BaseException as exc:
            self.__exit__(None, None, None)
            if isinstance(exc, machine.LabError):
                raise Failed(str(exc)) from exc
            raise
        return self

    def __exit__(self, *_exc):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.stop_watching()
        if os.environ.get(machine.HELD):
            subprocess.run([sys.executable, str(LAB / "lab.py"), "down"], check=False)
            del os.environ[machine.HELD]
            self.hold.__exit__(None, None, None)


def _interrupted(number, _frame):
    raise SystemExit(128 + number)
