"""`aftercall enqueue --file`: what people have, line by line; good lines go, bad ones are told."""

import csv
import json
import os
import random
import threading
import tracemalloc
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aftercall.cli.id_files import IdLine, RefusedLine, open_ids
from aftercall.flows.errors import Invalid
from tests.api.server import Api
from tests.cli.command import Command, assert_one_line
from tests.conftest import WORKSPACE


def read(path: Path, column: str | None = None) -> list[IdLine | RefusedLine]:
    with open_ids(path, column=column) as lines:
        return list(lines)


def ids(path: Path, column: str | None = None) -> list[str]:
    return [line.call_id for line in read(path, column) if isinstance(line, IdLine)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ids.csv"


# ---- shapes ------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "call_1\ncall_2\n",
        "call_1\r\n\r\n  call_2  ",
        "call_id\ncall_1\ncall_2\n",
        "Call ID\r\ncall_1\r\ncall_2\r\n",
        'name,Call ID,when\nAsha,call_1,today\n"B, C",call_2,\n',
        "name;CALL-ID;id\nAsha;call_1;9\nB;call_2;8\n",
        "id\tname\ncall_1\tAsha\ncall_2\tB\n",
        "sep=;\r\nname;id\r\nAsha;call_1\r\nB;call_2\r\n",
        '"name","id"\n"A ""B"", C","call_1"\n"two\nlines","call_2"\n',
        "id|x\ncall_1|1\ncall_2|2\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_the_ids_are_found_however_it_was_saved(file: Path, text: str, encoding: str) -> None:
    marks = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}
    file.write_bytes(marks.get(encoding, b"") + text.encode(encoding))
    assert ids(file) == ["call_1", "call_2"]


def test_a_column_is_named_by_its_head_or_its_number(file: Path) -> None:
    file.write_text("reference,other\ncall_1,x\ncall_2,y\n")
    assert ids(file, "Reference") == ["call_1", "call_2"]
    assert ids(file, "1") == ["reference", "call_1", "call_2"]
    for wrong in ("nothing", "3", "0"):
        with pytest.raises(Invalid, match="has no column"):
            read(file, wrong)
    with pytest.raises(Invalid, match=r"--column.*'reference', 'other'"):
        read(file)


def test_a_workspace_column_is_read_beside_it(file: Path) -> None:
    file.write_text("call_id,workspace_id\ncall_1,ws_1\ncall_2,\ncall_3,कॉल\n")
    one, two, three = read(file)
    assert one == IdLine(2, "call_1", "ws_1")
    assert two == IdLine(3, "call_2", None)
    assert isinstance(three, RefusedLine)


def test_a_bad_line_is_told_with_its_number_and_why(file: Path) -> None:
    file.write_text(
        "name,id\na,call_1\nb,\nc,6.99E+23\nd," + "x" * 129 + "\ne,a\u200eb\nf,call_2\n"
    )
    refused = [line for line in read(file) if isinstance(line, RefusedLine)]
    assert [line.number for line in refused] == [3, 4, 5, 6]
    for line, why in zip(refused, ("empty", "number", "128", "control"), strict=True):
        assert why in line.reason
    assert ids(file) == ["call_1", "call_2"]


def test_bytes_of_another_encoding_cost_only_their_own_line(file: Path) -> None:
    file.write_bytes("name,id\nJosé,call_1\nB,cäll\nC,call_3\n".encode("latin-1"))
    assert ids(file) == ["call_1", "call_3"]


def test_what_is_no_list_is_refused_as_a_whole(tmp_path: Path) -> None:
    for name, content, why in (
        ("ids.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "save it as .xlsx"),
        ("ids.bin", b"call_1\n\x00\x01", "not text"),
        ("ids.xlsx", b"PK\x03\x04 no archive", "spreadsheet"),
        ("long.csv", b"x" * 1_000_001, "too long"),
        ("open.csv", b'id\n"' + b"call\n" * 40_000, "cannot be read"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(Invalid, match=why):
            read(path)


def test_a_spreadsheet_is_read_numbers_and_all(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (("Name", "Call ID"), ("A", "call_1"), ("B", 77), (None, None), ("C", 6.99e23)):
        sheet.append(row)
    path = tmp_path / "export.xlsx"
    book.save(path)
    lines = read(path)
    assert [line.call_id for line in lines if isinstance(line, IdLine)] == ["call_1", "77"]
    [refused] = [line for line in lines if isinstance(line, RefusedLine)]
    assert (refused.number, "number" in refused.reason) == (5, True)


def test_it_is_never_all_in_memory(file: Path) -> None:
    with file.open("w") as out:
        out.write("name,call_id\n")
        for number in range(200_000):
            out.write(f"{'x' * 80},call_{number}\n")
    assert file.stat().st_size > 18_000_000
    tracemalloc.start()
    with open_ids(file, column=None) as lines:
        assert sum(1 for _ in lines) == 200_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


_CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)


@given(
    rows=st.lists(st.tuples(_CELLS, st.integers(0, 10**6), _CELLS), min_size=1, max_size=20),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    seed=st.integers(0, 3),
)
def test_whatever_csv_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, int, str]],
    delimiter: str,
    seed: int,
) -> None:
    path = tmp_path_factory.mktemp("csv") / "ids.csv"
    quoting = random.Random(seed).choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    with path.open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.writer(out, delimiter=delimiter, quoting=quoting)
        writer.writerow(("first name", "call_id", "note"))
        writer.writerows((before, f"call_{number}", after) for before, number, after in rows)
    assert ids(path) == [f"call_{number}" for _, number, _ in rows]


@pytest.mark.parametrize("count", [2, 30_000])
def test_of_a_pipe_no_line_is_lost_although_it_gives_nothing_twice(count: int) -> None:
    """`--file <(…)`: what was read to see of which kind it is, is not there a second time."""
    reader, writer = os.pipe()
    expected = [f"call_{number}" for number in range(count)]

    def write() -> None:
        with os.fdopen(writer, "w") as pipe:
            pipe.write("\n".join(expected))

    writing = threading.Thread(target=write)
    writing.start()
    # Opened anew, as `/dev/fd/63` is; ours is closed only then, else the writer is alone.
    with open_ids(Path(f"/dev/fd/{reader}"), column=None) as lines:
        os.close(reader)
        found = [line.call_id for line in lines if isinstance(line, IdLine)]
    writing.join()
    assert found == expected


def test_a_spreadsheet_in_a_pipe_is_told_what_to_do() -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(b"PK\x03\x04")
    with pytest.raises(Invalid, match="is a pipe"):
        read(Path(f"/dev/fd/{reader}"))
    os.close(reader)


# ---- the command -------------------------------------------------------------


def test_good_lines_are_queued_and_bad_ones_reported(aftercall: Command, api: Api) -> None:
    aftercall.ok("enqueue", "call_1")
    (aftercall.folder / "ids.csv").write_text(
        "call_id,note\ncall_1,\ncall_2,\n,nobody\ncall_2,again\n=cmd\x07,\ncall_3,\n"
    )
    arguments = ("enqueue", "--file", "ids.csv", "--refused", "refused.csv")
    result = aftercall(*arguments)
    assert result.code == 1
    assert "2 queued, 1 known already, 1 more than once in the file, 2 refused." in result.out
    assert "line 4: call_id is empty" in result.err
    assert {call["call_id"] for call in api.calls()} == {"call_1", "call_2", "call_3"}
    with (aftercall.folder / "refused.csv").open(newline="") as file:
        head, first, second = csv.reader(file)
    assert (head, first[0], second[0]) == (["line", "value", "reason"], "4", "6")
    assert second[1].startswith("'=")
    report = json.loads(aftercall(*arguments, "--json").out)
    assert (report["queued"], report["already_known"], report["repeated"]) == (0, 3, 1)
    assert [one["line"] for one in report["refused_lines"]] == [4, 6]


def test_lines_go_to_the_workspaces_that_they_name(aftercall: Command, api: Api) -> None:
    api.put("/workspaces/ws_2", {})
    (aftercall.folder / "ids.csv").write_text(
        "call_id,workspace\ncall_1,ws_2\ncall_2,\ncall_3,nobody\n"
    )
    result = aftercall("enqueue", "--file", "ids.csv")
    assert (result.code, "line 4: There is no workspace nobody" in result.err) == (1, True)
    assert {call["call_id"]: call["workspace_id"] for call in api.calls()} == {
        "call_1": "ws_2",
        "call_2": WORKSPACE.id,
    }


def test_many_refused_lines_are_not_all_told_on_the_terminal(aftercall: Command) -> None:
    (aftercall.folder / "ids.csv").write_text("call_id,x\n" + ",1\n" * 30)
    result = aftercall("enqueue", "--file", "ids.csv")
    assert result.code == 1
    assert "and 10 more: --refused FILE has all" in result.err
    assert result.err.count("line ") == 20


def test_what_cannot_be_is_one_line(aftercall: Command) -> None:
    (aftercall.folder / "ids.csv").write_text("a,b\n1,2\n")
    assert_one_line(aftercall("enqueue", "--file", "ids.csv"), "--column", "'a', 'b'")
    (aftercall.folder / "none.csv").write_text("call_id\n\n")
    assert_one_line(aftercall("enqueue", "--file", "none.csv"), "no call id")
    assert aftercall("enqueue", "call_1", "--json").code == 2
