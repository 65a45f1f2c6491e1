# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""After ``--check --diff`` of enable.yml on virgin hosts: the plan was printed, and nothing changed."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def before(stage):
    return json.loads((stage.out / "virgin.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def said(stage, before):
    """What the check run printed."""
    with open(stage.out / "ansible.log", encoding="utf-8") as log:
        log.seek(before["log"])
        text = log.read()
    assert "PLAY RECAP" in text, "there was no check run"
    return text


def test_it_prints_the_records_that_would_be_published(said, mail_hosts):
    for name in mail_hosts.values():
        assert f"_25._tcp.{name}. 10 IN TLSA 3 1 1 <key to be made on {name}>" in said


def test_it_prints_the_files_and_the_setting(said, mail_hosts):
    for name in mail_hosts.values():
        assert f"/etc/letsencrypt/live/{name}/privkey.pem <key to be made on {name}>" in said
        assert f"/etc/postfix/dane-chain.pem <key to be made on {name}>" in said
    assert said.count("main.cf after: smtpd_tls_chain_files = /etc/postfix/dane-chain.pem") == len(mail_hosts)


def test_it_changed_nothing(before, everything):
    assert everything() == before["everything"]
