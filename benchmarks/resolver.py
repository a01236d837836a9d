"""The cost of resolving in a cold start, against the same job with boto3 and against the least that Python can do.

The layer as it lies in /opt resolves the environment secret and five references over three more secrets from a server
that answers after 30 ms, and becomes ``true``.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import certifi

from benchmarks.measure import Command, Figure, cpu_figure, in_turn, wall_figure
from certificates import make_authority
from layer import build

SERVER = Path(__file__).with_name("secrets_server.py")

# The usual way: a client, a call for each secret, and their keys into the environment.
WITH_BOTO3 = """
import json, os
import boto3
client = boto3.client("secretsmanager")
def secret(number):
    return json.loads(client.get_secret_value(SecretId=os.environ["SECRET"] + str(number))["SecretString"])
os.environ.update(secret(0))
others = [secret(number) for number in range(1, 4)]
for number in range(5):
    os.environ[f"VARIABLE_{number}"] = others[number % 3][f"KEY_{number}"]
os.execvp("true", ["true"])
"""

# The least that Python can do to get one secret.
FLOOR = """
import json, os, socket
connection = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
body = json.dumps({"SecretId": os.environ["SECRET"]}).encode()
connection.sendall(b"POST / HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
answer = b""
while b"\\r\\n\\r\\n" not in answer:
    answer += connection.recv(65536)
os.environ.update(json.loads(json.loads(answer.partition(b"\\r\\n\\r\\n")[2])["SecretString"]))
os.execvp("true", ["true"])
"""


def figures() -> list[Figure]:
    """Measure all figures of the resolver."""
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as name:
        folder = Path(name)
        build.main(["--into", str(folder / "opt")], os.environ)
        wrapper = str(folder / "opt" / "bin" / "lambda-tasks-exec")
        return [*_over_http(wrapper), *_over_tls(wrapper, folder), *_many(wrapper), _nothing(wrapper)]


def _over_http(wrapper: str) -> list[Figure]:
    with server() as port:
        environ = base_environ(f"http://127.0.0.1:{port}")
        times = in_turn(
            {
                "ours": Command([wrapper, "true"], environ | references(secrets=3, variables=5)),
                "boto3": Command([sys.executable, "-c", WITH_BOTO3], environ),
                "floor": Command([sys.executable, "-I", "-S", "-c", FLOOR], environ | {"PORT": str(port)}),
            }
        )
    return [
        cpu_figure("CPU, ours / boto3, HTTP", times["ours"], times["boto3"], 0.22),
        wall_figure("wall, ours / boto3, HTTP", times["ours"], times["boto3"], 0.30),
        cpu_figure("CPU, ours / one raw POST, HTTP", times["ours"], times["floor"], 2.2),
    ]


def _over_tls(wrapper: str, folder: Path) -> list[Figure]:
    authority = make_authority(folder)
    root = authority.bundle.read_bytes()
    # Each side loads the store that it would load in production, and beside it the root of this server.
    amazon = folder / "amazon.pem"
    amazon.write_bytes((folder / "opt/python/lambda_tasks/aws/amazon_roots.pem").read_bytes() + root)
    mozilla = folder / "mozilla.pem"
    mozilla.write_bytes(Path(certifi.where()).read_bytes() + root)
    with server(str(authority.server_files("127.0.0.1"))) as port:
        environ = base_environ(f"https://127.0.0.1:{port}")
        ours = environ | references(secrets=3, variables=5) | {"AWS_CA_BUNDLE": str(amazon)}
        theirs = environ | {"AWS_CA_BUNDLE": str(mozilla)}
        times = in_turn(
            {
                "ours": Command([wrapper, "true"], ours),
                "boto3": Command([sys.executable, "-c", WITH_BOTO3], theirs),
            }
        )
    return [
        cpu_figure("CPU, ours / boto3, TLS", times["ours"], times["boto3"], 0.25),
        wall_figure("wall, ours / boto3, TLS", times["ours"], times["boto3"], 0.30),
    ]


def _many(wrapper: str) -> list[Figure]:
    with server() as port:
        environ = base_environ(f"http://127.0.0.1:{port}")
        one, many = references(secrets=1, variables=1), references(secrets=20, variables=40)
        for environment in (one, many):
            del environment["LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN"]
        times = in_turn(
            {
                "many": Command([wrapper, "true"], environ | many),
                "one": Command([wrapper, "true"], environ | one),
            }
        )
    return [wall_figure("wall, 40 references over 20 secrets / 1", times["many"], times["one"], 1.5)]


def _nothing(wrapper: str) -> Figure:
    environ = base_environ("http://127.0.0.1:9")
    times = in_turn(
        {"wrapper": Command([wrapper, "true"], environ), "sh": Command(["sh", "-c", "exec true"], environ)}, runs=101
    )
    return wall_figure("wall, nothing to resolve / sh -c 'exec true'", times["wrapper"], times["sh"], 2.5)


def base_environ(url: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_ENDPOINT_URL": url,
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "LAMBDA_TASKS_PYTHON": sys.executable,
        "SECRET": arn(0),
    }


def references(*, secrets: int, variables: int) -> dict[str, str]:
    """Return the environment secret, and `variables` references over `secrets` other secrets."""
    found = {"LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN": arn(0)}
    for number in range(variables):
        found[f"LAMBDA_TASKS_SECRET_VARIABLE_{number}"] = f"{arn(1 + number % secrets)}:KEY_{number % 8}::"
    return found


def arn(number: int) -> str:
    return f"arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-{number}"


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[int]:
    """Run the server of secrets and return its port."""
    command: Sequence[str] = [sys.executable, str(SERVER), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101 - for mypy: both are pipes
        assert process.stdout is not None  # noqa: S101
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
