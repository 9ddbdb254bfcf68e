"""A backup while calls flow, the machine lost, and all going on from the backup elsewhere."""

import json
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import requests

from aftercall.backup_file import BackupError, Manifest, new_backup, open_backup
from aftercall.embedded import Postgres, StoreUrls, Valkey, running_stores
from aftercall.simulator import Simulator
from tests.api.server import free_port
from tests.chaos.sender import Stream
from tests.cli.command import environment
from tests.conftest import SECRET_KEY, WEBHOOK_TOKEN, WORKSPACE
from tests.deploy.parts import HOOK
from tests.deploy.redis_servers import until

ADMIN = "the-admin-token-of-this-test"


class Machine:
    """A data directory, and the commands that are started on it."""

    def __init__(self, data_dir: Path, simulator: Simulator, **secrets: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.simulator = simulator
        self.environment = environment(
            AFTERCALL_DATA_DIR=str(data_dir),
            AFTERCALL_ALLOWED_PRIVATE_NETWORKS="127.0.0.0/8",
            TWENTYTWO_BASE_URL=simulator.twentytwo.base_url,
            TWENTYTWO_WORKSPACE_ID=WORKSPACE.id,
            TWENTYTWO_API_KEY=WORKSPACE.api_key,
            TWENTYTWO_API_SECRET=WORKSPACE.api_secret,
            TWENTYTWO_RATE_LIMIT=str(WORKSPACE.rate_limit),
            **secrets,
        )
        # What is installed is compiled already, unless it has to be anew in a folder of its own.
        self.environment.pop("PYTHONPYCACHEPREFIX", None)

    @property
    def webhook_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/twentytwo?token={WEBHOOK_TOKEN}"

    def run(self, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "aftercall.cli.main", *arguments],
            cwd=self.data_dir.parent,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def ok(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def up(self) -> Iterator["subprocess.Popen[bytes]"]:
        with (self.data_dir.parent / "up.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "aftercall.cli.main", "up", "--port", str(self.port)],
                cwd=self.data_dir.parent,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        try:
            until(lambda: self._is_ready(process), "up", seconds=180)
            yield process
        except AssertionError:
            print((self.data_dir.parent / "up.log").read_text()[-3_000:])  # noqa: T201
            raise
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(90)

    def lose(self, up: "subprocess.Popen[bytes]") -> None:
        """All that runs is killed, and the directory is gone."""
        up.kill()
        up.wait()
        for server in (Postgres(self.data_dir), Valkey(self.data_dir)):
            server.stop(immediate=True)
        shutil.rmtree(self.data_dir)

    def calls(self) -> dict[str, str]:
        stores = running_stores(self.data_dir)
        assert stores is not None
        with psycopg.connect(stores.database_url) as connection:
            return dict(connection.execute("SELECT call_id, state FROM calls").fetchall())

    def _is_ready(self, up: "subprocess.Popen[bytes]") -> bool:
        assert up.poll() is None, (self.data_dir.parent / "up.log").read_text()
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aftercall-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def spare_url(stores: StoreUrls) -> Iterator[str]:
    """Of an empty database beside the tests' own."""
    with psycopg.connect(stores.database_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE restored")
        yield stores.database_url.replace("/aftercall?", "/restored?")
        admin.execute("DROP DATABASE restored WITH (FORCE)")


@pytest.mark.timeout(600)
def test_the_machine_is_lost_and_everything_goes_on_from_the_backup(
    folder: Path, simulator: Simulator
) -> None:
    (folder / "one").mkdir()
    (folder / "two").mkdir()
    file = folder / "aftercall.backup"
    first = Machine(
        folder / "one" / "data",
        simulator,
        AFTERCALL_SECRET_KEY=SECRET_KEY,
        AFTERCALL_ADMIN_TOKEN=ADMIN,
        AFTERCALL_WEBHOOK_TOKEN=WEBHOOK_TOKEN,
    )
    call_ids = simulator.twentytwo.make_calls(150)
    later = simulator.twentytwo.make_calls(30)
    with first.up() as up:
        made = first.ok("destinations", "add", HOOK, simulator.crm.hook_url(HOOK), "--json")
        simulator.crm.add_hook(HOOK, _secret_in(made))
        stream = Stream(simulator, [first.webhook_url], per_second=20)
        sending = threading.Thread(target=stream.run, args=(call_ids,))
        sending.start()
        until(lambda: len(stream.accepted) > 60, "the first calls")
        before = set(stream.accepted)
        said = first.ok("backup", str(file), "--with-secrets", "--with-media")
        assert "with its secrets" in said
        sending.join()
        stream.run(later)
        until(lambda: len(stream.accepted) == len(call_ids) + len(later), "the rest")
        accepted = set(stream.accepted)
        until(lambda: simulator.crm.accepted_call_ids(HOOK) >= before, "their delivery")
        first.lose(up)
    assert file.stat().st_mode & 0o777 == 0o600

    # Another machine knows nothing: the key and the tokens come with the backup.
    second = Machine(folder / "two" / "data", simulator)
    assert "backfill" in second.ok("restore", str(file))
    with second.up():
        restored = set(second.calls())
        assert before <= restored <= accepted - set(later)
        until(
            lambda: (
                set(second.calls().values()) == {"fetched"}
                and simulator.crm.accepted_call_ids(HOOK) >= restored
            ),
            "all that was in the backup",
            seconds=90,
        )
        assert "fault" not in second.run("doctor").stdout.replace("\x1b", "")
        # What came after the backup is lost with the machine, and found again by its id.
        lost = sorted(accepted - restored)
        second.ok("enqueue", "-", stdin="\n".join(lost))
        until(lambda: set(second.calls()) == accepted, "the rest", seconds=60)
        until(lambda: set(second.calls().values()) == {"fetched"}, "their detail", seconds=90)
        # Nothing that is there is overwritten.
        again = second.run("restore", str(file))
        assert again.returncode == 1
        assert "nothing was changed" in again.stderr
        assert set(second.calls()) == accepted
    assert simulator.report().bad_signatures == 0


def _secret_in(made: str) -> str:
    return str(json.loads(made)["secret"])


@pytest.mark.usefixtures("database")
def test_a_backup_goes_into_a_new_file_and_has_no_secrets_unless_they_are_wanted(
    folder: Path, stores: StoreUrls
) -> None:
    file = folder / "aftercall.backup"
    command = _command(folder, stores)
    assert command("backup", str(file)).returncode == 0
    again = command("backup", str(file))
    assert again.returncode == 1
    assert "is there already" in again.stderr
    with open_backup(file) as reader:
        assert reader.manifest.has_secrets is False
        assert reader.manifest.media_files == 0
        with pytest.raises(BackupError):
            reader.secrets()
    assert SECRET_KEY.encode() not in file.read_bytes()
    assert [path.name for path in folder.iterdir()] == ["aftercall.backup"]


@pytest.mark.usefixtures("database")
def test_a_backup_that_fails_leaves_no_file(folder: Path, stores: StoreUrls) -> None:
    other = stores.database_url.replace("/aftercall?", "/no_such_database?")
    done = _command(folder, stores, AFTERCALL_DATABASE_URL=other)("backup", str(folder / "b"))
    assert done.returncode == 1
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 100, 5_000, -1_200])
@pytest.mark.usefixtures("database")
def test_half_a_backup_is_none_and_changes_nothing(
    folder: Path, stores: StoreUrls, cut: int
) -> None:
    file = folder / "aftercall.backup"
    command = _command(folder, stores)
    assert command("backup", str(file)).returncode == 0
    file.write_bytes(file.read_bytes()[:cut])
    done = command("restore", str(file))
    assert done.returncode == 1
    assert "no backup" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_media_come_along_by_their_paths_and_foreign_names_do_not(folder: Path) -> None:
    media = folder / "media"
    (media / "007").mkdir(parents=True)
    name = f"7-recording-{'ab' * 8}"
    (media / "007" / name).write_bytes(b"sound" * 1_000)
    (media / "007" / f"7-recording-{'cd' * 8}.{'0' * 32}.part").write_bytes(b"half")
    (media / "007" / ".DS_Store").write_bytes(b"a file manager's")
    with new_backup(folder / "b") as writer:
        with (folder / "dump").open("w+b") as dump:
            writer.add_dump(dump, lambda _: None)
        writer.add_media(media, lambda _: None)
        writer.finish(
            Manifest(
                aftercall="0",
                made_at=datetime.now(UTC),
                schema_revision="0001",
                dump_bytes=writer.dump_bytes,
                has_secrets=False,
                media_files=writer.media_files,
            )
        )
    with open_backup(folder / "b") as reader:
        reader.restore_media(folder / "again", lambda _: None)
    files = [path for path in (folder / "again").rglob("*") if path.is_file()]
    assert [path.name for path in files] == [name]
    assert files[0].read_bytes() == b"sound" * 1_000
    assert files[0].stat().st_mode & 0o777 == 0o600
    outside = folder / "b2"
    with tarfile.open(folder / "b") as old, tarfile.open(outside, "w") as new:
        for entry in old:
            content = old.extractfile(entry)
            entry.name = entry.name.replace("media/007/", "media/../x/")
            new.addfile(entry, content)
    with open_backup(outside) as reader:
        assert reader.manifest.media_files == 1
        reader.restore_media(folder / "third", lambda _: None)
    assert not (folder / "third").exists()
    assert not (folder / "x").exists()


def test_of_two_backups_into_one_file_the_second_says_so(folder: Path) -> None:
    with ExitStack() as second:
        second.enter_context(new_backup(folder / "b"))
        with new_backup(folder / "b") as first:
            first.add_secrets({"secret_key": "the first one's"})
        written = (folder / "b").read_bytes()
        with pytest.raises(BackupError, match="is there already"):
            second.close()
    assert (folder / "b").read_bytes() == written
    assert [path.name for path in folder.iterdir()] == ["b"]


@pytest.mark.usefixtures("database")
def test_a_restore_that_fails_can_be_done_again(
    folder: Path, stores: StoreUrls, spare_url: str
) -> None:
    file = folder / "aftercall.backup"
    media = folder / "media"
    name = Path("007", f"7-recording-{'ab' * 8}")
    (media / name).parent.mkdir(parents=True)
    (media / name).write_bytes(b"sound")
    source = _command(folder, stores, AFTERCALL_MEDIA_URL=str(media))
    assert source("backup", str(file), "--with-secrets", "--with-media").returncode == 0
    # A file lies where the folder of the media has to be.
    (folder / "new").write_bytes(b"")
    data = folder / "data"
    target = _command(
        folder,
        stores,
        AFTERCALL_DATABASE_URL=spare_url,
        AFTERCALL_MEDIA_URL=str(folder / "new"),
        AFTERCALL_DATA_DIR=str(data),
    )
    assert target("restore", str(file)).returncode == 1
    assert (data / "secrets.json").exists()
    (folder / "new").unlink()
    done = target("restore", str(file))
    assert done.returncode == 0, done.stderr
    assert (folder / "new" / name).read_bytes() == b"sound"
    with psycopg.connect(spare_url) as connection:
        assert connection.execute("SELECT count(*) FROM calls").fetchone() == (0,)


def _command(
    folder: Path, stores: StoreUrls, **more: str
) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    given = {
        "AFTERCALL_DATABASE_URL": stores.database_url,
        "AFTERCALL_REDIS_URL": stores.redis_url,
        "AFTERCALL_DATA_DIR": str(folder / ".none"),
        "AFTERCALL_SECRET_KEY": SECRET_KEY,
        **more,
    }

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "aftercall.cli.main", *arguments],
            cwd=folder,
            env=environment(**given),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
