"""The benchmark: aftercall beside what people would use instead.

    python -m bench                        every scenario, every contestant
    python -m bench a b                    these scenarios
    python -m bench a --contestants ours,celery_plain --runs 3 --calls 20000
    python -m bench --quick                small numbers: does it work at all?
    python -m bench --markdown docs/benchmarks.md

Each contestant gets fresh stores (PostgreSQL and Valkey from wheels, durable,
the same settings for all) and the same stub upstream and CRM on 127.0.0.1. A
run counts only when every call was found in the contestant's table and at the
hook. Contestants take turns, run by run; what is printed is the median.

Node and the npm packages of the contestants that need them are installed at the
first run, as their lock files say, into a folder of the user's cache.
"""

import argparse
import shlex
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from bench.contestants import CONTESTANTS
from bench.machine import load, machine
from bench.processes import BenchError, children_in
from bench.run import Bench, Options, Say
from bench.scenarios import SCENARIOS
from bench.stub_client import own_maximum, running_stub
from bench.table import Table, rate


def main() -> int:
    arguments = _parser().parse_args()
    names = arguments.contestants.split(",") if arguments.contestants else _usual(arguments)
    if unknown := [name for name in names if name not in CONTESTANTS]:
        raise SystemExit(f"no contestant {unknown[0]}: there are {', '.join(CONTESTANTS)}")
    if unknown := [letter for letter in arguments.scenarios if letter not in SCENARIOS]:
        raise SystemExit(f"no scenario {unknown[0]}: there are {', '.join(SCENARIOS)}")
    options = Options(
        contestants=names,
        calls=arguments.calls,
        runs=1 if arguments.quick else arguments.runs,
        quick=arguments.quick,
        processes=arguments.processes,
        history=min(arguments.history, 50_000) if arguments.quick else arguments.history,
    )
    # As Ctrl-C: everything that was started is ended on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    say = Say()
    tables: list[Table] = []
    ended_well = True
    with (
        tempfile.TemporaryDirectory(prefix="aftercall-bench-") as folder,
        children_in(Path(folder)) as children,
        running_stub(children) as stub,
    ):
        bench = Bench(options, stub, say)
        header = _header(stub_maximum=own_maximum(stub))
        say(header)
        for letter in arguments.scenarios or SCENARIOS:
            title, run = SCENARIOS[letter]
            say(f"{letter}: {title}")
            try:
                found = run(bench)
            except BenchError as error:
                ended_well = False
                found = [Table(f"{letter}. {title}", ("failed",), [(str(error),)])]
            tables += found
            for table in found:
                _print(f"\n{table.text()}\n")
            # At once: what was found is kept when a later scenario takes too long.
            if arguments.markdown:
                arguments.markdown.write_text(_markdown(header, names, tables))
    if len(tables) > 1:
        _print("\n".join(table.text() + "\n" for table in tables))
    return 0 if ended_well else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="scenarios:\n"
        + "\n".join(f"  {letter}  {title}" for letter, (title, _) in SCENARIOS.items())
        + "\n\ncontestants:\n"
        + "\n".join(f"  {name:13} {kind.what}" for name, kind in CONTESTANTS.items()),
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="letters (default: all)")
    parser.add_argument("--contestants", help="names, comma-separated (default: all but n8n)")
    parser.add_argument("--with-n8n", action="store_true", help="n8n too: over 1 GB to install")
    parser.add_argument("--calls", type=int, help="of scenarios a and b")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="worker processes of each")
    parser.add_argument("--history", type=int, default=5_000_000, help="old calls in scenario f")
    parser.add_argument("--quick", action="store_true", help="small numbers, one run")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file, too")
    return parser


def _usual(arguments: argparse.Namespace) -> list[str]:
    return [name for name in CONTESTANTS if name != "n8n" or arguments.with_n8n]


def _header(*, stub_maximum: float) -> str:
    return (
        f"{machine()}; load at the start {load():.1f}; "
        f"the stub alone answers {rate(stub_maximum)} requests/s"
    )


def _markdown(header: str, names: list[str], tables: list[Table]) -> str:
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    command = shlex.join(["python", "-m", "bench", *_without_paths(sys.argv[1:])])
    who = "\n".join(f"- **{name}**: {CONTESTANTS[name].what}" for name in names)
    head = f"# Benchmarks\n\n{when}, `{command}`.\n\n{header}.\n\n{who}\n"
    return "\n".join([head, *(table.markdown() for table in tables)])


def _without_paths(arguments: list[str]) -> list[str]:
    """Where the file went is nobody's business."""
    kept = []
    words = iter(arguments)
    for word in words:
        if word == "--markdown":
            next(words, None)
        elif not word.startswith("--markdown="):
            kept.append(word)
    return kept


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - a command's output


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
