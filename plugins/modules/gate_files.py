#!/usr/bin/python
# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gate_files
short_description: Install the files of the gate on a mail host, all of them in one step
version_added: 0.1.0
description:
  - Installs text files with given contents. All that differ are written beside their places first, and only then put
    into them, one right after the other; so certbot's hook, which may start at any moment, does not find a gate that is
    half old and half new for longer than that takes.
  - M(ansible.builtin.copy) in a loop would leave it so for as long as the loop lasts, and needs several connections for
    each of the more than twenty files.
  - The files belong to the user who runs the module. Directories that are missing are made, with mode C(0755).
  - The role P(mailops.dane.certbot#role) calls it. It is not meant for files with secrets, because differences are shown.
author:
  - The mailops.dane authors (@mailops)
attributes:
  check_mode:
    support: full
    description: Compares, and writes nothing.
  diff_mode:
    support: full
    description: Shows each file that changes, before and after.
  platform:
    support: full
    description: The mail hosts.
    platforms: posix
  safe_file_operations:
    support: full
    description: Each new file takes the place of the old one in one step.
options:
  files:
    description: The content of each file (text), by its absolute path.
    type: dict
    required: true
  executables:
    description: Which of O(files) are commands, with mode C(0755). The others have mode C(0644).
    type: list
    elements: str
    default: []
seealso:
  - module: ansible.builtin.copy
"""

EXAMPLES = r"""
- name: Install a command with its configuration
  mailops.dane.gate_files:
    files:
      /usr/local/sbin/dane-gate: "{{ lookup('ansible.builtin.file', 'dane-gate', rstrip=false) }}"
      /etc/mailops-dane/readme.txt: |
        What is in here was made by the role mailops.dane.certbot.
    executables: [/usr/local/sbin/dane-gate]
"""

RETURN = r"""
changed_files:
  description: The files whose content or mode differed, in their order.
  returned: success
  type: list
  elements: str
  sample: [/etc/mailops-dane/unit.json]
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.mailops.dane.plugins.module_utils._errors import DaneError


def main():
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "executables": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = install(module)
    except DaneError as exc:
        module.fail_json(msg=exc.message, **exc.fields)
    module.exit_json(**result)


def install(module):
    """Bring the files to be what they should be; what changed, and the differences."""
    files = wanted(module.params["files"], module.params["executables"])
    before = {path: read(path) for path in files}
    late = [path for path, content in files.items() if before[path] != content]
    if not module.check_mode:
        write(module, {path: files[path] for path in late})
    wrong = [path for path in files if attributes(module, path)]
    changed = [path for path in files if path in late + wrong]
    return {"changed": bool(changed), "changed_files": changed, "diff": [
        {"before_header": path, "after_header": path, "before": text(before[path]), "after": text(files[path])}
        for path in late]}


def wanted(files, executables):
    """The content of each file (dict of bytes by path).

    :raises DaneError: a path is not absolute, or a content is no text; a command is no file.
    """
    for path, content in files.items():
        if not os.path.isabs(path) or os.path.isdir(path):
            raise DaneError(f"Cannot install {path!r}: expected an absolute path that is no directory")
        if not isinstance(content, str):
            raise DaneError(f"Cannot install {path!r}: expected text, found {type(content).__name__}")
    unknown = sorted(set(executables) - set(files))
    if unknown:
        raise DaneError(f"Cannot use executables: {', '.join(unknown)} is not among files")
    return {path: content.encode() for path, content in files.items()}


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise DaneError(f"Cannot read {path!r}: {exc.strerror}") from exc


def text(content):
    return (content or b"").decode(errors="replace")


def write(module, files):
    """Write them beside their places, all of them, and then put each into its place."""
    staged = {}
    for path, content in files.items():
        try:
            make_directory(os.path.dirname(path))
            handle, staged[path] = tempfile.mkstemp(prefix=".gate-", dir=os.path.dirname(path))
            module.add_cleanup_file(staged[path])
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(staged[path], mode_of(module, path))
        except OSError as exc:
            raise DaneError(f"Cannot install {path!r}: {exc.strerror}; nothing was changed") from exc
    # Not atomic_move: what it adds, attributes of the old file and moves between file systems, is not wanted here, and each
    # file would take longer.
    for path, temporary in staged.items():
        try:
            os.replace(temporary, path)
        except OSError as exc:
            raise DaneError(f"Cannot install {path!r}: {exc.strerror}") from exc


def make_directory(path):
    """With its parents, whatever the umask is."""
    if not os.path.isdir(path):
        make_directory(os.path.dirname(path))
        os.mkdir(path)
        os.chmod(path, 0o755)


def mode_of(module, path):
    return 0o755 if path in module.params["executables"] else 0o644


def attributes(module, path):
    """Whether the mode or the owner of a file that is there had to be changed, or would have to be."""
    if not os.path.exists(path):
        return False
    changed = module.set_mode_if_different(path, mode_of(module, path), False)
    changed = module.set_owner_if_different(path, str(os.geteuid()), changed)
    return module.set_group_if_different(path, str(os.getegid()), changed)


if __name__ == "__main__":
    main()
