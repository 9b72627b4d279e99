"""The pages people read, as blocks of code, and what becomes of each block.

A fenced block in `sh`, `python` or `sql` is run, unless a comment on the line above it says otherwise:

    <!-- not run: why -->        it cannot be run here
    <!-- run by test_name -->    a test of that name runs it (several names, with commas)
    <!-- runs until stopped -->  it is started, must say something, and is stopped at the end of the page

A shell block with a command of `NOT_HERE` is not run either. What is not run must still be understood: see `problems`.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.exceptions import Exit, TyperException

from fullon_ohlcv_service.cli import app, load_command

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("packages/*/README.md"))]
]
RUN = ("sh", "python", "sql")
NOT_HERE = {
    "make": "it works on the work tree that the tests run in",
    "git": "there is nothing to clone from",
    "poetry": "it makes an environment of its own",
    "pip": "it changes the environment the tests run in",
    "pytest": "the tests are running already",
    "sudo": "nobody is asked to become another user",
    "apt-get": "it changes the machine",
    "apt": "it changes the machine",
    "systemctl": "systemd is not the first process here",
    "journalctl": "systemd is not the first process here",
    "docker": "there is no Docker here",
}
"""Commands that cannot run in a test, and why."""
SHELL_WORDS = {"if", "then", "fi", "for", "do", "done", "while", "else", "{", "}", "!", "(", ")"}
_COMMENT = re.compile(r"<!-- (.+) -->")
_INDENTED = re.compile(r"    (\.venv/|sudo |eval |(make|python|pip|git|docker|poetry|pytest|curl|fullon-\S+) )")


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str
    mark: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[list[str]]:
        """The commands of a shell block, as words, without variables that are set before them."""
        if self.language != "sh":
            return []
        return list(_commands(self.text))

    @property
    def is_run(self) -> bool:
        """Whether the block is run where the page is."""
        if self.language not in RUN or self.mark.startswith(("not run: ", "run by ")):
            return False
        return not any(Path(words[0]).name in NOT_HERE for words in self.commands)

    @property
    def runs_until_stopped(self) -> bool:
        return self.mark == "runs until stopped"


def blocks_of(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    blocks = []
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    begun: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if begun is None:
            begun = number
            continue
        mark = _COMMENT.fullmatch(lines[begun - 1]) if begun else None
        text = "\n".join(lines[begun + 1 : number]) + "\n"
        blocks.append(Block(page, begun + 1, lines[begun][3:].strip(), text, mark[1] if mark else ""))
        begun = None
    assert begun is None, f"{page}: the block that begins in line {begun} does not end"
    return blocks


def commands_outside_of_blocks(page: str) -> list[str]:
    """Return lines that are indented code with a command in it: nobody would run them."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [line for line in text.splitlines() if _INDENTED.match(line)]


def problems_of_spans(page: str) -> Iterator[str]:
    """Say which commands in the running text could not work: `fullon-ohlcv …` and `make …`."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for command in re.findall(r"`((?:fullon-ohlcv|make) [^`]+)`", text):
        yield from _problems_of(f"{page}: `{command}`", list(_commands(command.replace("\n", " "))))


def problems(block: Block, tests: set[str]) -> Iterator[str]:
    """Say what is wrong with a block that is not run: no reason, or something that could not work."""
    if block.mark.startswith("run by "):
        if missing := set(block.mark.removeprefix("run by ").split(", ")) - tests:
            yield f"{block.name}: there is no {', '.join(missing)}"
    elif block.mark.startswith("not run: "):
        if len(block.mark.split()) < 5:
            yield f"{block.name}: {block.mark!r} is no reason"
    elif block.mark and not block.runs_until_stopped and re.match(r"(not )?runs?\b", block.mark):
        yield f"{block.name}: {block.mark!r} is none of the marks"
    if block.language == "python" and not block.mark.startswith("run by "):
        compile(block.text, block.name, "exec")
    if block.language != "sh":
        return
    syntax = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, timeout=20, check=False)
    if syntax.returncode:
        yield f"{block.name}: {syntax.stderr}"
        return
    yield from _problems_of(block.name, block.commands)


def _problems_of(place: str, commands: list[list[str]]) -> Iterator[str]:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for words in commands:
        if words[0] == "sudo":
            del words[: 3 if words[1] == "-u" else 1]
        match words:
            case ["make", *rest]:
                wanted = {word for word in rest if re.fullmatch("[a-z-]+", word)}
                if missing := wanted - targets:
                    yield f"{place}: make has no {', '.join(missing)}"
            case [program, *rest] if program.rpartition("/")[2] == "fullon-ohlcv":
                if complaint := _complaint(rest):
                    yield f"{place}: fullon-ohlcv {shlex.join(rest)}: {complaint}"


def _commands(text: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", "\n;"), posix=True, punctuation_chars="();|&<>")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if set(token) <= set("();|&"):
            while words and (re.fullmatch(r"\w+=.*", words[0]) or words[0] in SHELL_WORDS):
                del words[0]
            if words:
                yield words
            words = []
        else:
            words.append(token)


def _complaint(arguments: list[str]) -> str:
    """Say what the command line would refuse of these arguments; nothing is carried out."""
    arguments = arguments[: arguments.index(">")] if ">" in arguments else arguments
    try:
        context: Any = typer.main.get_command(app).make_context("fullon-ohlcv", list(arguments))
        rest = [*context._protected_args, *context.args]
        if not rest:
            return ""
        command = load_command(rest[0])
        while isinstance(command, typer.core.TyperGroup):
            group = command.make_context(rest[0], rest[1:])
            rest = [*group._protected_args, *group.args]
            if not rest or rest[0] not in command.commands:
                return f"there is no command {rest[:1]}"
            command = command.commands[rest[0]]
        command.make_context(rest[0], rest[1:])
    except (Exit, SystemExit):  # --help
        return ""
    except (TyperException, ImportError) as error:
        return str(error)
    return ""
