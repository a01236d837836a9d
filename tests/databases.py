"""Database servers for tests: of Debian's packages, below a folder of their own, reached by a socket there."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def postgresql() -> Iterator[Path]:
    """Run PostgreSQL with the database ``postgres`` of the user ``postgres``, and give the folder of its socket."""
    found = shutil.which("initdb") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    initdb = Path(found).resolve()
    with _folder("postgres") as (folder, user):
        data = str(folder / "data")
        _run(
            [str(initdb), "--pgdata", data, "--auth", "trust", "--username", "postgres", "--no-sync", "-E", "UTF8"],
            user,
        )
        control = [str(initdb.with_name("pg_ctl")), "--pgdata", data, "--wait", "--silent"]
        options = f"-k {folder} -h '' -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        _run([*control, "--log", str(folder / "log"), "--options", options, "start"], user)
        try:
            yield folder
        finally:
            _run([*control, "--mode", "immediate", "stop"], user)


@contextlib.contextmanager
def mariadb() -> Iterator[Path]:
    """Run MariaDB with a database ``orchard`` of the user ``root``, and give its socket."""
    install, server = (
        shutil.which("mariadb-install-db"),
        shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin"),
    )
    if install is None or server is None or not os.environ.get("TEST_MARIADB"):
        pytest.skip("MariaDB is not installed, or not asked for: make test-databases")
    with _folder("nobody") as (folder, user):
        where = ["--no-defaults", f"--datadir={folder}/data"]
        _run([install, *where, "--skip-test-db", "--auth-root-authentication-method=normal"], user)
        made, ready = folder / "made.sql", folder / "socket"
        made.write_text("CREATE DATABASE orchard CHARACTER SET utf8mb4;\n")
        made.chmod(0o644)
        fast = ["--skip-networking", "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"]
        with subprocess.Popen(
            [server, *where, f"--socket={ready}", f"--init-file={made}", f"--pid-file={folder}/pid", *fast],
            user=user,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            assert running.stderr is not None
            assert any("ready for connections" in line for line in running.stderr)
            reader = threading.Thread(target=running.stderr.read)
            reader.start()
            try:
                yield ready
            finally:
                running.terminate()
                reader.join()


@contextlib.contextmanager
def _folder(owner: str) -> Iterator[tuple[Path, str | None]]:
    """Give a folder, and the user to run a server as, which root must not be."""
    user = owner if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="database-", dir="/tmp"))  # a socket's path is short
    try:
        if user is not None:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], user: str | None) -> None:
    # No pipes: a server that is started would keep them open.
    subprocess.run(command, user=user, cwd="/", stdout=subprocess.DEVNULL, timeout=120, check=True)
