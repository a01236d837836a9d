"""Embedded AWS: its clients reach it and nothing else, and it ends with whoever started it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from urllib.request import urlopen

from lambda_tasks.local import embedded_aws_process
from lambda_tasks.local.embedded_aws import EmbeddedAws


def test_client_ignores_this_machines_settings(embedded_aws: EmbeddedAws) -> None:
    """A profile, an endpoint, a proxy or a region of the machine leads no client to another place."""
    program = "import sys; from lambda_tasks.local.embedded_aws import EmbeddedAws; "
    program += "print(EmbeddedAws(sys.argv[1], 'eu-west-1').client('sts').get_caller_identity()['Account'])"
    elsewhere = {
        "AWS_PROFILE": "none",
        "AWS_CA_BUNDLE": "/none",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_REGION": "us-gov-west-1",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "HTTP_PROXY": "http://127.0.0.1:1",
    }
    result = subprocess.run(
        [sys.executable, "-c", program, embedded_aws.endpoint_url],
        env={**os.environ, **elsewhere},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stdout.strip() == "123456789012"


def test_environ_leads_other_processes_to_it(embedded_aws: EmbeddedAws) -> None:
    """The variables for other processes hold endpoint, region and credentials."""
    assert embedded_aws.environ() == {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": embedded_aws.endpoint_url,
    }


def test_process_serves_until_its_input_ends() -> None:
    """The server's address is one line, it answers as long as the input is open, and then the program returns."""
    stdout = io.StringIO()

    class Input(io.StringIO):
        def read(self, _size: int | None = -1) -> str:
            with urlopen(f"{stdout.getvalue().strip()}/moto-api/data.json") as response:  # noqa: S310 - http, our own
                assert response.status == 200
            return ""

    embedded_aws_process.main(Input(), stdout)

    assert stdout.getvalue().startswith("http://127.0.0.1:")
