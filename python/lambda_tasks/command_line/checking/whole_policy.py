"""The whole least policy of a function: its secrets, queues, table, payloads, keys and log group.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions and
https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lambda_tasks.aws.queue_address import QueueAddress
from lambda_tasks.settings import Settings, names_jobs

NO_ACCOUNT = "000000000000"
ACCOUNT_PARAMETER = "${AWS::AccountId}"
_CONSUME = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
_TOPIC = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]+")
_LOG = ["logs:CreateLogStream", "logs:PutLogEvents"]


@dataclass(frozen=True)
class Around:
    """What a template says of a function beside its variables: the queues that it takes from, and keys.

    `topic_keys` has the key of each topic that has one, by the topic's ARN. `destinations` get its failed events.
    `variables` are the function's own, where those of this process lie below them.
    """

    log_group: str = "/aws/lambda/${FunctionName}"
    sources: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()
    queue_keys: tuple[str, ...] = ()
    topic_keys: Mapping[str, str] = field(default_factory=dict)
    destinations: tuple[str, ...] = ()
    variables: Mapping[str, str] | None = None


def whole_policy(
    of_secrets: Mapping[str, Any],
    environ: Mapping[str, str],
    around: Around,
    *,
    region: str,
    account_id: str,
) -> dict[str, Any]:
    """Return the policy that a function needs, with `of_secrets`, the one of its references, in it.

    Where the account is not known (`NO_ACCOUNT`), the policy has CloudFormation's parameter for it.
    """
    settings = Settings.from_environ(environ)
    urls = [url for url in settings.queue_urls.values() if not names_jobs(url)]
    sent = {QueueAddress.of_url(url, environ).arn for url in urls}
    dead = {*around.dead_letters}
    if settings.dead_letter_queue_url:
        dead.add(QueueAddress.of_url(settings.dead_letter_queue_url, environ).arn)
    place = f"{region}:{account_id}"
    statements = list(of_secrets["Statement"])
    consumed = set(around.sources or sent)
    if consumed:
        statements.append(_allow(_CONSUME, consumed))
    dead |= {one for one in around.destinations if ":sqs:" in one}
    if sent | dead:
        statements.append(_allow(["sqs:SendMessage"], sent | dead))
    keys = set(around.queue_keys)
    if keys:
        statements.append(_allow_key(keys, "sqs", region))
    if settings.table and settings.record_database is None:
        table = (
            settings.table if settings.table.startswith("arn:") else f"arn:aws:dynamodb:{place}:table/{settings.table}"
        )
        inserts = ["dynamodb:PartiQLInsert"] if sent and settings.record_enqueued else []
        statements.append(_allow(["dynamodb:GetItem", "dynamodb:UpdateItem", *inserts], [table]))
    if settings.payload_buckets:
        statements.append(_allow(["s3:GetObject"], [f"arn:aws:s3:::{one}/*" for one in settings.payload_buckets]))
    if settings.payload_bucket and sent:
        statements.append(_allow(["s3:PutObject"], [f"arn:aws:s3:::{settings.payload_bucket}/*"]))
    if settings.scheduler_role_arn:
        statements.append(_allow(["scheduler:CreateSchedule"], [f"arn:aws:scheduler:{place}:schedule/default/*"]))
        statements.append(_allow(["iam:PassRole"], [settings.scheduler_role_arn]))
    if settings.failure_topic_arn:
        action = "sns:Publish" if ":sns:" in settings.failure_topic_arn else "events:PutEvents"
        statements.append(_allow([action], [settings.failure_topic_arn]))
        topic_key = around.topic_keys.get(settings.failure_topic_arn)
        if topic_key:
            statements.append(_allow_key([topic_key], "sns", region))
    topics = _topics(environ, around) - {settings.failure_topic_arn}
    if topics:
        statements.append(_allow(["sns:Publish"], topics))
        keys = {around.topic_keys[one] for one in topics if one in around.topic_keys}
        statements += [_allow_key(keys, "sns", region)] if keys else []
    statements.append(_allow(_LOG, [f"arn:aws:logs:{place}:log-group:{around.log_group}:*"]))
    return _with_account({"Version": of_secrets["Version"], "Statement": statements}, account_id)


def _topics(environ: Mapping[str, str], around: Around) -> set[str]:
    """Return the topics that a function may publish to: those that its variables name, and its destinations."""
    own = environ if around.variables is None else around.variables
    return {one for one in (*own.values(), *around.destinations) if _TOPIC.fullmatch(one)}


def _allow(actions: list[str], resources: Iterable[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": sorted(resources)}


def _allow_key(keys: Iterable[str], service: str, region: str) -> dict[str, Any]:
    condition = {"StringEquals": {"kms:ViaService": [f"{service}.{region}.amazonaws.com"]}}
    return {**_allow(["kms:Decrypt", "kms:GenerateDataKey"], keys), "Condition": condition}


def _with_account(policy: Mapping[str, Any], account_id: str) -> dict[str, Any]:
    """Return a policy with the account in place of a stand-in, and of ``*`` where a parameter's name has none."""
    account = ACCOUNT_PARAMETER if account_id == NO_ACCOUNT else account_id
    text = json.dumps(policy).replace(":*:parameter/", f":{account}:parameter/").replace(NO_ACCOUNT, account)
    found: dict[str, Any] = json.loads(text)
    return found
