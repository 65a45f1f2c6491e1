# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One lab for all cases, mail that flows all along, and each class of cases one rekey.

A test is a case: it breaks something while a rekey runs, and leaves it mended. A class is one rekey; its last test,
``test_completed``, is the plain re-run and the verdict on everything since the first case.
"""

from __future__ import annotations

import re
import signal

import breaking
import pytest
import scene
import snapshot
from runs import Rekey


def pytest_configure(config):
    config.addinivalue_line("markers", "short: is in the short selection")


def pytest_addoption(parser):
    parser.addoption("--short", action="store_true", help="the short selection")
    parser.addoption("--cases", default="", help="names, with commas")
    parser.addoption("--lane", default="1/1", help="the cases of one lab of several side by side, as 2/3")


def name_of(item):
    """The name of a case, as it is chosen by."""
    return item.name.removeprefix("test_").replace("_", "-").replace("[", "-").rstrip("]")


def pytest_collection_modifyitems(config, items):
    """Choose cases; each class that one is of is completed at its end."""
    last = [item for item in items if item.originalname == "test_completed"]
    cases = [item for item in items if item not in last]
    wanted = {name.strip().replace("_", "-") for name in config.getoption("cases").split(",") if name.strip()}
    unknown = wanted - {name_of(item) for item in cases}
    if unknown:
        raise pytest.UsageError(
            f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(map(name_of, cases))}")
    chosen = [item for item in cases if name_of(item) in wanted or not wanted and (
        not config.getoption("short") or item.get_closest_marker("short"))]
    lane, lanes = map(int, config.getoption("lane").split("/"))
    classes = shared_out(list(dict.fromkeys(item.cls for item in chosen)), lanes)[lane - 1]
    items[:] = [item for one in classes for item in chosen + last if item.cls is one]


def shared_out(classes, lanes):
    """The classes of each lane, in their order: the longest first to the lane that has the least to do (list of lists)."""
    shares = [[] for _lane in range(lanes)]
    for one in sorted(classes, key=lambda cls: -cls.minutes):
        min(shares, key=lambda share: sum(cls.minutes for cls in share)).append(one)
    return [sorted(share, key=classes.index) for share in shares]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A case that fails does not keep the next ones from trying; a rekey that is not completed would."""
    outcome = yield
    if outcome.get_result().failed and item.originalname == "test_completed":
        item.config.pluginmanager.get_plugin("progress").broken = True


@pytest.fixture(scope="session")
def progress(request):
    return request.config.pluginmanager.get_plugin("progress")


@pytest.fixture(scope="session")
def stage(progress):
    """The lab with all that can be done on it (scene.Stage)."""
    return progress.stage


@pytest.fixture(scope="session")
def mail(stage, progress):
    """Hosts under DANE, senders that deliver, a witness that watches, all along."""
    ledger = "/var/lib/mailops-dane/ledger.json"
    # A virgin host has none.
    if not all("_25._tcp" in snapshot.execute(host, f"if [ -e {ledger} ]; then cat {ledger}; fi")
               for host in stage.lab.names):
        stage.play("enable")
    stage.watch()
    progress.began = stage.deliver()
    yield
    scene.lab("senders", "stop")


@pytest.fixture(scope="class")
def rekey(request, mail, stage, progress):
    """A rekey that begins now (Rekey)."""
    if progress.broken:
        heal(stage)
        progress.broken = False
    breaking.remember_zone()
    words = re.findall(r"[A-Z][a-z]+|\d+", request.cls.__name__.removeprefix("Test"))
    made = Rekey(stage, "-".join(words).lower(), request.cls.hosts or tuple(stage.lab.names))
    yield made
    if made.running and made.running.alive:
        made.running.stop(signal.SIGKILL)
    made.lift()
    made.catch_up()


@pytest.fixture(autouse=True)
def mended(request):
    """After a case that failed, too, nothing is broken any more."""
    yield
    if "rekey" in request.fixturenames and request.node.originalname != "test_completed":
        made = request.getfixturevalue("rekey")
        if not (made.running and made.running.alive):
            made.lift()


def heal(stage):
    """After a rekey that failed: whatever it takes, so that the next one begins with idle hosts."""
    for words in ([], ["-e", "dane_rekey=abandon"]):
        played = stage.run("rekey", *words)
        if played.returncode == 0:
            stage.say("healed by: rekey " + " ".join(words))
            return
        stage.run("enable")
    pytest.exit("the lab cannot be brought back to idle hosts")


@pytest.fixture(scope="session")
def records(stage):
    """``records()``: the TLSA records of every mail host at every server address (see snapshot.tlsa_records)."""
    return lambda: snapshot.tlsa_records(stage.lab.names.values())
