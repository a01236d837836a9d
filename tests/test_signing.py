"""Our Signature Version 4 against botocore's."""

from __future__ import annotations

import datetime

from botocore import auth, awsrequest
from botocore import credentials as botocore_credentials
from hypothesis import given
from hypothesis import strategies as st

from lambda_tasks.aws.credentials import Credentials
from lambda_tasks.aws.signing import sign

HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60).filter(str.strip)
PATHS = st.sampled_from(["/", "/prefix", "/a/b/"])


@given(
    body=st.binary(max_size=2000),
    access_key_id=HEADER_VALUES,
    secret_access_key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    session_token=st.none() | HEADER_VALUES,
    target=HEADER_VALUES,
    service=st.sampled_from(["secretsmanager", "ssm", "sqs", "dynamodb"]),
    path=PATHS,
    epoch_seconds=st.integers(min_value=0, max_value=4_000_000_000),
)
def test_signature_is_that_of_botocore(
    body: bytes,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None,
    target: str,
    service: str,
    path: str,
    epoch_seconds: int,
) -> None:
    """Whatever is signed with whatever credentials, the Authorization header is the one that botocore makes."""
    headers = {"Host": "example.com", "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    ours = sign(
        headers,
        body,
        credentials=Credentials(access_key_id, secret_access_key, session_token),
        service=service,
        region="eu-west-1",
        path=path,
        epoch_seconds=epoch_seconds,
    )
    assert ours["Authorization"] == _oracle(
        headers, body, access_key_id, secret_access_key, session_token, service, path, epoch_seconds
    )


def _oracle(
    headers: dict[str, str],
    body: bytes,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None,
    service: str,
    path: str,
    epoch_seconds: int,
) -> str:
    request = awsrequest.AWSRequest("POST", f"https://example.com{path}", headers=headers, data=body)
    moment = datetime.datetime.fromtimestamp(epoch_seconds, datetime.timezone.utc)
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    signer = auth.SigV4Auth(
        botocore_credentials.Credentials(access_key_id, secret_access_key, session_token), service, "eu-west-1"
    )
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if session_token:
        request.headers["X-Amz-Security-Token"] = session_token
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"
