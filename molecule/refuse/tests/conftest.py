# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run that has to be refused, and what must not change meanwhile."""

from __future__ import annotations

import pytest
from words import flat

UNTOUCHED = ("/etc/postfix", "/etc/letsencrypt/live", "/etc/letsencrypt/archive")


@pytest.fixture(scope="session")
def untouched(everything):
    """``untouched()``: the zone on all servers, and what the mail hosts serve and would serve."""

    def look():
        return {where: content if where == "zone" else
                {path: about for path, about in content.items() if path.startswith(UNTOUCHED)}
                for where, content in everything().items()}

    return look


@pytest.fixture(scope="session")
def clear(lab):
    """``clear(played)``: what any output has to be, also when it tells of a failure; returns it in one line."""

    def check(played):
        assert "Traceback" not in played.output
        assert lab["tsig"]["secret"] not in played.output
        return flat(played.output)

    return check


@pytest.fixture
def refused(stage, play, clear, untouched):
    """``refused("rekey", "-e", ..., says=["mx1.example.test", "..."])``: it fails, says all this, changes nothing."""

    def run(playbook, *arguments, says, limit="mx1.example.test", env=None):
        before = untouched()
        assert before["zone"] and all(before[host] for host in stage.lab.names)
        played = play(playbook, *arguments, check=False, limit=limit, env=env)
        said = clear(played)
        with (stage.out / "refusals.txt").open("a", encoding="utf-8") as kept:
            kept.writelines(f"{line}\n" for line in played.output.splitlines() if line.startswith("fatal: "))
        assert played.returncode == 2
        assert f"fatal: [{limit}" in said or limit == "mailservers"
        assert [text for text in says if text not in said] == []
        assert untouched() == before
        return played

    return run
