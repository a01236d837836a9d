"""How the values of settings are spelt. Each function reads one, and raises `ValueError` with what to write."""

from __future__ import annotations

# On Managed Instances; 900 elsewhere. https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LONGEST_FUNCTION_SECONDS = 5400

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True}
_BOOLEANS |= {"": False, "0": False, "false": False, "no": False, "off": False}


def boolean(value: str) -> bool:
    known = _BOOLEANS.get(value.strip().lower())
    if known is None:
        raise ValueError("use 1 or 0")
    return known


def database(value: str) -> str | None:
    known = _BOOLEANS.get(value.strip().lower())
    return value if known is None else "default" if known else None


def _seconds(value: str) -> float:
    """Return a number of seconds; none of the settings takes 0, which stands for what is no number."""
    try:
        return float(value)
    except ValueError:
        return 0.0


def positive_seconds(value: str) -> float:
    seconds = _seconds(value)
    if not 0 < seconds <= LONGEST_FUNCTION_SECONDS:
        raise ValueError(f"use a number of seconds above 0 and at most {LONGEST_FUNCTION_SECONDS}")
    return seconds


def max_age_seconds(value: str) -> float | None:
    if not value:
        return None
    seconds = _seconds(value)
    if not 0 < seconds <= 7 * 86400:
        raise ValueError("use a number of seconds above 0 and at most 604800 (a week)")
    return seconds


def record_ttl_seconds(value: str) -> float:
    seconds = _seconds(value)
    if not 3600 <= seconds <= 10 * 366 * 86400:
        raise ValueError("use a number of seconds from an hour (3600) to ten years")
    return seconds


def metrics_namespace(value: str) -> str | None:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    if len(value) > 255 or not (value.isascii() and value.replace(" ", "").isprintable()) or value.startswith("AWS/"):
        raise ValueError("use at most 255 printable ASCII characters, not beginning with AWS/")
    return value.strip() or None


def mode(value: str) -> str:
    return _one_of(value, ("sqs", "eager", "local", "off"))


def log_errors(value: str) -> str:
    return _one_of(value, ("full", "type"))


def _one_of(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"use one of {', '.join(known)}")
    return value


def optional_seconds(value: str) -> float | None:
    return positive_seconds(value) if value else None


def threads(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 1 <= int(value) <= 1000):
        raise ValueError("use a whole number of threads from 1 to 1000")
    return int(value)


def optional(value: str) -> str | None:
    return value or None


def topic_or_event_bus(value: str) -> str | None:
    if not value:
        return None
    start, partition, service, region, account, name, *more = [*value.split(":"), "", "", "", "", "", ""]
    is_bus = service == "events" and name.startswith("event-bus/") and name != "event-bus/"
    is_topic = service == "sns" and name != "" and f"_{name}".replace("-", "_").replace(".", "_").isidentifier()
    is_place = bool(partition and region) and account.isdigit() and value.isascii()
    if not (start == "arn" and is_place and (is_bus or is_topic)) or any(more):
        topic, bus = "arn:aws:sns:<region>:<account>:<topic>", "arn:aws:events:<region>:<account>:event-bus/<bus>"
        raise ValueError(f"use the ARN of an SNS topic, {topic}, or of an EventBridge event bus, {bus}")
    return value


def names(value: str) -> tuple[str, ...]:
    return tuple(name for name in (part.strip() for part in value.split(",")) if name)


def exact_names(value: str) -> tuple[str, ...]:
    return tuple(filter(None, value.split(",")))  # as they were exported, where spaces are part of a name


def name_patterns(value: str) -> tuple[str, ...]:
    patterns = names(value)
    for name in patterns:
        if "*" in name[:-1]:
            raise ValueError("use names such as API_KEY, or their beginnings such as DB_*, separated by commas")
    return patterns


def modules(value: str) -> tuple[str, ...]:
    found = names(value)
    for name in found:
        if not all(part.isidentifier() for part in name.removesuffix(".*").split(".")):
            raise ValueError(f"use module names such as shop.tasks or billing.*, separated by commas; not {name!r}")
    return found
