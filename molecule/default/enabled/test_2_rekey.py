# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two rekeys in a row while senders deliver, one with each ansible-core that is supported; no key leaves its host.

The second is driven as a scheduler would: no run waits, and those that have to be gone on with later say so by failing.
"""

from __future__ import annotations

import json
import pathlib
import time

import leaks
import pytest

HERE = pathlib.Path(__file__).resolve().parent
# Long enough before for every cache to hold the old RRset, and after for deliveries with the new one.
BEFORE, AFTER = 11.0, 7.0
CORES = {"first": None, "second": "2.18"}
DEFER = ("-e", "dane_wait=defer", "-e", "dane_defer_fails=true")
# The caches of the lab have let go after that many runs, with some to spare.
MOST_RUNS = 9


def served(records, mail_hosts):
    """The record of each host, when all servers have one and the same: {short: record}."""
    found = {}
    for short, name in mail_hosts.items():
        mine = {tuple(texts) for source, texts in records().items() if source.startswith(f"_25._tcp.{name}. ")}
        assert len(mine) == 1 and len(*mine) == 1, f"{name}: the servers have {mine}"
        found[short] = next(iter(mine))[0]
    return found


def deferred(play, core):
    """Run the rekey until one succeeds; all runs."""
    runs = []
    while not runs or runs[-1].returncode:
        assert len(runs) < MOST_RUNS
        runs.append(play("rekey", "-vvv", *DEFER, core=core, check=False, env={"ANSIBLE_SHOW_CUSTOM_STATS": "1"}))
        assert runs[-1].returncode in (0, 2), runs[-1].output[-3000:]
    return runs


@pytest.fixture(scope="module")
def rekeys(stage, play, records, mail_hosts):
    """Both runs with their windows, and the records before, between and after."""
    began, runs, states = stage.lab_file.stat().st_mtime, {}, [served(records, mail_hosts)]
    stage.watch()
    start = stage.deliver()
    for which, core in CORES.items():
        time.sleep(BEFORE)
        played = [play("rekey", "-vvv", core=core)] if which == "first" else deferred(play, core)
        time.sleep(AFTER)
        runs[which] = {"start": start, "end": time.time(), "played": played}
        start = runs[which]["end"]
        states.append(served(records, mail_hosts))
    for which, run in runs.items():
        run["verdict"] = stage.judge(run["start"], end=run["end"], suffix=f"-{which}")
    return {"runs": runs, "states": states, "began": began}


@pytest.fixture(scope="module")
def wanted(rekeys, lab, mail_hosts):
    """What to look for: every private key that any host ever had, and the secrets for DNS updates."""
    keys = [key for host in mail_hosts for key in leaks.keys_of(host)]
    # Of each host: its own from the first day, and those of enable and of two rekeys.
    assert len(keys) >= 4 * len(mail_hosts)
    return leaks.needles(keys, [lab["tsig"]["secret"]])


@pytest.mark.parametrize("which", CORES)
def test_no_delivery_failed_and_no_cache_could_have_seen_a_mismatch(rekeys, which):
    verdict = rekeys["runs"][which]["verdict"]
    assert (verdict["outcome"], verdict["reasons"], verdict["void"]) == ("PASS", [], [])
    assert (verdict["failed"], verdict["exposure"]) == (0, 0.0)
    assert verdict["verified"] > 100
    assert sorted(switch["host"] for switch in verdict["switches"]) == ["mx1", "mx2"]


def test_each_rekey_gave_each_host_a_key_it_never_had(rekeys, mail_hosts):
    for host in mail_hosts:
        assert len({state[host] for state in rekeys["states"]}) == 3


def test_a_run_that_was_deferred_says_why_and_did_not_deploy(rekeys):
    *deferred_runs, last = rekeys["runs"]["second"]["played"]
    assert deferred_runs and last.returncode == 0
    for played in deferred_runs:
        assert "deferred, as dane_wait says" in played.output and "run the same playbook again" in played.output
        assert "postfix : Deploy" not in played.output
        stats = played.output.rpartition("CUSTOM STATS")[2]
        told = json.JSONDecoder().raw_decode(stats[stats.index("{"):])[0]["dane_result"]
        assert told["deferred"] is True and told["verdict"] == "no" and told["reasons"]
        # Nobody knows when, as long as some server still gives the old version.
        times = [reason["until"] for reason in told["reasons"]]
        assert told["safe_at"] == (None if None in times else max(times))
    assert "CUSTOM STATS" not in last.output


@pytest.mark.parametrize("which", CORES)
def test_no_key_is_in_the_output(rekeys, wanted, which):
    output = "".join(played.output for played in rekeys["runs"][which]["played"])
    assert "ESTABLISH SSH CONNECTION" in output, "this was not -vvv"
    assert leaks.found_in(output, wanted) == []


def searched(stage):
    """Where a run of Ansible could leave a file on the controller."""
    return ["/tmp", "/var/tmp", stage.out.parents[1], pathlib.Path.home() / ".ansible", pathlib.Path.home() / ".cache"]


def known(found, stage):
    """The lab itself keeps the secret for DNS updates in its description, and gives it to its name servers."""
    return {path: labels for path, labels in found.items()
            if labels != ["secret 0"] or not path.startswith(str(stage.lab_file.parent))}


def cached_facts(stage):
    """What the fact cache holds: {file name: text}."""
    return {path.name: path.read_text(encoding="utf-8") for path in (stage.out / "facts").glob("*")}


def test_no_key_is_in_a_file_of_the_controller(stage, rekeys, wanted):
    assert known(leaks.found_in_files(searched(stage), wanted, rekeys["began"]), stage) == {}


def test_nothing_of_ours_is_in_the_fact_cache(stage, rekeys):
    facts = cached_facts(stage)
    assert [name for name, text in facts.items() if "_dane" in text] == []


def test_the_canary_is_found(stage, play, rekeys, wanted, tmp_path):
    """What a leaking task prints, writes and keeps is found, so that finding nothing means something."""
    played = play(HERE / "leak.yml", "-vvv", "-e", f"canary_directory={tmp_path}")
    cache = stage.out / "facts"
    try:
        assert len(leaks.found_in(played.output, wanted)) == 2
        files = known(leaks.found_in_files(searched(stage), wanted, rekeys["began"]), stage)
        assert {pathlib.Path(path).parent for path in files} >= {tmp_path, cache}
        assert len([name for name, text in cached_facts(stage).items() if "_dane" in text]) == 2
    finally:
        for path in [*tmp_path.glob("*"), *cache.glob("*")]:
            path.unlink()
        # What was said is kept, too.
        for path in stage.out.glob("*.log"):
            if leaks.found_in(path.read_bytes(), wanted):
                path.unlink()
