"""The same job as it is usually done: boto3 for the secrets at import, Powertools' batch utility, a pydantic model."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from typing import Any

import boto3
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.batch.types import PartialItemFailureResponse
from aws_lambda_powertools.utilities.parser.models import SqsRecordModel
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel, ConfigDict, Json

VARIABLES = ("KEY_0", *(f"VARIABLE_{number}" for number in range(5)))


def read_secrets() -> None:
    """Put the values of the four secrets into the environment."""
    client = boto3.client("secretsmanager")

    def secret(number: int) -> dict[str, str]:
        answer = client.get_secret_value(SecretId=os.environ[f"SECRET_{number}"])
        return dict(json.loads(answer["SecretString"]))

    os.environ.update(secret(0))
    others = [secret(number) for number in range(1, 4)]
    for number in range(5):
        os.environ[f"VARIABLE_{number}"] = others[number % 3][f"KEY_{number}"]


class Charge(BaseModel):
    """The kwargs of the task."""

    order_id: int
    amount: Decimal


class Message(BaseModel):
    """A message's body."""

    model_config = ConfigDict(extra="ignore")

    kwargs: Charge


class Record(SqsRecordModel):
    """One record, parsed."""

    body: Json[Message]


read_secrets()
processor = BatchProcessor(event_type=EventType.SQS, model=Record)


def charge(record: Record) -> None:
    """Fail where a secret is missing or the message was not converted."""
    missing = [name for name in VARIABLES if not os.environ.get(name)]
    kwargs = record.body.kwargs
    if missing or kwargs.order_id + kwargs.amount != Decimal("61.90"):
        raise ValueError(f"missing: {missing}")


def handler(event: dict[str, Any], context: LambdaContext) -> PartialItemFailureResponse:
    """Answer with a partial batch response."""
    return process_partial_response(event=event, record_handler=charge, processor=processor, context=context)
