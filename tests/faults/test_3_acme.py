# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults of the ACME server while a rekey runs. A failed attempt never costs a key or a record."""

from __future__ import annotations

import json

import breaking
import snapshot
from progress import Cases
from runs import CHAIN_FILE

SERVER = "acme.example.test:14000"


class TestAcme(Cases):
    minutes = 6

    def test_acme_down(self, rekey):
        rekey.break_now(breaking.acme_down())
        refused(rekey, [SERVER, "nothing that is served has changed"])

    def test_acme_refuses(self, rekey):
        rekey.break_now(breaking.acme_spoils("refuse", rekey.stage.out))
        # Debian's certbot stumbles over what the server said (AttributeError); its log has it.
        refused(rekey, ["/var/log/letsencrypt/letsencrypt.log"])

    def test_acme_limits_the_rate(self, rekey):
        rekey.break_now(breaking.acme_spoils("limit", rekey.stage.out))
        refused(rekey, ["/var/log/letsencrypt/letsencrypt.log"])

    def test_certificate_issued_and_connection_lost(self, rekey):
        rekey.break_now(breaking.acme_spoils("lose", rekey.stage.out))
        refused(rekey, [])
        assert "issued, and the connection closed" in (rekey.stage.out / "acme-lose.txt").read_text(encoding="utf-8")

    def test_another_intermediate(self, rekey, stage):
        """The next certificate comes from other issuers than the last, as those of real servers do."""
        rekey.last_arguments = ("-e", json.dumps({"dane_acme_server": stage.about["acme"]["other_directory"]}))
        before = {host: issuer(host) for host in rekey.hosts}
        rekey.complete(*rekey.last_arguments)
        assert all(issuer(host) not in ("", before[host]) for host in rekey.hosts)


def issuer(host):
    """Who issued what is served there (str)."""
    return snapshot.execute(host, f"openssl x509 -in {CHAIN_FILE} -noout -issuer").strip()


def refused(rekey, says):
    """Every host hears it, and nothing was made that anybody could see."""
    rekey.refused(says=["certbot did not obtain a certificate", *says])
    assert not rekey.changed()
