"""What a secret's content must be like to become environment variables. Pure; no value is ever shown."""

from __future__ import annotations

import json
import os

from lambda_tasks.errors import InvalidSecret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

# The longest ``NAME=value`` that Linux takes, with the NUL at its end: 32 pages, 131072 bytes where a page has 4096.
# https://man7.org/linux/man-pages/man2/execve.2.html
MAX_VARIABLE_BYTES = 32 * os.sysconf("SC_PAGE_SIZE")


class _Number(str):
    """A JSON number as it is spelt."""

    __slots__ = ()


def flat_environment(text: str, source: str) -> dict[str, str]:
    """Return the variables that an environment source holds: a flat JSON object of strings.

    Raises:
        InvalidSecret: it is not one, or has names or values that no environment can hold.

    """
    variables = _json_object(text, source)
    not_strings = sorted(name for name, value in variables.items() if type(value) is not str)
    if not_strings:
        corrected = json.dumps(dict.fromkeys(not_strings, "..."))
        remedy = f"make every value a JSON string, as in {corrected}; the object must be flat"
        raise InvalidSecret(f"values of {_quoted(not_strings)} are not strings", source=source, remedy=remedy)
    check_names_and_values(variables, source)
    return variables


def json_value(text: str, json_key: str, source: str) -> str:
    """Return the value that `json_key` has in the JSON object `text`; numbers and booleans as they are spelt there.

    Raises:
        InvalidSecret: there is no such object or key, or its value is neither string, number nor boolean.

    """
    content = _json_object(text, source)
    if json_key not in content:
        raise InvalidSecret(
            f"the JSON key {json_key!r} is missing",
            source=source,
            remedy="add it to the secret, or correct the reference",
        )
    value = content[json_key]
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        kind = "null" if value is None else "an object" if isinstance(value, dict) else "an array"
        remedy = f"make it a string, a number or a boolean, as in {json.dumps({json_key: '...'})}"
        raise InvalidSecret(f"the value of {json_key!r} is {kind}", source=source, remedy=remedy)
    return str(value)


def check_names_and_values(variables: Mapping[str, str], source: str) -> None:
    """Check that the operating system can hold `variables` in an environment, and LAMBDA_TASKS_RESOLVED their names.

    Raises:
        InvalidSecret: naming those that cannot be held.

    """
    bad_names = [name for name in variables if not name or "=" in name or not _is_storable(name)]
    if bad_names:
        remedy = "rename them: a name is not empty and has no '=', no NUL character and no half of a surrogate pair"
        raise _invalid("no variable can be named {}", bad_names, source, remedy)
    with_comma = [name for name in variables if "," in name]
    if with_comma:
        remedy = "rename them: commas separate the names in LAMBDA_TASKS_RESOLVED"
        raise _invalid("no variable can be named {}", with_comma, source, remedy)
    bad_values = [name for name, value in variables.items() if not _is_storable(value)]
    if bad_values:
        remedy = "store them without NUL characters and halves of surrogate pairs, for example as base64"
        raise _invalid("values of {} cannot be exported", bad_values, source, remedy)
    too_large = [name for name, value in variables.items() if variable_bytes(name, value) > MAX_VARIABLE_BYTES]
    if too_large:
        sizes = f"the name, '=' and the value may have {MAX_VARIABLE_BYTES - 1} bytes together"
        remedy = f"{sizes}: make it smaller, or have the function read it itself"
        raise _invalid("values of {} are too large for an environment", too_large, source, remedy)


def variable_bytes(name: str, value: str) -> int:
    """Return the bytes that a variable takes in an environment."""
    return len(name.encode(errors="surrogateescape")) + len(value.encode(errors="surrogateescape")) + len("=\0")


def _invalid(problem: str, names: Iterable[str], source: str, remedy: str) -> InvalidSecret:
    return InvalidSecret(problem.format(_quoted(sorted(names))), source=source, remedy=remedy)


def _is_storable(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        return False


def _json_object(text: str, source: str) -> dict[str, Any]:
    content: object = None
    try:
        content = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)
        problem = "the content is JSON, but not an object"
    except (ValueError, RecursionError):
        problem = "the content is not JSON"
    if not isinstance(content, dict):  # outside of the handler: its exception holds the content
        raise InvalidSecret(problem, source=source, remedy='store a JSON object of strings, such as {"NAME": "value"}')
    return content


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which Python reads, and JSON does not have


def _quoted(names: list[str]) -> str:
    return ", ".join(map(ascii, names))  # ascii: a report is one line, whatever the names hold
