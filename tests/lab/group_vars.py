# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a user would write into group_vars/mailservers.yml, for the lab: beside its inventory, from lab.json.

The short times are the lab's own: its TTL is 10 s, its resolvers raise nothing, and its Postfix ends its processes fast.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from machine import BUILD


def variables(lab):
    """The variables (dict) for a lab described by the dict of lab.json."""
    return {
        "dane_publisher": "rfc2136",
        "dane_dns_server": lab["hosts"][lab["primary"]]["ipv4"],
        "dane_tsig": dict(lab["tsig"]),
        "dane_resolvers": [lab["resolver"]["ipv4"]],
        "dane_acme_server": lab["acme"]["directory"],
        "dane_acme_email": "hostmaster@example.test",
        "dane_certbot_environment": {"REQUESTS_CA_BUNDLE": lab["acme"]["ca_file_on_hosts"]},
        # Most of what is tested is a rekey that waits; molecule/standby is about one that need not.
        "dane_standby": False,
        "dane_ttl": lab["ttl"],
        "dane_ttl_floor": 0,
        # Postfix as a sender keeps an answer for its TTL and one second more.
        "dane_ttl_slack": 3,
        "dane_ttl_ceiling": lab["ttl"],
        "dane_linger": 8,
        "dane_wait_interval": 2,
        "dane_wait_timeout": 300,
    }


def write(lab_file):
    """Write group_vars/mailservers.yml beside the lab's inventory (JSON is YAML). Returns its path."""
    lab = json.loads(Path(lab_file).read_text(encoding="utf-8"))
    target = Path(lab["inventory"]).parent / "group_vars" / "mailservers.yml"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(variables(lab), indent=1) + "\n", encoding="utf-8")
    target.chmod(0o600)
    return target


if __name__ == "__main__":
    print(write(BUILD / "lab.json"))
