# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of all scenarios: the lab, the installed playbooks, what may not change, senders and verdicts.

Molecule runs pytest after it has started the lab (molecule/shared/create.yml). Tests with the argument ``host`` run
once per mail host, through testinfra; the others once.
"""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "lab"))

import snapshot
from mailhost import MailHost
from scene import Stage

# It is for molecule's own steps. testinfra reads the inventory by a command that would log it with all its secrets.
os.environ.pop("ANSIBLE_LOG_PATH", None)


@pytest.fixture(scope="session")
def stage():
    """The lab of this scenario with all that can be done on it (scene.Stage)."""
    scenario = os.environ.get("MOLECULE_SCENARIO_NAME", "by-hand")
    made = Stage(f"molecule/{scenario}")
    made.out.mkdir(parents=True, exist_ok=True)
    made.clear()
    yield made.enter()
    made.stop_watching()


@pytest.fixture(scope="session")
def lab(stage):
    """What lab.json says (dict)."""
    return stage.about


@pytest.fixture(scope="session")
def mail_hosts(stage):
    """Short names of the mail hosts, each with its base domain: {"mx1": "mx1.example.test", ...}."""
    return stage.lab.names


@pytest.fixture(scope="session")
def mail(lab, mail_hosts):
    """The mail hosts with their administrators, by their short names (dict of MailHost)."""
    return {short: MailHost(short, lab) for short in mail_hosts}


@pytest.fixture(scope="module")
def story():
    """What the tests of a file leave to one another (dict)."""
    return {}


@pytest.fixture
def in_order(request, story):
    """For tests that are one story: after one that failed, it is another story."""
    if story.get("failed"):
        # The run has failed already: this only keeps one cause from being told nine times.
        pytest.skip("an earlier test failed")
    yield
    story["failed"] = bool(request.session.testsfailed)


@pytest.fixture(scope="session")
def play(stage):
    """``play("rekey", "-e", "x=1", env={}, check=True, core="2.18", limit="mx1.example.test")``: run it as a user does.

    A playbook of the installed collection by its name, or a playbook file by its path. With ``check`` the test fails
    when the playbook does. Returns scene.Played: returncode, output, recap, changed.
    """

    def run(playbook, *arguments, env=None, check=True, core=None, limit="mailservers"):
        ansible = ROOT / "build" / f"venv-{core}" / "bin" / "ansible-playbook" if core else None
        played = stage.run(playbook, *arguments, env=env, ansible=ansible, limit=limit)
        if check:
            assert played.returncode == 0, f"{playbook} ended with {played.returncode}:\n{played.output[-3000:]}"
        return played

    return run


@pytest.fixture(scope="session")
def records(stage):
    """``records()``: the TLSA records of every mail host at every server address (see snapshot.tlsa_records)."""
    return lambda: snapshot.tlsa_records(stage.lab.names.values())


@pytest.fixture(scope="session")
def published(stage, records):
    """``published("mx1.example.test")``: the TLSA records of that name, the same on all servers (set of text).

    What a run publishes or withdraws last it does not wait for, and the secondaries get it when they come to it: they
    are given a minute to agree.
    """

    def everywhere(name):
        return {tuple(texts or ()) for source, texts in records().items() if source.startswith(f"_25._tcp.{name}. ")}

    def at(name):
        stage.wait_for(lambda: len(everywhere(name)) == 1, 60, f"one RRset of {name} on all servers")
        (found,) = everywhere(name)
        return set(found)

    return at


@pytest.fixture(scope="session")
def zone_hash(records):
    """``zone_hash()``: all of the zone, to be compared with an earlier one (dict, so that a difference is shown)."""
    return lambda: {**snapshot.zone_content(), **records()}


@pytest.fixture(scope="session")
def file_hashes():
    """``file_hashes("mx1")``: digest, mode and owner of every file that the collection could touch there (dict)."""
    return snapshot.files


@pytest.fixture(scope="session")
def everything(stage, zone_hash, file_hashes):
    """``everything()``: the zone and the files of all mail hosts, to be compared with an earlier state (dict)."""
    return lambda: {"zone": zone_hash(), **{host: file_hashes(host) for host in stage.lab.names}}
