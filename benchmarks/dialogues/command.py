"""The command: ``python -m benchmarks dialogues``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from pypdf import PdfReader

from benchmarks.common import say, scratch
from benchmarks.dialogues import report, script
from benchmarks.dialogues.contenders import AgentContender, BareContender, Contender, Held
from benchmarks.dialogues.recorder import Recorder
from tests.support.suite import PAPER, Suite

_SOURCE = "paper"


def main(arguments: Sequence[str] | None = None) -> None:
    """Hold dialogues, and print the figures."""
    options = _parser().parse_args(arguments)
    dialogues = script.read()
    chosen = [one for one in script.sample(dialogues, options.split, options.sample) if _wanted(one, options.only)]
    held = list(results(options.results)) if options.results else []
    done = {(one.dialogue, one.contender) for one in held}
    open_ = [one for one in chosen if any((one.name, name) not in done for name in options.contenders)]
    if open_ and not options.report_only:
        with ExitStack() as stack:
            for contender in _contenders(stack, options):
                for dialogue in open_:
                    if (dialogue.name, contender.name) not in done:
                        held.append(contender.hold(dialogue))
                        _keep(options.results, held[-1])
    names = {one.name for one in chosen}
    held = [one for one in held if one.dialogue in names]
    table = report.table(dialogues, held)
    if options.json:
        print(json.dumps({**table.json(), "failures": report.failures(dialogues, held)}, indent=2, ensure_ascii=False))
        return
    print(table.text())
    for failure in report.failures(dialogues, held) if options.failures else ():
        print(f"\n{failure['dialogue']} ({failure['contender']}), turn {failure['turn'] + 1}: {failure['failed']}")
        print(f"  {failure['user']!r}: {failure['detail']}")
        print("\n".join(f"    {step[:600]}" for step in [*failure["steps"], *failure["answers"]]))


def results(path: Path) -> Iterator[Held]:
    """Yield the dialogues that a file of results holds; a line that was cut off is left out."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            yield Held.of(json.loads(line))
        except ValueError:
            say(f"dialogues: {path} ends in a line that was cut off; that dialogue is held again")


def _keep(path: Path | None, held: Held) -> None:
    if path is None:
        return
    whole = not path.exists() or path.read_bytes().endswith(b"\n") or not path.stat().st_size
    with path.open("a") as file:
        file.write(("" if whole else "\n") + json.dumps(held.json(), ensure_ascii=False) + "\n")


def _contenders(stack: ExitStack, options: argparse.Namespace) -> Iterator[Contender]:
    recorder = stack.enter_context(Recorder(options.model_endpoint))
    if "agent" in options.contenders:
        settings = {
            "MEMGPT_AGENT_MODEL": options.model,
            "MEMGPT_AGENT_BASE_URL": recorder.base_url,
            "MEMGPT_AGENT_API_KEY": options.api_key,
            "MEMGPT_AGENT_MODE": options.mode,
            "MEMGPT_AGENT_MODEL_TIMEOUT": "1200",
            "MEMGPT_AGENT_TEMPERATURE": "0",
            "MEMGPT_AGENT_CONTEXT_WINDOW": str(options.window),
            **dict(setting.split("=", 1) for setting in options.set),
        }
        suite = stack.enter_context(Suite(stack.enter_context(scratch()), **settings))
        suite.cli("load", "files", str(PAPER), "--name", _SOURCE)
        memgpt = stack.enter_context(suite.client(turn_seconds=7200))
        yield AgentContender(memgpt, recorder, memgpt.sources.find(_SOURCE).source_id, options.max_steps)
    if "bare" in options.contenders:
        yield BareContender(recorder, options.model, options.api_key, options.window, _paper_text())


def _paper_text() -> str:
    pages = PdfReader(PAPER).pages
    return "\n\n".join(f"[page {number}]\n{page.extract_text()}" for number, page in enumerate(pages, 1))


def _wanted(dialogue: script.Dialogue, only: Sequence[str]) -> bool:
    return not only or dialogue.name in only or dialogue.kind in only


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks dialogues", description=__doc__)
    parser.add_argument("--model-endpoint", required=True, metavar="URL", help="base URL of the model, ending in /v1")
    parser.add_argument("--model", default="local", help="name of the model (default: local)")
    parser.add_argument("--api-key", default="", help="key of the endpoint, if it needs one")
    parser.add_argument("--mode", default="json_schema", choices=["auto", "tools", "json_schema"])
    parser.add_argument("--window", type=int, default=8192, help="tokens of the model's context window")
    parser.add_argument("--max-steps", type=int, default=8, help="most steps of a turn (default: 8)")
    parser.add_argument("--set", action="append", default=[], metavar="VARIABLE=VALUE", help="a setting, MEMGPT_…")
    parser.add_argument("--split", default="tune", choices=script.SPLITS, help="final is for final figures only")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="only N dialogues, of every kind in turn")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this dialogue or kind")
    parser.add_argument("--contenders", nargs="+", default=["agent", "bare"], choices=["agent", "bare"])
    parser.add_argument("--results", type=Path, metavar="FILE", help="keep what happened; held dialogues are skipped")
    parser.add_argument("--report-only", action="store_true", help="judge the results so far; hold no dialogue")
    parser.add_argument("--failures", action="store_true", help="show every failed check with its steps")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser
