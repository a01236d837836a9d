"""What a secret's content must be like to become environment variables. Pure; no value is ever shown."""

from __future__ import annotations

import json

from lambda_tasks.errors import InvalidSecret

TYPE_CHECKING = False  # that of typing, which costs a cold start 4 ms
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def flat_environment(text: str, source: str) -> dict[str, str]:
    """Return the variables that an environment source holds: a flat JSON object of strings.

    Raises:
        InvalidSecret: it is not one, or has names or values that no environment can hold.

    """
    variables = _json_object(text, source)
    not_strings = sorted(name for name, value in variables.items() if not isinstance(value, str))
    if not_strings:
        remedy = "make every value a JSON string; the object must be flat"
        raise InvalidSecret(f"values of {_quoted(not_strings)} are not strings", source=source, remedy=remedy)
    check_names_and_values(variables, source)
    return variables


def json_value(text: str, json_key: str, source: str) -> str:
    """Return the string that `json_key` has in the JSON object `text`.

    Raises:
        InvalidSecret: there is no such object, key or string.

    """
    content = _json_object(text, source)
    if json_key not in content:
        raise InvalidSecret(
            f"the JSON key {json_key!r} is missing",
            source=source,
            remedy="add it to the secret, or correct the reference",
        )
    value = content[json_key]
    if not isinstance(value, str):
        raise InvalidSecret(f"the value of {json_key!r} is not a string", source=source, remedy="make it a JSON string")
    return value


def check_names_and_values(variables: Mapping[str, str], source: str) -> None:
    """Check that the operating system can hold `variables` in an environment.

    Raises:
        InvalidSecret: naming those that it cannot.

    """
    bad_names = sorted(name for name in variables if not name or "=" in name or not _is_storable(name))
    if bad_names:
        remedy = "rename them: a name is not empty and has no '=', no NUL character and no half of a surrogate pair"
        raise InvalidSecret(f"no variable can be named {_quoted(bad_names)}", source=source, remedy=remedy)
    bad_values = sorted(name for name, value in variables.items() if not _is_storable(value))
    if bad_values:
        remedy = "store them without NUL characters and halves of surrogate pairs, for example as base64"
        raise InvalidSecret(f"values of {_quoted(bad_values)} cannot be exported", source=source, remedy=remedy)


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        return False


def _json_object(text: str, source: str) -> dict[str, Any]:
    content: object = None
    try:
        content = json.loads(text)
        problem = "the content is JSON, but not an object"
    except (ValueError, RecursionError):
        problem = "the content is not JSON"
    if not isinstance(content, dict):  # outside of the handler: its exception holds the content
        raise InvalidSecret(problem, source=source, remedy='store a JSON object of strings, such as {"NAME": "value"}')
    return content


def _quoted(names: list[str]) -> str:
    return ", ".join(map(ascii, names))  # ascii: a report is one line, whatever the names hold
