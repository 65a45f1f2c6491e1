# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each rule of contract_*.py on a sample that breaks it and one that does not: a rule that never fires is none."""

from __future__ import annotations

import contract_ansible as rules
import contract_layers
import contract_text
import pytest

# --- layers --------------------------------------------------------------------------------------------------------

BAD_IMPORTS = {
    "upwards": ("_chain", "from ._gate import deploy", "not above"),
    "itself, by another name": ("_dns", "from . import _dns", "not above"),
    "inside a function": ("_tlsa", "def f():\n    from ._chain import load", "not above"),
    "unknown sibling": ("_gate", "from . import _misc", "no layer"),
    "by its full name": ("_gate", "import ansible_collections.mailops.dane.plugins.module_utils._tlsa", "relatively"),
    "ansible": ("_probe", "from ansible.module_utils.basic import AnsibleModule", "ansible"),
    "sockets in a pure layer": ("_rollover", "import socket", "pure"),
    "clock in a pure layer": ("_chain", "from time import time", "pure"),
    "a part of os": ("_tlsa", "import os.path", "pure"),
    "file in a pure layer": ("_chain", "def f(p):\n    return open(p).read()", "pure"),
    "today in a pure layer": ("_chain", "import datetime\nx = datetime.datetime.now()", "clock"),
    "today by another way": ("_facts", "from datetime import date\nx = date.today()", "clock"),
    "cryptography in _rollover": ("_rollover", "from cryptography import x509", "standard library"),
    "dnspython on a mail host": ("_probe", "import dns.query", "not for it"),
    "the controller's layer on a mail host": ("_gate", "from ._dns import look", "mail hosts"),
    "two levels up": ("_gate", "from ..modules import x", "no layer"),
    "unknown layer": ("_extra", "import json", "no layer"),
}


@pytest.mark.parametrize("case", BAD_IMPORTS)
def test_layers_find(case):
    layer, source, reason = BAD_IMPORTS[case]
    findings = contract_layers.check(layer, source)
    assert len(findings) == 1 and reason in findings[0]


@pytest.mark.parametrize("layer, source", [
    ("_gate", "import os, time\nfrom . import _chain, _probe\nfrom ._ledger import Ledger"),
    ("_dns", "import socket\nimport dns.message\nfrom ._errors import DnsError"),
    ("_update", "from . import _dns"),
    ("_chain", "import datetime\nfrom cryptography import x509\nfrom ._tlsa import Record"),
    ("_rollover", "import hashlib\nfrom ._tlsa import Record"),
    ("_facts", "def look(world):\n    return world.now()"),
])
def test_layers_allow(layer, source):
    assert contract_layers.check(layer, source) == []


# --- run_once ------------------------------------------------------------------------------------------------------

BAD_RUN_ONCE = {
    "own variable": """
        - name: t
          mailops.dane.tlsa_record: {}
          run_once: true
          when: dane_pending
        """,
    "attribute of a fact": """
        - name: t
          debug: {}
          run_once: true
          when:
            - not ansible_check_mode
            - dane_effective.records | length > 0
        """,
    "in the block": """
        - when: ansible_facts['os_family'] == 'Debian'
          block:
            - name: t
              debug: {}
              run_once: true
        """,
    "run_once of the block": """
        - run_once: true
          block:
            - name: t
              debug: {}
              when: inventory_hostname in dane_list
        """,
    "through a variable of the task": """
        - name: t
          debug: {}
          run_once: true
          vars:
            wanted: "{{ dane_names }}"
          when: wanted | length > 0
        """,
    "register of a task that ran for each host": """
        - name: first
          command: x
          register: answer
        - name: t
          debug: {}
          run_once: true
          when: answer.rc == 0
        """,
    "filter that only Ansible knows": """
        - name: t
          debug: {}
          run_once: true
          when: dane_names | mailops.dane.dane_owners | bool
        """,
    "rescue": """
        - block:
            - debug: {}
          rescue:
            - name: t
              debug: {}
              run_once: true
              when: vars['dane_pending']
        """,
    "in a playbook": """
        - hosts: mailservers
          tasks:
            - name: t
              debug: {}
              run_once: true
              when: dane_wait == 'block'
        """,
}
GOOD_RUN_ONCE = {
    "all hosts": """
        - name: t
          debug: {}
          run_once: true
          vars:
            pending: "{{ ansible_play_hosts | map('extract', hostvars, 'dane_effective') | list }}"
          when: pending | length > 0
        """,
    "filters and tests that only Ansible knows": """
        - name: t
          debug: {}
          run_once: true
          vars:
            batch: "{{ ansible_play_hosts | map('extract', hostvars, '_dane_host') | mailops.dane.dane_owners }}"
          when: batch is ansible.builtin.version('1', '>=')
        """,
    "check mode": """
        - name: t
          debug: {}
          run_once: true
          when: not ansible_check_mode
        """,
    "made by a run_once task": """
        - name: first
          set_fact:
            owners: "{{ ansible_play_hosts | list }}"
          run_once: true
        - name: t
          debug: {}
          run_once: true
          when: owners | length > 0
        """,
    "not run_once": """
        - name: t
          debug: {}
          when: dane_pending
        """,
}


def _run_once(text):
    document = rules.load(text)
    return rules.run_once_findings(document, rules.shared_names([document]))


@pytest.mark.parametrize("case", BAD_RUN_ONCE)
def test_run_once_finds(case):
    assert len(_run_once(BAD_RUN_ONCE[case])) == 1


@pytest.mark.parametrize("case", GOOD_RUN_ONCE)
def test_run_once_allows(case):
    assert _run_once(GOOD_RUN_ONCE[case]) == []


@pytest.mark.parametrize("condition, expected", [("dane_pending", 1), ("ansible_play_hosts | length > 1", 0)])
def test_run_once_behind_an_include(condition, expected):
    document = rules.load(f"- include_tasks: x.yml\n  when: {condition}\n")
    inner = rules.load("- debug: {}\n  run_once: true\n")
    assert len(rules.included_run_once_findings(document, lambda task: inner)) == expected
    assert rules.included_run_once_findings(document, lambda task: rules.load("- debug: {}\n")) == []


# --- delegated DNS work --------------------------------------------------------------------------------------------

DELEGATED = """
- name: t
  mailops.dane.tlsa_wait: {{}}
  delegate_to: "{{{{ dane_dns_host }}}}"
  {become}
  {interpreter}
"""
INTERPRETER = "vars: {ansible_python_interpreter: x}"


@pytest.mark.parametrize("become, interpreter, expected", [
    ("become: false", INTERPRETER, []),
    ("", INTERPRETER, ["become"]),
    ("become: true", INTERPRETER, ["become"]),
    ("become: '{{ x }}'", INTERPRETER, ["become"]),
    ("become: false", "", ["interpreter"]),
    ("", "", ["become", "interpreter"]),
])
def test_delegation(become, interpreter, expected):
    findings = rules.delegation_findings(rules.load(DELEGATED.format(become=become, interpreter=interpreter)))
    assert len(findings) == len(expected)
    assert all(word in finding for word, finding in zip(expected, findings, strict=True))


def test_delegation_under_a_play_that_becomes():
    play = "- hosts: mailservers\n  become: true\n  tasks:\n    - tlsa_record: {}\n      delegate_to: localhost\n"
    assert len(rules.delegation_findings(rules.load(play))) == 2


def test_delegation_of_other_work_and_blocks():
    assert rules.delegation_findings(rules.load("- command: x\n  delegate_to: '{{ item }}'\n")) == []
    block = f"- become: false\n  {INTERPRETER}\n  block:\n    - tlsa_record: {{}}\n      delegate_to: localhost\n"
    assert rules.delegation_findings(rules.load(block)) == []


# --- loops of includes ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("loop, control, expected", [
    ('"{{ range(mine | length) | list }}"', "{loop_var: number}", 0),
    ('"{{ mine }}"', "{loop_var: number}", 1),
    ('"{{ range(mine | length) | list }}"', "{loop_var: number, label: '{{ mine[number].name }}'}", 1),
])
def test_loops_of_includes(loop, control, expected):
    text = f"- name: t\n  include_tasks: x.yml\n  loop: {loop}\n  loop_control: {control}\n"
    assert len(rules.include_loop_findings(rules.load(text))) == expected
    assert rules.include_loop_findings(rules.load(text.replace("include_tasks: x.yml", "command: x"))) == []


# --- plays, errors -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("hosts, expected", [
    ("localhost", 1), ("all", 1), ("'*'", 1), ("mailservers:localhost", 1), ("[mx1, all]", 1), ("mailservers", 0),
    ("\"{{ dane_hosts | default('mailservers') }}\"", 0), ("\"{{ dane_hosts | default('all') }}\"", 1),
])
def test_hosts(hosts, expected):
    assert len(rules.hosts_findings(rules.load(f"- hosts: {hosts}\n  tasks: []\n"))) == expected


@pytest.mark.parametrize("text, expected", [
    ("- command: x\n  ignore_errors: true\n", 1),
    ("- command: x\n  ignore_unreachable: true\n", 1),
    ("- ignore_errors: true\n  block:\n    - command: x\n", 1),
    ("- block:\n    - ansible.builtin.meta: end_play\n", 1),
    ("- meta: {_raw_params: end_play}\n", 1),
    ("- hosts: x\n  ignore_errors: true\n  tasks: []\n", 1),
    ("- hosts: x\n  tasks:\n    - meta: end_play\n", 1),
    ("- meta: flush_handlers\n- command: x\n  failed_when: false\n", 0),
])
def test_errors(text, expected):
    assert len(rules.error_findings(rules.load(text))) == expected


# --- argument_specs ------------------------------------------------------------------------------------------------

SPECS = {"argument_specs": {"main": {"options": {
    "dane_ttl": {"type": "int", "default": 3600}, "dane_server": {"type": "str", "required": True}}}}}


@pytest.mark.parametrize("defaults, expected", [
    ({"dane_ttl": 3600}, 0),
    ({"dane_ttl": 300}, 1),
    ({"dane_ttl": "3600"}, 1),
    ({}, 1),
    ({"dane_ttl": 3600, "dane_extra": 1}, 1),
    ({"dane_ttl": 3600, "dane_server": "x"}, 1),
])
def test_argument_specs(defaults, expected):
    assert len(rules.argument_spec_findings(SPECS, defaults, {"main"})) == expected


def test_argument_specs_of_booleans_and_entry_points():
    specs = {"argument_specs": {"main": {"options": {"dane_standby": {"type": "bool", "default": True}}}}}
    assert len(rules.argument_spec_findings(specs, {"dane_standby": 1}, {"main"})) == 1
    assert len(rules.argument_spec_findings(specs, {"dane_standby": True}, {"other"})) == 1
    assert len(rules.argument_spec_findings(None, {}, {"main"})) == 1
    optional = {"argument_specs": {"main": {"options": {"dane_x": {"type": "str"}}}}}
    assert rules.argument_spec_findings(optional, {}, {"main"}) == []
    assert len(rules.argument_spec_findings(optional, {"dane_x": ""}, {"main"})) == 1


def test_shared_options():
    assert rules.shared_option_findings({"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": None}) == []
    assert len(rules.shared_option_findings({"a": {"x": 1}, "b": {"x": 2}})) == 1


# --- text ----------------------------------------------------------------------------------------------------------

HEADER = "\n".join(f"# {line}" for line in contract_text.HEADER) + "\n"


def test_header():
    assert contract_text.header_findings("a/b.py", HEADER + "x = 1\n") == []
    assert contract_text.header_findings("a/b.yml", "---\n" + HEADER) == []
    assert len(contract_text.header_findings("a/b.py", "x = 1\n")) == 1
    assert len(contract_text.header_findings("a/b.sh", HEADER.replace("3.0-or-later", "2.0-only"))) == 1
    assert len(contract_text.header_findings("Makefile", "x:\n" * 20 + HEADER)) == 1
    assert contract_text.header_findings("plugins/__init__.py", "") == []
    assert contract_text.header_findings("README.md", "# x\n") == []


@pytest.mark.parametrize("path, line", [
    ("docs/a.md", "see /wo" + "rk/main"), ("roles/a/tasks/main.yml", "path: /ro" + "ot/x"),
    ("tests/a.sh", "cd /ho" + "me/joe/x"), ("tests/lab/a.py", "FROM docker" + ".io/debian"),
    ("Makefile", "pip -i https://pypi" + ".org/simple"),
])
def test_machine_findings(path, line):
    assert len(contract_text.machine_findings(path, f"first\n{line}\n")) == 1


@pytest.mark.parametrize("path, line", [
    ("tests/lab/a.py", "/ro" + "ot/.ssh/authorized_keys"), ("docs/a.md", "a framework/work/x and a home/page"),
    ("docs/a.md", "https://example.org/ro" + "ot/zone"),
])
def test_machine_findings_allow(path, line):
    assert contract_text.machine_findings(path, line) == []
