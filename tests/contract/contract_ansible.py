# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules about roles and playbooks, read from their YAML. Each function returns findings (list of str).

The traps behind the rules: a `run_once` task is decided by the first host of the batch alone; a play's `become` follows
a task to the machine it is delegated to; `hosts: localhost` and `hosts: all` meet nobody or everybody; what ignores
errors or ends a play early leaves a rollover half done without a word.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import yaml
from jinja2 import Environment, TemplateError, meta, nodes

# The same whichever host the task is evaluated for, or about all of them by their nature.
BATCH_WIDE = {
    "ansible_check_mode", "ansible_diff_mode", "ansible_play_batch", "ansible_play_hosts", "ansible_play_hosts_all",
    "ansible_run_tags", "ansible_skip_tags", "ansible_verbosity", "ansible_version", "groups", "hostvars",
    "item", "ansible_loop", "playbook_dir", "role_path", "omit", "now", "lookup", "query",
}
DNS_MODULES = {"tlsa_facts", "tlsa_record", "tlsa_wait"}
BLOCKS = ("block", "rescue", "always")
FORBIDDEN_HOSTS = {"localhost", "all", "*", "127.0.0.1", "::1"}
DELEGATED_FOR_DNS = re.compile(r"dane_dns_host|\blocalhost\b|127\.0\.0\.1")


class _Loader(yaml.SafeLoader):
    """YAML as Ansible writes it: its own tags (!vault, !unsafe) are read as plain values."""


def _any_tag(loader, _suffix, node):
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


_Loader.add_multi_constructor("!", _any_tag)


def load(text):
    """Parse a YAML document (str)."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


class Task(NamedTuple):
    """A task with what it inherits from the blocks and the play around it."""

    body: dict
    whens: list         # of str: its own conditions and those around it
    run_once: bool
    become: object      # the nearest statement, None when there is none
    variables: dict     # of the blocks around it and its own; not the play's

    @property
    def name(self):
        return str(self.body.get("name", self.body))[:80]

    def module(self, *short_names):
        """Whether the task calls one of these modules, by short or full name."""
        return any(str(key).rsplit(".", 1)[-1] in short_names for key in self.body)


def _conditions(body):
    when = body.get("when", [])
    return [str(condition) for condition in (when if isinstance(when, list) else [when])]


def tasks(listed, whens=(), run_once=False, become=None, variables=None):
    """Every task in a list of tasks, blocks resolved (iterator of Task)."""
    for body in listed or []:
        inherited = {
            "whens": [*whens, *_conditions(body)],
            "run_once": body.get("run_once", run_once) is True,
            "become": body.get("become", become),
            "variables": {**(variables or {}), **(body.get("vars") or {})},
        }
        if "block" in body:
            for part in BLOCKS:
                yield from tasks(body.get(part), **inherited)
        else:
            yield Task(body, **inherited)


def plays(document):
    """The plays of a playbook that have tasks of their own (list of dict)."""
    return [play for play in document or [] if isinstance(play, dict) and "hosts" in play]


def is_playbook(document):
    return isinstance(document, list) and any(
        isinstance(entry, dict) and ("hosts" in entry or any("import_playbook" in str(key) for key in entry))
        for entry in document)


def all_tasks(document):
    """The tasks of a tasks file, a handlers file or a playbook (list of Task)."""
    if not is_playbook(document):
        return list(tasks(document))
    found = []
    for play in plays(document):
        for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
            found += tasks(play.get(part), become=play.get("become"))
    return found


# --- run_once ------------------------------------------------------------------------------------------------------

class _Anything(dict):
    """Filters and tests by any name: Ansible's and collections' own do not matter for the variables."""

    def get(self, _name, _default=None):
        return str


def names_in(expression):
    """The variables a condition looks at (set of str); `vars['x']` counts as x."""
    environment = Environment(autoescape=False)
    environment.filters, environment.tests = _Anything(), _Anything()
    try:
        tree = environment.parse("{{ " + expression + " }}" if "{{" not in expression and "{%" not in expression
                                 else expression)
    except TemplateError as error:
        raise ValueError(f"Cannot read the condition {expression!r}: {error}") from error
    found = meta.find_undeclared_variables(tree)
    for access in tree.find_all(nodes.Getitem):
        if isinstance(access.node, nodes.Name) and access.node.name == "vars" and isinstance(access.arg, nodes.Const):
            found.add(access.arg.value)
    return found - {"vars"} if "vars" in found and len(found) > 1 else found


def _texts(value):
    """Every string in a value of YAML (iterator)."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _host_names(expression, variables, shared, seen=()):
    """The variables in an expression that may differ from host to host (set).

    :param variables: of the task: each is as good as what it is made from.
    :param shared: names set by other run_once tasks, and so the same on every host.
    """
    found = set()
    for name in names_in(expression):
        if name in BATCH_WIDE or name in shared or name in seen:
            continue
        if name in variables:
            for text in _texts(variables[name]):
                if "{{" in text or "{%" in text:
                    found |= _host_names(text, variables, shared, (*seen, name))
        else:
            found.add(name)
    return found


def shared_names(documents):
    """Names that run_once tasks register or set: Ansible gives those to every host (set)."""
    found = set()
    for document in documents:
        for task in all_tasks(document):
            if not task.run_once:
                continue
            if "register" in task.body:
                found.add(task.body["register"])
            for key, arguments in task.body.items():
                if str(key).rsplit(".", 1)[-1] == "set_fact" and isinstance(arguments, dict):
                    found |= set(arguments) - {"cacheable"}
    return found


def run_once_findings(document, shared=frozenset()):
    """run_once tasks whose condition looks at a variable of the first host, which then decides for all."""
    findings = []
    for task in all_tasks(document):
        if not task.run_once:
            continue
        variables = dict(task.variables)
        names = set().union(*(_host_names(when, variables, shared) for when in task.whens)) if task.whens else set()
        if names:
            findings.append(
                f"run_once task {task.name!r} is decided by {', '.join(sorted(names))} of the first host alone: "
                "compute a list from all ansible_play_hosts and do nothing on an empty one")
    return findings


def included_run_once_findings(document, included, shared=frozenset()):
    """The same for a condition on an include, which reaches every task in the included file.

    :param included: the function that gives the document behind a Task, or None when it includes nothing.
    """
    findings = []
    for task in all_tasks(document):
        inner = included(task) if task.whens else None
        if inner is None or not any(inside.run_once for inside in all_tasks(inner)):
            continue
        names = set().union(*(_host_names(when, task.variables, shared) for when in task.whens))
        if names:
            findings.append(f"{task.name!r} includes run_once tasks under a condition on {', '.join(sorted(names))}")
    return findings


# --- loops of includes ---------------------------------------------------------------------------------------------

def include_loop_findings(document):
    """Loops over include_tasks whose items differ from host to host: Ansible then serves one host after the other."""
    findings = []
    for task in all_tasks(document):
        if task.module("include_tasks", "include_role") and "loop" in task.body:
            label = (task.body.get("loop_control") or {}).get("label")
            if not str(task.body["loop"]).startswith("{{ range(") or label:
                findings.append(f"{task.name!r} includes tasks for {label or task.body['loop']}: loop over range(), or one "
                                "host has to wait for the other")
    return findings


# --- delegated DNS work --------------------------------------------------------------------------------------------

def delegation_findings(document):
    """Delegated DNS tasks that do not state `become: false` and the interpreter."""
    findings = []
    for task in all_tasks(document):
        where = str(task.body.get("delegate_to", ""))
        if not where or not (task.module(*DNS_MODULES) or DELEGATED_FOR_DNS.search(where)):
            continue
        # A literal false: a template could be true for somebody.
        if task.become is not False:
            findings.append(f"delegated task {task.name!r} does not state become: false")
        if "ansible_python_interpreter" not in task.variables:
            findings.append(f"delegated task {task.name!r} does not state ansible_python_interpreter")
    return findings


# --- plays and errors ----------------------------------------------------------------------------------------------

def hosts_findings(document):
    """Plays that target the controller or everybody."""
    findings = []
    for play in plays(document):
        hosts = play["hosts"]
        patterns = hosts if isinstance(hosts, list) else re.split(r"[,:](?![^{]*}})", str(hosts))
        wrong = sorted(FORBIDDEN_HOSTS & {str(pattern).strip() for pattern in patterns})
        default = re.findall(r"default\(\s*['\"](all|localhost|\*)['\"]", str(hosts))
        if wrong or default:
            findings.append(f"play {play.get('name', hosts)!r} targets {', '.join(wrong + default)}")
    return findings


def error_findings(document):
    """Tasks that ignore errors or end the play early."""
    findings = []
    bodies = [(task.name, task.body) for task in all_tasks(document)]
    if is_playbook(document):
        bodies += [(str(play.get("name", play["hosts"])), play) for play in plays(document)]
    bodies += [(str(body.get("name", "block")), body) for body in _blocks(document)]
    for name, body in bodies:
        for key in ("ignore_errors", "ignore_unreachable"):
            if key in body:
                findings.append(f"{name!r} has {key}")
        for key, arguments in body.items():
            action = arguments.get("_raw_params", "") if isinstance(arguments, dict) else arguments
            if str(key).rsplit(".", 1)[-1] == "meta" and str(action).strip() == "end_play":
                findings.append(f"{name!r} ends the play")
    return findings


def _blocks(listed):
    """Every block in a list of tasks or plays (iterator of dict)."""
    for body in listed or []:
        if not isinstance(body, dict):
            continue
        if "block" in body:
            yield body
        for part in (*BLOCKS, "pre_tasks", "tasks", "post_tasks"):
            if isinstance(body.get(part), list):
                yield from _blocks(body[part])


# --- argument_specs ------------------------------------------------------------------------------------------------

def argument_spec_findings(specs, defaults, task_files):
    """Where the specs of a role's entry points and its defaults/main.yml disagree.

    :param specs: meta/argument_specs.yml, parsed. :param defaults: defaults/main.yml, parsed.
    :param task_files: names of the files in tasks/, without ending.
    """
    entries = (specs or {}).get("argument_specs") or {}
    defaults = defaults or {}
    findings = [] if entries else ["has no entry point in meta/argument_specs.yml"]
    known = set()
    for entry, spec in entries.items():
        if entry not in task_files:
            findings.append(f"entry point {entry} has no tasks/{entry}.yml")
        for name, option in (spec.get("options") or {}).items():
            known.add(name)
            findings += _option_findings(entry, name, option, defaults)
    findings += [f"{name} has a default and is in no entry point" for name in sorted(set(defaults) - known)]
    return findings


def _option_findings(entry, name, option, defaults):
    if option.get("required") and ("default" in option or name in defaults):
        return [f"{entry}: {name} is required and has a default"]
    if "default" in option and name not in defaults:
        return [f"{entry}: {name} has the default {option['default']!r} here and none in defaults/main.yml"]
    if "default" not in option and name in defaults:
        return [f"{entry}: {name} has the default {defaults[name]!r} in defaults/main.yml and none here"]
    # 1 and True are equal to Python and not to a reader.
    if "default" in option and (type(option["default"]), option["default"]) != (type(defaults[name]), defaults[name]):
        return [f"{entry}: {name} has the default {option['default']!r} here, {defaults[name]!r} in defaults/main.yml"]
    return []


def shared_option_findings(roles):
    """Options that several roles share and for which they have different defaults.

    :param roles: dict role name to its defaults/main.yml, parsed.
    """
    first, findings = {}, []
    for role, defaults in sorted(roles.items()):
        for name, value in (defaults or {}).items():
            if name in first and first[name][1] != value:
                findings.append(f"{name} is {first[name][1]!r} in role {first[name][0]}, {value!r} in role {role}")
            first.setdefault(name, (role, value))
    return findings
