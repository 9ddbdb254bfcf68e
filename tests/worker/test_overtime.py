"""A row that takes its worker's time or memory ends its process; the process never hangs on."""

import subprocess
import sys
import textwrap

import pytest

CREW = """
    import re, threading, time
    from aftercall.batching import Crew
    from worker.overtime import limit_memory, watch_overtime

    def work(job):
        {work}

    crew = Crew(
        name="test",
        size=2,
        send=lambda job, then: then("an answer"),
        read=lambda job, said: work(job),
        record=lambda results: print("done", results),
    )
    watch_overtime(crew.overdue, overtime=1.0, check_every=0.1)
    limit_memory(2 * 1024**3)
    crew.reserve(1)
    crew.start(["call poison"])
    time.sleep(float({seconds}))
    print("lives on, free places:", crew.room())
"""


def run(work: str, *, seconds: float = 20) -> "subprocess.CompletedProcess[str]":
    return run_program(textwrap.dedent(CREW).format(work=work, seconds=seconds))


def run_program(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_row_that_loops_ends_its_process_and_is_named() -> None:
    ended = run("while True: time.sleep(0.01)")
    assert ended.returncode == 70
    assert "call poison" in ended.stdout + ended.stderr


def test_a_row_that_holds_the_interpreter_ends_its_process() -> None:
    ended = run('re.match("(a+)+$", "a" * 60 + "b")')
    assert ended.returncode not in (0, 70)
    assert "Timeout" in ended.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_a_row_that_takes_all_memory_fails_and_its_process_lives_on() -> None:
    ended = run("return len(bytearray(8 * 1024**3))", seconds=0.5)
    assert ended.returncode == 0
    assert "MemoryError" in ended.stdout + ended.stderr
    assert "lives on, free places: 2" in ended.stdout


def test_a_row_in_time_is_left_alone() -> None:
    ended = run("time.sleep(0.5); return job", seconds=1.5)
    assert ended.returncode == 0
    assert "done ['call poison']" in ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_the_stacks_of_a_workers_threads_leave_the_memory_to_its_rows() -> None:
    program = """
        import threading
        from worker.overtime import MEMORY, limit_memory

        limit_memory()
        stop = threading.Event()
        threads = [threading.Thread(target=stop.wait) for _ in range(64)]
        for thread in threads:
            thread.start()
        print(len(bytearray(MEMORY * 3 // 4)))
        stop.set()
    """
    ended = run_program(program)
    assert ended.returncode == 0, ended.stderr


def test_the_deepest_recursion_fits_a_threads_stack() -> None:
    program = """
        import copy, json, threading
        from worker.overtime import limit_memory

        def dive():
            deep = level = []
            for _ in range(100_000):
                level.append([])
                level = level[0]
            for work in (json.dumps, copy.deepcopy, repr, lambda _: json.loads("[" * 100_000)):
                try:
                    work(deep)
                except RecursionError:
                    print("refused")

        limit_memory()
        thread = threading.Thread(target=dive)
        thread.start()
        thread.join()
    """
    ended = run_program(program)
    assert (ended.returncode, ended.stdout.split()) == (0, ["refused"] * 4), ended.stderr
