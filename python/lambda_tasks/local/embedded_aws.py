"""AWS services without an account: moto's server as a process of its own, for as long as a ``with`` block lasts."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.config import Config
from botocore.session import Session

from lambda_tasks.local.errors import LocalError

# moto accepts any; it answers for this account.
ACCOUNT_ID = "123456789012"
_ACCESS_KEY_ID = "testing"
_SECRET_ACCESS_KEY = "testing"  # noqa: S105

_PROCESS = Path(__file__).with_name("embedded_aws_process.py")
_STOP_SECONDS = 5
_ANSWER_SECONDS = 5
_HIDDEN_PATH = "/lambda-tasks/hidden/"  # as that process has it, which imports nothing of this package


@dataclass(frozen=True)
class HiddenMessage:
    """A message that nobody can receive now. `seconds` is the time until somebody can."""

    message_id: str
    seconds: float
    receive_count: int


@dataclass(frozen=True)
class EmbeddedAws:
    """Where the services answer."""

    endpoint_url: str
    region: str

    def environ(self) -> dict[str, str]:
        """Return the variables that point any AWS SDK of another process at these services."""
        return {
            "AWS_ACCESS_KEY_ID": _ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": _SECRET_ACCESS_KEY,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint_url,
        }

    def client(self, service: str) -> Any:  # noqa: ANN401 - botocore makes its clients at run time
        """Return a client of one service, such as ``"sqs"``, whatever this process's own AWS settings are."""
        # No variable, profile or proxy of this machine may lead the client, and what it creates, to a real account.
        unset = {
            name: (None, None, default, conversion)
            for name, (_, _, default, conversion) in Session.SESSION_VARIABLES.items()
        }
        return Session(session_vars=unset).create_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint_url,
            aws_access_key_id=_ACCESS_KEY_ID,
            aws_secret_access_key=_SECRET_ACCESS_KEY,
            config=Config(proxies={}),
        )

    def hidden(self, queue_arn: str) -> list[HiddenMessage]:
        """Return the messages of a queue that nobody can receive now: delayed, in flight, or waiting after a failure.

        Raises:
            LocalError: the services do not answer.

        """
        *_, region, account_id, name = queue_arn.split(":")
        address = self.endpoint_url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", f"{_HIDDEN_PATH}{account_id}/{region}/{name}")
            found = json.loads(connection.getresponse().read())
        except (OSError, ValueError) as error:
            raise LocalError(f"the embedded AWS did not answer: {error}", remedy="start again") from error
        finally:
            connection.close()
        return [HiddenMessage(*one) for one in found]


@contextmanager
def embedded_aws(region: str = "eu-west-1", *, port: int = 0) -> Iterator[EmbeddedAws]:
    """Start the services on a loopback port, a free one where `port` is 0, empty, and stop them at the end.

    Raises:
        LocalError: the port is in use, or the server did not start.

    """
    _check_free(port)
    with subprocess.Popen(
        [sys.executable, "-I", str(_PROCESS), str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # one line a request
        text=True,
        env={},
        start_new_session=True,  # Ctrl-C on the terminal is for the process that started this one
    ) as process:
        assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            endpoint_url = process.stdout.readline().strip()
            if not endpoint_url:
                raise LocalError("the embedded AWS did not start", remedy="install lambda-tasks[local]")
            yield EmbeddedAws(endpoint_url, region)
        finally:
            process.stdin.close()  # the end of its input is what it ends by
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _check_free(port: int) -> None:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "there is no such port"
        raise LocalError(f"port {port} cannot be used: {reason}", remedy="choose another one with --port") from error
