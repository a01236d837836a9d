"""The resources that SAM makes of a function's SNS events: a queue, its subscription, and an SQS event.

Source: https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/sam-property-function-sns.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OF_THE_SUBSCRIPTION = ("FilterPolicy", "FilterPolicyScope", "Region")
_OF_THE_EVENT = ("BatchSize", "Enabled")


def expanded(resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resources with those of each SNS event that has a ``SqsSubscription``."""
    found: dict[str, Any] = dict(resources)
    for name, resource in resources.items():
        events = resource["Properties"].get("Events")
        if resource["Type"] != "AWS::Serverless::Function" or not isinstance(events, dict):
            continue
        more = {}
        for event_name, event in events.items():
            own = event.get("Properties") if isinstance(event, dict) and event.get("Type") == "SNS" else None
            if isinstance(own, dict) and own.get("SqsSubscription"):
                more[event_name], made = _expanded(f"{name}{event_name}", own)
                found |= made
        if more:
            found[name] = {**resource, "Properties": {**resource["Properties"], "Events": {**events, **more}}}
    return found


def _expanded(prefix: str, own: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    wanted = own["SqsSubscription"] if isinstance(own["SqsSubscription"], dict) else {}
    made: dict[str, Any] = {}
    queue_arn = wanted.get("QueueArn")
    if queue_arn is None:
        made[f"{prefix}Queue"] = {"Type": "AWS::SQS::Queue", "Properties": {}, "Metadata": {}}
        queue_arn = {"Fn::GetAtt": [f"{prefix}Queue", "Arn"]}
    subscription = {"TopicArn": own.get("Topic"), "Protocol": "sqs", "Endpoint": queue_arn}
    subscription |= {key: own[key] for key in _OF_THE_SUBSCRIPTION if key in own}
    made[f"{prefix}Subscription"] = {"Type": "AWS::SNS::Subscription", "Properties": subscription, "Metadata": {}}
    event = {"Queue": queue_arn, **{key: wanted[key] for key in _OF_THE_EVENT if key in wanted}}
    return {"Type": "SQS", "Properties": event}, made
