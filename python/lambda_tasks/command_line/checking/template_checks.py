"""What is wrong with a template, as lines for people, JSON for programs, or annotations for GitHub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lambda_tasks.command_line.checking.whole_policy import Around
from lambda_tasks.local.checks.advice import advice
from lambda_tasks.local.checks.finding import Finding, sentence, shown_path
from lambda_tasks.local.checks.refused import refused
from lambda_tasks.local.template.document import Template, template_file
from lambda_tasks.local.template.model import Model, read_model
from lambda_tasks.local.template.names import topic_name

GITHUB = "github"


def findings_of(path: Path, parameters: Mapping[str, str], *, region: str, account_id: str) -> list[Finding]:
    """Return all that is wrong with the mappings, queues and functions of the template at `path`, by its lines.

    Raises:
        LocalError: the template cannot be read.

    """
    model = read_model(path, parameters, region, account_id)
    found = [*refused(model), *advice(model)]
    unique = list(dict.fromkeys(found))  # a queue of two functions is judged twice
    return sorted(unique, key=lambda one: one.line or 0)


def around_function(
    path: Path, function: str, parameters: Mapping[str, str], *, region: str, account_id: str
) -> Around:
    """Return what the template says of a function, by its logical id (empty where it is the only one).

    Raises:
        LocalError: the template cannot be read.

    """
    model = read_model(path, parameters, region, account_id)
    name = function or next(iter(model.functions))
    sources = [one.queue_arn for one in model.mappings_of(name)]
    queues = [model.queues[arn] for arn in sources if arn in model.queues]
    keys = [str(queue.properties.get("KmsMasterKeyId", "")) for queue in queues]
    own = model.functions[name].own_name
    group = own if own != name else f"${{AWS::StackName}}-{name}-*"
    return Around(
        log_group=f"/aws/lambda/{group}",
        sources=tuple(sources),
        dead_letters=tuple(
            str(one.redrive["deadLetterTargetArn"]) for one in queues if "deadLetterTargetArn" in one.redrive
        ),
        queue_keys=tuple(filter(None, (_key_arn(key, f"{region}:{account_id}") for key in keys))),
        topic_keys=_topic_keys(model.template, f"{region}:{account_id}"),
        destinations=_destinations(model, name),
        variables=model.functions[name].environ,
    )


def _destinations(model: Model, function: str) -> tuple[str, ...]:
    """Return the queues and topics that get a function's asynchronous events when they are done with, or failed."""
    raw = model.template.function_properties(model.template.content["Resources"][function])
    config = model.template.resolve(raw.get("EventInvokeConfig") or {}).get("DestinationConfig") or {}
    found = (config.get(one) for one in ("OnFailure", "OnSuccess"))
    return tuple(str(one["Destination"]) for one in found if isinstance(one, dict) and one.get("Destination"))


def _topic_keys(template: Template, place: str) -> dict[str, str]:
    """Return the keys of the template's topics that have one, by the topics' ARNs."""
    found = {}
    for name, resource in template.resources("AWS::SNS::Topic").items():
        properties = template.resolve(resource["Properties"])
        arn = f"arn:aws:sns:{place}:{topic_name(template, name, properties)}"
        found[arn] = _key_arn(str(properties.get("KmsMasterKeyId", "")), place)
    return {arn: key for arn, key in found.items() if key}


def _key_arn(key: str, place: str) -> str:
    """Return the ARN of a key; an empty text for none, and for an alias, which a policy cannot name."""
    if not key or key.startswith("alias/"):
        return ""
    return key if key.startswith("arn:") else f"arn:aws:kms:{place}:key/{key}"


def lines_of(path: Path, findings: Sequence[Finding], form: str) -> list[str]:
    """Return one line a finding, in the given form."""
    shown = shown_path(template_file(path))
    if form == GITHUB:
        return [annotation(shown, one.line, one.place, f"{one.problem}: {one.remedy}") for one in findings]
    return [sentence(shown, one) for one in findings]


def annotation(path: str, line: int | None, title: str, text: str) -> str:
    """Return a command of GitHub's workflows that shows an error beside a line.

    Source: https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
    """
    place = f"file={_property(path)},line={line or 1},title={_property(title)}"
    return f"::error {place}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
