# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repetition of the look: when it ends, what it shows, what it says when the time is over."""

from __future__ import annotations

from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.mailops.dane.plugins.action import tlsa_wait
from ansible_collections.mailops.dane.plugins.module_utils._memory import Name
from ansible_collections.mailops.dane.plugins.module_utils._rollover import may_deploy
from rollover_values import OWNER, T0, TIMING, chain, look, record, seen, version

A, B = chain("A"), chain("B")
V_A, V_AB = version(record("A")), version(record("A"), record("B"))


class World:
    """A clock, and an action whose module gives the results of a script, one for each call."""

    def __init__(self, monkeypatch, *script, strategy="linear", check_mode=False, run_once=False, **args):
        self.now, self.script, self.calls, self.shown = T0, list(script), [], []
        task = mock.MagicMock(async_val=0, check_mode=check_mode, run_once=run_once, action="mailops.dane.tlsa_wait")
        task.args = {"names": [OWNER], **args}
        task.get_play.return_value.strategy = strategy
        self.action = tlsa_wait.ActionModule(
            task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock())
        self.action.clock = lambda: self.now
        self.action.sleep = self.sleep
        monkeypatch.setattr(self.action, "_execute_module", self.execute)
        monkeypatch.setattr(tlsa_wait.display, "display", lambda text, **_more: self.shown.append((self.now - T0, text)))

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds

    def execute(self, module_name, module_args, task_vars):
        self.calls.append((self.now - T0, dict(module_args)))
        assert module_name == "mailops.dane.tlsa_wait"
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        told = step(self.now) if callable(step) else step
        if isinstance(told, Exception):
            raise told
        return dict(told)

    def run(self):
        return self.action.run(task_vars={"a": 1})


def result(now, *looks):
    """What the module returns after some looks."""
    memory = seen(*looks)
    answer = may_deploy((B,), memory, [A], now, TIMING)
    return {"answer": answer.to_dict(), "now": now, "changed": False,
            "names": [{"name": OWNER, "look": looks[-1], "memory": memory.to_dict()}]}


def still(now):
    """The second server has not got the record."""
    return result(now, look(now, V_AB, V_A))


def cached(now):
    """Nobody has the old version since T0; caches may."""
    return result(now, look(T0 - 1, V_A), look(T0, V_AB), look(now, V_AB))


def test_a_yes_ends_the_wait_at_once(monkeypatch):
    world = World(monkeypatch, lambda now: result(now, look(now, V_AB)))
    told = world.run()
    assert told["answer"]["yes"] and told["waited"] == 0 and not told.get("failed")
    assert len(world.calls) == 1 and world.shown == []


def test_it_looks_again_until_the_caches_have_let_go(monkeypatch):
    world = World(monkeypatch, still, still, cached)
    told = world.run()
    assert told["answer"]["yes"] and not told.get("failed")
    # Two looks every ten seconds; then at the moment at which it can become a yes, and not much later.
    assert [at for at, _args in world.calls[:3]] == [0, 10, 20]
    assert 21 <= told["waited"] <= 21.5


def test_the_memory_goes_from_one_look_to_the_next(monkeypatch):
    given = {OWNER: Name(OWNER).to_dict()}
    world = World(monkeypatch, still, cached, memories=given)
    world.run()
    assert world.calls[0][1]["memories"] == given
    assert world.calls[1][1]["memories"] == {OWNER: still(T0)["names"][0]["memory"]}


def test_the_interval_is_the_callers(monkeypatch):
    world = World(monkeypatch, still, still, cached, interval="3")
    world.run()
    assert [at for at, _args in world.calls[:3]] == [0, 3, 6]


def test_progress_is_a_line_on_change_and_every_half_minute(monkeypatch):
    world = World(monkeypatch, *[still] * 8, lambda now: result(now, look(T0 - 1, V_A), look(now, V_AB)), timeout=90)
    told = world.run()
    assert told["failed"]
    assert [round(at) for at, _text in world.shown][:4] == [0, 30, 60, 80]
    assert "192.0.2.2" in world.shown[0][1] and "waiting 0 s" in world.shown[0][1]
    assert "left: " in world.shown[3][1] and "may be in caches" in world.shown[3][1]


def test_at_the_timeout_the_names_that_are_ready_go_on(monkeypatch):
    """One ill zone is no reason for forty hosts to fail."""
    def two(*yes):
        return lambda now: {**still(now), "answers": {
            f"{number}.": {"yes": one} for number, one in enumerate(yes)}}
    told = World(monkeypatch, two(True, False), timeout=5).run()
    assert not told["failed"] and told["late"] == ["1."] and "Cannot go on: after 5 s" in told["msg"]
    assert World(monkeypatch, two(False, False), timeout=5).run()["failed"]
    assert World(monkeypatch, lambda now: result(now, look(now, V_AB))).run()["late"] == []


def later(seconds):
    """A look by a clock that has jumped."""
    return lambda now: {**still(now), "now": now + seconds}


@pytest.mark.parametrize("seconds", [61, -61, 7200])
def test_a_clock_that_jumps_ends_the_wait_with_the_reason(monkeypatch, seconds):
    told = World(monkeypatch, still, later(seconds), cached).run()
    assert told["failed"] and f"has jumped by {seconds:+.0f} s" in told["msg"] and "run the same playbook again" in told["msg"]


def test_a_look_that_takes_long_is_no_jump(monkeypatch):
    told = World(monkeypatch, still, later(-59), later(0), cached).run()
    assert told["answer"]["yes"] and not told.get("failed")


def test_seconds_that_run_down_are_no_change(monkeypatch):
    def counting(now):
        return result(now, look(T0 - 1, version(record("A"), ttl=22)), look(T0, V_AB), look(now, V_AB))
    world = World(monkeypatch, counting, interval=1)
    assert world.run()["answer"]["yes"]
    assert [round(at) for at, _text in world.shown] == [0, 30]
    assert "about 45 s left" in world.shown[0][1] and "about 15 s left" in world.shown[1][1]


def test_progress_can_be_off(monkeypatch):
    world = World(monkeypatch, still, cached, progress="off")
    world.run()
    assert world.shown == []


def test_when_the_time_is_over_it_says_what_each_server_said_last(monkeypatch):
    world = World(monkeypatch, lambda now: result(now, look(now, V_AB, V_A, "silent")), timeout=25)
    told = world.run()
    assert told["failed"] and told["waited"] == 25
    assert len(told["last_words"]) == 3
    for words in ("25 s", "192.0.2.1: serves", "192.0.2.2: serves", "192.0.2.3: silent", "TTL 10",
                  "run the same playbook again"):
        assert words in told["msg"], words
    assert told["names"][0]["memory"], "what was seen is not lost"
    assert [at for at, _args in world.calls] == [0, 10, 20, 25]


def test_a_yes_at_the_last_moment_counts(monkeypatch):
    world = World(monkeypatch, still, still, still, lambda now: result(now, look(now, V_AB)), timeout=25)
    assert not world.run().get("failed")


def test_without_a_timeout_it_looks_once_whatever_it_sees(monkeypatch):
    world = World(monkeypatch, still, timeout=0)
    told = world.run()
    assert not told.get("failed") and not told["answer"]["yes"] and len(world.calls) == 1


def test_check_mode_looks_once(monkeypatch):
    world = World(monkeypatch, still, check_mode=True, strategy="free")
    assert not world.run().get("failed") and len(world.calls) == 1


def test_a_first_look_that_fails_is_a_failure(monkeypatch):
    world = World(monkeypatch, {"failed": True, "msg": "Cannot ask the resolver"})
    told = world.run()
    assert told["failed"] and told["msg"] == "Cannot ask the resolver" and len(world.calls) == 1


@pytest.mark.parametrize("trouble", [{"failed": True, "msg": "Cannot ask"}, AnsibleConnectionFailure("Cannot ask")])
def test_a_later_look_that_fails_is_a_not_yet(monkeypatch, trouble):
    world = World(monkeypatch, still, trouble, trouble, cached)
    told = world.run()
    assert told["answer"]["yes"] and not told.get("failed")
    assert any("Cannot ask" in text for _at, text in world.shown)


def test_looks_that_fail_to_the_end_are_a_failure(monkeypatch):
    world = World(monkeypatch, still, {"failed": True, "msg": "Cannot ask"}, timeout=30)
    told = world.run()
    assert told["failed"] and "Cannot ask" in told["msg"] and told["waited"] >= 30


def test_a_host_that_was_never_reached_is_unreachable(monkeypatch):
    with pytest.raises(AnsibleConnectionFailure):
        World(monkeypatch, AnsibleConnectionFailure("gone")).run()


@pytest.mark.parametrize("strategy", ["free", "host_pinned", "ansible.builtin.free", "debug"])
def test_other_strategies_are_refused(monkeypatch, strategy):
    world = World(monkeypatch, still, strategy=strategy)
    with pytest.raises(AnsibleActionFail, match="linear"):
        world.run()
    assert world.calls == []
    assert not World(monkeypatch, still, strategy=strategy, timeout=0).run().get("failed"), "one look is one look"


def test_a_look_for_the_whole_batch_is_refused_where_there_is_no_batch(monkeypatch):
    world = World(monkeypatch, still, strategy="free", run_once=True, timeout=0)
    with pytest.raises(AnsibleActionFail, match="strategy 'free'"):
        world.run()


@pytest.mark.parametrize("strategy", ["linear", "ansible.builtin.linear", None])
def test_linear_is_linear_however_it_is_written(monkeypatch, strategy):
    assert World(monkeypatch, lambda now: result(now, look(now, V_AB)), strategy=strategy).run()["answer"]["yes"]


@pytest.mark.parametrize("name", ["timeout", "interval"])
def test_a_time_that_is_none_is_named(monkeypatch, name):
    with pytest.raises(AnsibleActionFail, match=f"{name}='soon'"):
        World(monkeypatch, still, **{name: "soon"}).run()


def test_async_is_refused(monkeypatch):
    world = World(monkeypatch, still)
    world.action._task.async_val = 10
    with pytest.raises(AnsibleActionFail, match="async"):
        world.run()
