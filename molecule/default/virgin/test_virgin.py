# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts as Debian installs them: what the check run afterwards may not change is written down."""

from __future__ import annotations

import json


def test_a_virgin_host_has_no_chain_file(host):
    assert not host.file("/etc/postfix/dane-chain.pem").exists
    assert not host.file("/var/lib/mailops-dane").exists
    assert not host.file("/etc/mailops-dane").exists
    assert not host.file("/etc/letsencrypt/live").exists


def test_a_virgin_host_has_no_record(records):
    assert set(map(tuple, records().values())) == {()}


def test_rekey_refuses_a_host_that_was_never_enabled(play, everything, mail_hosts):
    before = everything()
    played = play("rekey", "--check", "--diff", check=False)
    assert played.returncode != 0
    for name in mail_hosts.values():
        assert f"{name}: no record at _25._tcp.{name}. is known to be ours" in played.output
    assert "run enable.yml first" in played.output
    assert everything() == before


def test_the_state_before_the_check_run_is_written_down(stage, everything):
    log = stage.out / "ansible.log"
    before = {"log": log.stat().st_size if log.exists() else 0, "everything": everything()}
    (stage.out / "virgin.json").write_text(json.dumps(before), encoding="utf-8")
