# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of contract_*.py, applied to the repository as it is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import contract_ansible
import contract_layers
import contract_text
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def _files():
    """What a commit of everything would hold, relative paths (list of str)."""
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout
    return sorted({name for name in listing.split("\0") if name and (REPOSITORY / name).is_file()})


FILES = _files()
LIBRARY = [name for name in FILES if name.startswith("plugins/module_utils/_") and not name.endswith("__init__.py")]
ROLES = sorted({name.split("/")[1] for name in FILES if name.startswith("roles/") and name.count("/") > 1})
ANSIBLE = [
    name for name in FILES if name.endswith((".yml", ".yaml")) and (
        name.startswith("playbooks/") and name.count("/") == 1
        or name.startswith("roles/") and name.split("/")[2:3] in (["tasks"], ["handlers"]))
]


def _text(name):
    return (REPOSITORY / name).read_text(encoding="utf-8", errors="replace")


def _yaml(name):
    return contract_ansible.load(_text(name)) if (REPOSITORY / name).is_file() else None


def _none(findings):
    assert not findings, "\n" + "\n".join(findings)


def _group(name):
    """Where facts set by run_once are seen: in one role, or in the playbooks."""
    return "/".join(name.split("/")[:2]) if name.startswith("roles/") else "playbooks"


def _shared(name):
    group = _group(name)
    return contract_ansible.shared_names(_yaml(other) for other in ANSIBLE if _group(other) == group)


def _included(name):
    """The function that finds the file a task of `name` includes, where that can be told from the text."""
    def find(task):
        for key, arguments in task.body.items():
            action = str(key).rsplit(".", 1)[-1]
            values = arguments if isinstance(arguments, dict) else {"file": arguments, "_raw_params": arguments}
            if action in ("include_tasks", "import_tasks"):
                found = _yaml(str(Path(name).parent / str(values.get("file"))))
            elif action in ("include_role", "import_role"):
                role = str(values.get("name", "")).rsplit(".", 1)[-1]
                entry = str(values.get("tasks_from", "main")).removesuffix(".yml")
                found = _yaml(f"roles/{role}/tasks/{entry}.yml")
            else:
                continue
            if found is not None:
                return found
        return None
    return find


def test_there_is_something_to_check():
    assert len(LIBRARY) >= 4
    assert ROLES or not list((REPOSITORY / "roles").glob("*")), "roles/ has content and no role in it was found"
    for role in ROLES:
        assert any(name.startswith(f"roles/{role}/tasks/") for name in ANSIBLE), f"role {role} has no tasks"


@pytest.mark.parametrize("name", LIBRARY)
def test_layer(name):
    _none(contract_layers.check(Path(name).stem, _text(name)))


@pytest.mark.parametrize("name", ANSIBLE)
def test_run_once_is_not_decided_by_the_first_host(name):
    document, shared = _yaml(name), _shared(name)
    _none(contract_ansible.run_once_findings(document, shared))
    _none(contract_ansible.included_run_once_findings(document, _included(name), shared))


@pytest.mark.parametrize("name", ANSIBLE)
def test_delegated_dns_work_states_user_and_interpreter(name):
    _none(contract_ansible.delegation_findings(_yaml(name)))


@pytest.mark.parametrize("name", ANSIBLE)
def test_errors_stop_a_run_and_plays_meet_the_right_hosts(name):
    document = _yaml(name)
    _none(contract_ansible.error_findings(document))
    _none(contract_ansible.include_loop_findings(document))
    if contract_ansible.is_playbook(document):
        _none(contract_ansible.hosts_findings(document))


def test_who_else_serves_a_name_is_looked_for_in_the_whole_inventory():
    """A group that a run was given says nothing of the hosts beyond it, which may be about to serve a record's key."""
    asked = [(name, found) for name in ANSIBLE for found in re.findall(r"(\S+ \| mailops\.dane\.dane_absent)", _text(name))]
    assert len(asked) == 2
    _none([f"{name}: {found}" for name, found in asked if not found.startswith("groups['all'] ")])


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_and_defaults_agree(role):
    task_files = {Path(name).stem for name in ANSIBLE if name.startswith(f"roles/{role}/tasks/")}
    specs = _yaml(f"roles/{role}/meta/argument_specs.yml")
    _none(contract_ansible.argument_spec_findings(specs, _yaml(f"roles/{role}/defaults/main.yml"), task_files))


def test_an_option_has_one_default():
    roles = {role: _yaml(f"roles/{role}/defaults/main.yml") for role in ROLES}
    _none(contract_ansible.shared_option_findings(roles))


def _installed():
    """Every file that the gate's installation makes on a mail host, with its defaults (set of str)."""
    text = _text("roles/certbot/tasks/hook.yml").replace("{{ dane_certbot_directory }}", "/etc/letsencrypt")
    # Without directories of the system.
    return {path for path in re.findall(r"(?<![\w}])/(?:usr|etc)/[\w./\\-]+", text)
            if path not in ("/etc/ansible/facts.d", "/etc/systemd/system/")}


def test_who_leaves_is_told_of_every_file_of_the_gate():
    installed = _installed()
    assert {"/usr/local/sbin/dane-gate", "/etc/letsencrypt/renewal-hooks/deploy/mailops-dane",
            "/etc/systemd/system/mailops-dane-look.timer", "/etc/mailops-dane/unit.json",
            "/etc/ansible/facts.d/mailops_dane.fact"} <= installed
    commands = _text("docs/uninstall.md").split("```sh")[1].split("```")[0]
    removed = {word for line in commands.splitlines() if line.strip().startswith("rm ") for word in line.split()[2:]}
    _none([f"docs/uninstall.md leaves {path}" for path in sorted(installed)
           if not removed & {path, *map(str, Path(path).parents)}])


def test_every_source_file_has_the_header():
    _none([finding for name in FILES for finding in contract_text.header_findings(name, _text(name))])


def test_no_trace_of_a_machine_or_a_registry():
    _none([finding for name in FILES for finding in contract_text.machine_findings(name, _text(name))])
