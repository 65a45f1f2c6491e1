#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tlsa_wait
short_description: Wait until every server has the TLSA records and every cache has let the old ones go
version_added: 0.1.0
description:
  - Looks at every address of every authoritative server of many owner names at once, and answers whether the given
    chains may be served now, that is whether every version of the RRset that a sender may still hold suits them
    (RFC 7671 section 8). If not, it says since when, because of which server, and when it could become a yes.
  - The task repeats the look until the answer is yes or O(timeout) is over, and shows on the way which servers are
    behind, why, and how long is left. The wait is shared by all names.
  - With O(records) it also waits until every version that a sender may still hold has these records.
  - Without O(candidates) it waits until every server has been heard.
author:
  - The mailops.dane authors (@mailops)
requirements:
  - dnspython >= 2.2 and cryptography where the task runs
attributes:
  check_mode:
    support: full
    description: Takes one look and does not wait.
  diff_mode:
    support: none
    description: It changes nothing.
  action:
    support: full
    description: The repetition and the progress are done on the controller; each look is one call of the module.
  async:
    support: none
    description: A wait that is cut off loses nothing. Run it again.
  platform:
    support: full
    description: Where dnspython is.
    platforms: posix
extends_documentation_fragment:
  - mailops.dane.rollover
  - mailops.dane.override
  - mailops.dane.dns
options:
  names:
    description: Owner names, such as V(_25._tcp.mx1.example.org.).
    type: list
    elements: str
    required: true
  memories:
    description:
      - What is remembered of each owner name from earlier looks, as RV(names[].memory) of an earlier call or from the
        ledgers of the hosts.
      - Without it a version from before the first look may be in caches for the O(timing) ceiling.
    type: dict
    default: {}
  candidates:
    description:
      - The chains that are to be served, by owner name. Each has RV(ignore:chain) as M(mailops.dane.chain_assemble)
        returns it, RV(ignore:replaced), the list of chains that are served now, and RV(ignore:host), for messages.
      - Where several chains are to be served from one file, RV(ignore:further) is the list of the others.
    type: dict
    default: {}
  records:
    description:
      - The records (lists of rdata, by owner name) that every version has to have that a sender may hold, before a
        combination of parameters takes the place of another one (RFC 7671 sections 8.2 and 8.3).
    type: dict
    default: {}
  timeout:
    description: How long to wait at most, in seconds. V(0) takes one look and succeeds whatever the answer.
    type: int
    default: 86400
  interval:
    description: How long to pause between two looks, in seconds.
    type: int
    default: 10
  progress:
    description:
      - V(lines) shows a line when something changed, and every half minute; V(off) shows nothing; V(auto) is V(lines).
    type: str
    default: auto
    choices: [auto, lines, "off"]
"""

EXAMPLES = r"""
- name: Wait until the next chain may be served
  mailops.dane.tlsa_wait:
    names: [_25._tcp.mx1.example.org.]
    candidates:
      _25._tcp.mx1.example.org.:
        - host: mx1
          chain: "{{ next.chain }}"
          replaced: ["{{ current.chain }}"]
    timeout: 14400
  delegate_to: localhost

- name: Take one look, whatever it shows
  mailops.dane.tlsa_wait:
    names: [_25._tcp.mx1.example.org.]
    timeout: 0
  delegate_to: localhost
  register: look
"""

RETURN = r"""
answer:
  description:
    - Whether all candidates may be served. RV(ignore:verdict) is V(yes), V(no worse), V(at your word) (see O(override))
      or V(no); RV(ignore:reasons) say why not; RV(ignore:safe_at) is the earliest time at which it could become a yes, or
      V(null) while something that stands in the way is still being served.
  returned: always
  type: dict
answers:
  description: The same for each owner name alone.
  returned: success and timeout
  type: dict
late:
  description: The owner names whose answer was still no at the timeout, when there were others. Without others the task fails.
  returned: success
  type: list
  elements: str
names:
  description: What was seen, for each owner name.
  returned: success and timeout
  type: list
  elements: dict
  contains:
    name:
      description: The owner name.
      type: str
    look:
      description: What each server said, with RV(ignore:security), RV(ignore:zone) and RV(ignore:findings).
      type: dict
    memory:
      description: What may still be seen, for the next call or the ledger.
      type: dict
    states:
      description: The state of each record, V(HIDDEN), V(RUMOURED), V(OMNIPRESENT) or V(UNRETENTIVE).
      type: dict
base_domains:
  description: The base domains of the O(names), for the option C(names) of M(mailops.dane.dane_ledger) and
    M(mailops.dane.chain_deploy).
  returned: success and timeout
  type: list
  elements: dict
  contains:
    name:
      description: The base domain.
      type: str
    addresses:
      description: Its addresses. Empty when it has none, or they could not be found.
      type: list
      elements: str
    ttl:
      description: How long caches may lead to them, in seconds.
      type: int
    problem:
      description: Why there are none, or an empty string.
      type: str
now:
  description: The clock of the host that looked, in seconds since the epoch.
  returned: success and timeout
  type: float
waited:
  description: How long the task waited, in seconds.
  returned: success and timeout
  type: float
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mailops.dane.plugins.module_utils import _dns, _options, _wait
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError
from ansible_collections.mailops.dane.plugins.module_utils._waivers import parse_override, parse_waivers


def main():
    module = AnsibleModule(
        argument_spec={
            **_dns.argument_spec(),
            "names": {"type": "list", "elements": "str", "required": True},
            "memories": {"type": "dict", "default": {}},
            "candidates": {"type": "dict", "default": {}},
            "records": {"type": "dict", "default": {}},
            "waive": _options.WAIVE,
            "override": _options.OVERRIDE,
            "timing": _options.TIMING,
            # For the action plugin, which repeats this module; here so that they are checked and documented once.
            "timeout": {"type": "int", "default": 86400},
            "interval": {"type": "int", "default": 10},
            "progress": {"type": "str", "default": "auto", "choices": ["auto", "lines", "off"]},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        _dns.require_library()
        result = _wait.one_look(
            params["names"], params["memories"], params["candidates"], _options.timing(params["timing"]),
            _dns.Settings.from_options(params), time.time, parse_waivers(params["waive"]),
            parse_override(params["override"]), params["records"])
    except DaneError as exc:
        module.fail_json(msg=exc.message, **exc.fields)
    if result["answer"]["verdict"] == "at your word":
        module.warn(result["answer"]["text"])
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
