# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that are killed or interrupted. The same command completes the rekey, with the same key."""

from __future__ import annotations

import signal
import time

import breaking
import hosts
import pytest
from progress import Cases
from runs import DEPLOY, KILL, LONG_WAIT, PREPARE, WAITING, WITHDRAW, Moment, Run, served

CERTBOT = r"TASK \[mailops\.dane\.certbot : Obtain a certificate"
MX1_DEPLOYED = r"TASK \[mailops\.dane\.postfix : Deploy\] \*+\s+changed: \[mx1\.example\.test\]"
# What caches may hold an RRset for after the last server let it go; the wait has some seconds more.
IN_CACHES = 2 * hosts.TTL
KILLS = 20
WITH_STANDBY = ("-e", '{"dane_standby": true}')
# Longer than a run that has nothing to wait for.
LONGEST = 45


@pytest.mark.short
class TestKilledEverywhere(Cases):
    """The most telling moments, in one rekey."""

    minutes = 5

    def test_killed_in_certbot(self, rekey):
        run = rekey.begin().until(CERTBOT)
        delay = rekey.random.uniform(0.5, 3)
        rekey.stage.say(f"certbot may work for {delay:.1f} s")
        time.sleep(delay)
        run.stop(signal.SIGKILL)
        assert set(rekey.targets().values()) == {""}, "the operation is open, and its key not noted yet"

    def test_falls_back_in_the_wait(self, rekey):
        """In the run that publishes: one that goes on later may find nothing to wait for any more."""
        fall_back_in_the_wait(rekey)

    def test_interrupted_in_the_wait(self, rekey):
        run = rekey.until(WAITING)
        targets = rekey.targets()
        run.stop(signal.SIGINT)
        assert rekey.targets() == targets and all(targets.values())
        assert not rekey.changed()

    def test_killed_in_the_reload(self, rekey):
        """The file is new, the service is old, and nobody knows."""
        rekey.break_now(breaking.killed_in("mx1", "reload"))
        run = rekey.running if rekey.running and rekey.running.alive else rekey.begin()
        assert run.end() == 2, run.output[-3000:]
        Run.kills += 1
        targets = rekey.targets()
        assert served("mx1") == targets["mx1"] and served("mx2") == rekey.served_before["mx2"]

    def test_killed_before_the_withdrawal(self, rekey, records):
        rekey.begin(at=[Moment(WITHDRAW, "", KILL)]).end()
        assert {host: served(host) for host in rekey.hosts} == rekey.targets()
        assert all(len(there) == 2 for there in records().values())


def lag(rekey, secondary, seconds):
    """Every version of the zone reaches it so late; the wait has to last for it and for the caches."""
    rekey.lag(secondary, seconds)
    rekey.deployed_after_publication = seconds + IN_CACHES
    rekey.until(WAITING)


def fall_back_in_the_wait(rekey):
    """A secondary that had the new records gives the old ones again: what caches hold counts from its recovery."""
    # Longer than the caches need, so that there is time enough to fall back in, also on a busy machine.
    run = rekey.until(r"about \d+ s left", "-e", f"dane_ttl_floor={LONG_WAIT}")
    struck = time.monotonic()
    rekey.break_now(breaking.falls_back())
    run.until(r"(?s)about \d+ s left.*is still served by", limit=LONG_WAIT)
    # A run that did not notice would have gone on by then.
    time.sleep(max(0.0, struck + LONG_WAIT + 4 - time.monotonic()))
    assert run.alive and not rekey.changed(), "it went on although a server had fallen back"
    rekey.lift()
    rekey.deployed_after = time.time() + IN_CACHES - 1


class TestLag(Cases):
    minutes = 3

    def test_lag_of_60_s(self, rekey):
        lag(rekey, "ns2", 60)


class TestLongLag(Cases):
    def test_lag_of_120_s(self, rekey):
        lag(rekey, "ns1", 120)


class TestKilledAtRandom(Cases):
    minutes = 12

    def test_killed_at_random_moments(self, rekey):
        """At least 20 times, mostly before anything is served; what a killed run left is completed in between."""
        rekey.only_one_key = False
        killed = 0
        for _run in range(3 * KILLS):
            run = rekey.begin()
            delay = rekey.random.uniform(1, LONGEST)
            rekey.stage.say(f"kill {killed + 1} of {KILLS}: after {delay:.1f} s")
            deadline = time.monotonic() + delay
            while run.alive and time.monotonic() < deadline:
                time.sleep(0.1)
            if run.alive:
                run.stop(signal.SIGKILL)
                killed += 1
            else:
                assert run.end() == 0, run.output[-3000:]
            if killed == KILLS:
                return
        raise AssertionError(f"only {killed} runs were there long enough to be killed")


class TestBoundaries(Cases):
    """A run that dies at every boundary between two tasks; each run dies at the first one that none has died at."""

    hosts = ("mx2",)
    minutes = 18

    def test_killed_at_every_task_of_prepare(self, rekey):
        assert die_in(rekey, PREPARE, DEPLOY) > 30

    def test_killed_at_every_task_of_deploy(self, rekey):
        assert die_in(rekey, DEPLOY, WITHDRAW) > 1


class TestBoundariesOfWithdraw(Cases):
    """The same, with a standby key that is made at the end, when the operation is closed."""

    hosts = ("mx2",)
    minutes = 38

    def test_killed_at_every_task_of_withdraw(self, rekey):
        # That of the standby key stays.
        rekey.records_end_alone = False
        rekey.last_arguments = WITH_STANDBY
        # Once the operation is closed, a run that begins none goes on making the standby key.
        assert die_in(rekey, WITHDRAW, arguments=WITH_STANDBY, closed=("-e", "dane_rekey=due")) > 60

    def test_completed(self, rekey, records):
        rekey.completed()
        # The lab's other rekeys have none.
        assert rekey.begin("renew").end() == 0, rekey.running.output[-3000:]
        assert all(len(there) == 1 for there in records().values())


def die_in(rekey, play, beyond="", arguments=(), closed=()):
    """Let runs die until one gets through the play, or to the play ``beyond``; how many died in it (int).

    :param closed: arguments of the runs that come after the operation is closed: else each would begin a rekey of its own.
    """
    rekey.only_one_key = False
    visited = rekey.stage.out / f"{rekey.name}-{play.strip('^')}.txt"
    visited.unlink(missing_ok=True)
    died = 0
    while True:
        more = closed if died and not any(rekey.targets().values()) else ()
        run = rekey.begin("rekey", *arguments, *more, die_in=play, visited=visited,
                          at=[Moment(beyond, "", KILL)] if beyond else [])
        status = run.end()
        known = len(visited.read_text(encoding="utf-8").splitlines())
        if known == died:
            assert status == (-signal.SIGKILL if beyond else 0), f"{status}:\n{run.output[-3000:]}"
            return died
        assert status == -signal.SIGKILL, f"{status}:\n{run.output[-3000:]}"
        died = known


class TestWait(Cases):
    minutes = 6

    def test_killed_in_the_wait(self, rekey):
        rekey.until(WAITING)
        time.sleep(rekey.random.uniform(0, 3))
        rekey.running.stop(signal.SIGKILL)

    def test_enable_comes_by(self, rekey, stage, records):
        """Nobody knows of the open rekey, and the daily run of enable.yml comes by."""
        if not all(rekey.targets().values()):
            rekey.until(WAITING).stop(signal.SIGKILL)
        targets, published = rekey.targets(), records()
        assert rekey.begin("enable").end() == 0, rekey.running.output[-3000:]
        assert records() == published and all(len(there) == 2 for there in published.values())
        assert rekey.targets() == targets

    def test_killed_after_the_first_host(self, rekey):
        rekey.begin().until(MX1_DEPLOYED).stop(signal.SIGKILL)
        targets = rekey.targets()
        assert served("mx1") == targets["mx1"] and served("mx2") == rekey.served_before["mx2"]


class TestLastHost(Cases):
    hosts = (hosts.MAIL_HOSTS[-1].short,)
    minutes = 3

    def test_only_the_last_host_is_pending(self, rekey):
        rekey.until(WAITING).stop(signal.SIGKILL)
        assert rekey.targets()["mx1"] is None
        assert rekey.complete(limit="mailservers")


class TestNew(Cases):
    minutes = 3

    def test_new_also_begins_where_nothing_is_open(self, rekey):
        run = rekey.begin(limit="mx2.example.test").until(WAITING)
        pending = rekey.targets()["mx2"]
        run.stop(signal.SIGKILL)
        run = rekey.begin("rekey", "-e", "dane_rekey=new").until(WAITING)
        targets = rekey.targets()
        assert targets["mx2"] == pending and targets["mx1"]
        assert run.end() == 0, run.output[-4000:]
