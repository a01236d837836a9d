"""The variables that a template gives a function, as far as they are known before there is a stack."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.model import read_model


def function_environ(
    path: Path, function: str | None, parameters: Mapping[str, str], *, region: str, account_id: str
) -> dict[str, str]:
    """Return the environment variables of `function` (a logical id; None where the template has only one).

    A secret or parameter that the template itself creates is known by its logical id.

    Raises:
        LocalError: the template cannot be read, there is no such function, or a variable has no value.

    """
    functions = function_environs(path, parameters, region=region, account_id=account_id)
    chosen = function or (next(iter(functions)) if len(functions) == 1 else "")
    if chosen not in functions:
        problem = f"there is no function {function}" if function else f"there are {len(functions)} functions"
        remedy = f"name one with --function: {', '.join(functions) or 'the template has none'}"
        raise LocalError(problem, source=str(path), remedy=remedy)
    return functions[chosen]


def function_environs(
    path: Path, parameters: Mapping[str, str], *, region: str, account_id: str
) -> dict[str, dict[str, str]]:
    """Return the environment variables of each function by its logical id.

    Raises:
        LocalError: the template cannot be read, or a variable has no value.

    """
    functions = read_model(path, parameters, region, account_id).functions
    return {name: {"AWS_REGION": region, **one.environ} for name, one in functions.items()}
