# Copyright (c) 2026 the mailops.dane authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mutants of a module: every change that the operators of cosmic-ray can make, and which of them anything notices.

cosmic-ray's operators know comparisons, boolean and arithmetic operators, numbers, True and False, conditions of `if`
and of ternaries, loops, exceptions and decorators. What they leave out is added here in the same form: texts, the
conditions of `elif` and of comprehensions, `in`. All operators are used, on the whole module. Left alone is only what
nothing decides by: docstrings, type annotations, and the words of messages (f-strings, texts of four words and more,
what an exception is raised with, the value of ``"text"`` in a reason).
"""

from __future__ import annotations

import ast
import gc
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from typing import NamedTuple

import parso
from cosmic_ray.ast import ast_nodes
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider

# These two put something named by hand in the place of a variable named by hand, at random: nothing to go by here.
NEED_ARGUMENTS = ("VariableReplacer", "VariableInserter")


class ReplaceText(Operator):
    """Another text in the place of a text."""

    def mutation_positions(self, node):
        if node.type == "string":
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        quote = node.value.index(node.value[-1])
        node.value = node.value[:quote + 1] + "XX" + node.value[quote + 1:]
        return node

    @classmethod
    def examples(cls):
        return ()


class NegateCondition(Operator):
    """``not`` before the condition of an ``elif`` or of a comprehension: AddNot knows only the others."""

    def mutation_positions(self, node):
        for place in self._places(node):
            yield node.children[place].start_pos, node.children[place].end_pos

    def mutate(self, node, index):
        place = list(self._places(node))[index]
        node.children[place] = parso.parse(f" (not ({node.children[place].get_code().strip()}))")
        return node

    @staticmethod
    def _places(node):
        if node.type == "comp_if":
            yield 1
        elif node.type == "if_stmt":
            yield from (place + 1 for place, child in enumerate(node.children)
                        if child.type == "keyword" and child.value == "elif")

    @classmethod
    def examples(cls):
        return ()


class NegateMembership(Operator):
    """``in`` for ``not in`` and the other way round."""

    WORDS = {"in": " not in", "not in": " in"}

    def mutation_positions(self, node):
        for place in self._places(node):
            yield node.children[place].start_pos, node.children[place].end_pos

    def mutate(self, node, index):
        place = list(self._places(node))[index]
        node.children[place] = parso.parse(self.WORDS[" ".join(node.children[place].get_code().split())])
        return node

    def _places(self, node):
        if node.type == "comparison":
            yield from (place for place in range(1, len(node.children), 2)
                        if " ".join(node.children[place].get_code().split()) in self.WORDS)

    @classmethod
    def examples(cls):
        return ()


class Mutant(NamedTuple):
    """One change. ``key`` names it by what the line says, so that it stays the same when the line moves."""

    module: str
    key: str  # operator | function | line of source | which of several on that line
    line: int
    change: str  # what the line says instead
    part: str  # the class or function as it is then
    first: int  # and where in the source it stands
    last: int

    def __str__(self):
        return f"{self.module.rpartition('.')[2]}:{self.line}: {self.key}  ->  {self.change}"


class Result(NamedTuple):
    """What became of a mutant: ``killer`` is empty when nothing noticed."""

    mutant: Mutant
    killer: str
    seconds: float
    how: str = ""


# ------------------------------------------------------------------------------------------------------ making mutants


def operators():
    """All operators that need no arguments (list of (name, Operator))."""
    provider = OperatorProvider()
    found = [(name, provider[name]()) for name in provider if name not in NEED_ARGUMENTS]
    return found + [(one.__name__, one()) for one in (ReplaceText, NegateCondition, NegateMembership)]


def mutants(module, source):
    """Every mutant of the source of a module of this name, in its order (list of :class:`Mutant`).

    What does not compile is none, nor is what compiles to the same as the original or as a mutant before it.
    """
    tree, lines, spoken = parso.parse(source), source.splitlines(), _spoken(source)
    functions = _functions(source)
    counted, found, every = {}, [], operators()
    for top in list(tree.children):
        # Only the class or function that is changed is read anew: the rest stays as it is.
        code = top.get_code()
        first = _offset(lines, top.start_pos) - len(top.get_first_leaf().prefix)
        seen = {_meaning(code)}
        for node in list(ast_nodes(top)):
            for name, operator in every:
                for index, (start, _end) in enumerate(list(operator.mutation_positions(node))):
                    if any(first <= start < last for first, last in spoken):
                        continue
                    changed = _mutated(top, node, operator, index)
                    meaning = _meaning(changed)
                    if meaning is None or meaning in seen:
                        continue
                    seen.add(meaning)
                    text = " ".join(lines[start[0] - 1].split())
                    key = f"{name} | {functions.get(start[0], '')} | {text}"
                    counted[key] = counted.get(key, 0) + 1
                    found.append(Mutant(module, f"{key} | {counted[key]}", start[0], _changed(code, changed), changed, first,
                                        first + len(code)))
    return sorted(found, key=lambda mutant: mutant.line)


def _offset(lines, position):
    return sum(len(line) + 1 for line in lines[:position[0] - 1]) + position[1]


def _mutated(top, node, operator, index):
    # The operators change the tree in place, at any depth below the node: put everything back for the next one.
    parent = node.parent if node is not top else None
    before, whole = list(_inside(node)), top.get_code()
    siblings = list(parent.children) if parent else None
    try:
        changed = operator.mutate(node, index)
        if changed is not node and parent:
            parent.children = [changed if child is node else child for child in parent.children
                               if child is not node or changed is not None]
        return top.get_code()
    finally:
        for one, value, children in before:
            if children is None:
                one.value = value
            else:
                one.children = children
        if parent:
            parent.children = siblings
        # Else every later mutant would have this change, too.
        assert top.get_code() == whole, node


def _inside(node):
    """A node and all below it, as they are: (node, value of a leaf, children of another)."""
    children = getattr(node, "children", None)
    yield node, getattr(node, "value", None), None if children is None else list(children)
    for child in children or ():
        yield from _inside(child)


def _meaning(code):
    try:
        return ast.dump(ast.parse(code))
    except (SyntaxError, ValueError):
        return None


def _changed(before, after):
    before, after = before.splitlines(), after.splitlines()
    if len(before) != len(after):
        return "(a line less)"
    return next((" ".join(new.split()) for old, new in zip(before, after) if old != new), "")


def _functions(source):
    found = {}

    def walk(node, path):
        for child in ast.iter_child_nodes(node):
            inner = path
            if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
                inner = path + [child.name]
                found.update(dict.fromkeys(range(child.lineno, child.end_lineno + 1), ".".join(inner)))
            walk(child, inner)

    walk(ast.parse(source), [])
    return found


def _spoken(source):
    """Where words stand that nothing decides by: list of ((line, column), (line, column))."""
    spoken = []
    lines = source.splitlines()

    def leave(node):
        # The module's lines are counted in bytes by ast and in characters by parso.
        first = len(lines[node.lineno - 1].encode()[:node.col_offset].decode())
        last = len(lines[node.end_lineno - 1].encode()[:node.end_col_offset].decode())
        spoken.append(((node.lineno, first), (node.end_lineno, last)))

    for node in ast.walk(ast.parse(source)):
        for one in _words_of(node):
            leave(one)
    return spoken


def _words_of(node):
    """The parts of a node that are only words."""
    if isinstance(node, ast.JoinedStr):
        return [node]
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") >= 3:
        return [node]
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return node.exc.args
    if isinstance(node, ast.Dict):
        return [value for key, value in zip(node.keys, node.values) if isinstance(key, ast.Constant) and key.value == "text"]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return [node]
    notes = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [note for note in notes if note is not None]


# --------------------------------------------------------------------------------------------------- hunting mutants


def hunt(found, put, asked, workers, seconds, say=None):
    """Let the killers loose on every mutant, each in a process of its own (list of :class:`Result`).

    :param found: list of :class:`Mutant`. :param put: function that puts a mutant in the place of the module.
    :param asked: function of a mutant: a list of (name, function); one that raises anything has noticed.
    :param workers: how many processes at a time. :param seconds: how much processor time one mutant may take: one that
        takes more hangs, and that is noticed, too.
    """
    todo, running, results = list(reversed(found)), {}, []
    # What is there is shared with every process that begins, and not to be tidied up by each of them.
    gc.freeze()
    while todo or running:
        while todo and len(running) < workers:
            mutant = todo.pop()
            reader, process = _start(mutant, put, asked(mutant), seconds)
            running[reader] = (mutant, process, time.monotonic())
        for reader in select.select(list(running), [], [])[0]:
            mutant, process, start = running.pop(reader)
            results.append(_finished(mutant, process, reader, time.monotonic() - start))
            if say:
                say(results[-1], len(results), len(found))
    position = {mutant.key: number for number, mutant in enumerate(found)}
    return sorted(results, key=lambda result: position[result.mutant.key])


def _start(mutant, put, killers, seconds):
    reader, writer = os.pipe()
    process = os.fork()
    if process:
        os.close(writer)
        return reader, process
    # From here on: the child, which never returns.
    try:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        for name, how in _noticed(mutant, put, killers):
            os.write(writer, f"{name}\n{how}".encode()[:4000])
            break
    finally:
        os._exit(0)


def _noticed(mutant, put, killers):
    try:
        put(mutant)
    except BaseException as exc:
        yield "import", repr(exc)
        return
    for name, kill in killers:
        try:
            kill()
        except BaseException as exc:
            last = traceback.extract_tb(exc.__traceback__)[-1]
            yield name, f"{type(exc).__name__}: {str(exc)[:300]} ({os.path.basename(last.filename)}:{last.lineno})"
            return


def _finished(mutant, process, reader, seconds):
    told = b""
    while piece := os.read(reader, 65536):
        told += piece
    os.close(reader)
    _process, status = os.waitpid(process, 0)
    killer, _line, how = told.decode(errors="replace").partition("\n")
    if not killer and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        killer, how = ("time" if number in (signal.SIGXCPU, signal.SIGKILL) else "crash"), f"signal {number}"
    return Result(mutant, killer, seconds, how)


# ------------------------------------------------------------------------------------------------- equivalent mutants

ENTRY = re.compile(r"^(?P<key>\S+ \| .* \| \d+) \|\| (?P<reason>\S.*)$")


def equivalents(text):
    """Read the list of mutants held equivalent: ``operator | function | line | number || reason`` (dict of str)."""
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = ENTRY.match(line)
        if not entry or entry["key"] in found:
            sys.exit(f"Cannot read line {number} of the equivalent mutants: {line!r}: expected 'key || reason', once")
        found[entry["key"]] = entry["reason"]
    return found
