"""Our Signature Version 4 against botocore's."""

from __future__ import annotations

import datetime
from urllib.parse import quote

from botocore import auth, awsrequest
from botocore import credentials as botocore_credentials
from hypothesis import given
from hypothesis import strategies as st

from lambda_tasks.aws.credentials import Credentials
from lambda_tasks.aws.signing import digest, sign

HEADER_VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60).filter(str.strip)
PATHS = st.sampled_from(["/", "/prefix", "/a/b/"])
METHODS = st.sampled_from(["POST", "PUT", "GET"])


@given(
    body=st.binary(max_size=2000),
    access_key_id=HEADER_VALUES,
    secret_access_key=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    session_token=st.none() | HEADER_VALUES,
    target=HEADER_VALUES,
    service=st.sampled_from(["secretsmanager", "ssm", "sqs", "dynamodb", "scheduler"]),
    method=METHODS,
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
    method: str,
    path: str,
    epoch_seconds: int,
) -> None:
    """The Authorization header of any request, with any credentials, is the one that botocore makes."""
    headers = {"Host": "example.com", "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": target}
    ours = sign(
        headers,
        body,
        credentials=Credentials(access_key_id, secret_access_key, session_token),
        service=service,
        region="eu-west-1",
        method=method,
        path=path,
        epoch_seconds=epoch_seconds,
    )
    assert ours["Authorization"] == _oracle(
        headers, body, access_key_id, secret_access_key, session_token, service, method, path, epoch_seconds
    )


@given(
    body=st.binary(max_size=100),
    key=st.text(min_size=1, max_size=40),
    method=METHODS,
    session_token=st.none() | HEADER_VALUES,
)
def test_signature_of_an_object_is_that_of_botocore(
    body: bytes, key: str, method: str, session_token: str | None
) -> None:
    """S3 wants its path encoded once, whatever the key, and the digest of the body in a header."""
    headers = {"Host": "example.com", "X-Amz-Content-Sha256": digest(body)}
    path = "/bucket/" + quote(key, safe="~")
    credentials = Credentials("id", "key", session_token)
    ours = sign(
        headers,
        body,
        credentials=credentials,
        service="s3",
        region="eu-west-1",
        method=method,
        path=path,
        epoch_seconds=1_790_000_000,
    )
    expected = _oracle(headers, body, "id", "key", session_token, "s3", method, path, 1_790_000_000)
    assert ours["Authorization"] == expected


def test_a_key_of_other_bytes_is_signed_with() -> None:
    """A secret key that is no text makes a signature that AWS refuses, and not an error of its own."""
    for key in (b"\xff".decode("utf-8", "surrogateescape"), "\ud800"):
        signed = sign({"Host": "a"}, b"", credentials=Credentials("i", key), service="ssm", region="r", epoch_seconds=0)
        assert "Signature=" in signed["Authorization"]


def _oracle(
    headers: dict[str, str],
    body: bytes,
    access_key_id: str,
    secret_access_key: str,
    session_token: str | None,
    service: str,
    method: str,
    path: str,
    epoch_seconds: int,
) -> str:
    request = awsrequest.AWSRequest(method, f"https://example.com{path}", headers=headers, data=body)
    moment = datetime.datetime.fromtimestamp(epoch_seconds, datetime.timezone.utc)
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    signer = (auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth)(
        botocore_credentials.Credentials(access_key_id, secret_access_key, session_token), service, "eu-west-1"
    )
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if session_token:
        request.headers["X-Amz-Security-Token"] = session_token
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"
