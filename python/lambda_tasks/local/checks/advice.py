"""What AWS accepts of a template, and messages suffer from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from lambda_tasks.definition.schedules import expression
from lambda_tasks.errors import InvalidTask, LambdaTasksError
from lambda_tasks.local.checks import schedule_differences
from lambda_tasks.local.checks.finding import Finding
from lambda_tasks.local.checks.schedules import scheduled_tasks
from lambda_tasks.local.checks.tasks_in_code import Code, read_code
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.mapping.judgement import REPORTS_FAILURES
from lambda_tasks.local.schedules.resources import schedules
from lambda_tasks.local.template.code import as_folder
from lambda_tasks.local.template.functions import FunctionResource
from lambda_tasks.local.template.mappings import MappingResource
from lambda_tasks.local.template.model import Model, QueueResource
from lambda_tasks.settings import Settings

OUR_HANDLER = "lambda_tasks.handler.handler"
_MODE, _TABLE = "LAMBDA_TASKS_MODE", "LAMBDA_TASKS_TABLE"


def advice(model: Model) -> list[Finding]:
    """Return what is better changed, of the functions that take messages and of what sends them on a schedule."""
    found = []
    with tempfile.TemporaryDirectory(prefix="lambda-tasks-") as folder:
        code = {name: code_of(one, Path(folder)) for name, one in model.functions.items()}
    for function in model.functions.values():
        found += _of_function(model, function, code[function.name])
        for mapping in model.mappings_of(function.name):
            found += _of_mapping(model, mapping, function, code[function.name])
    own = {one.name: own_tasks(one, code[one.name]) for one in model.functions.values() if one.handler == OUR_HANDLER}
    return [*found, *_of_schedules(model, code), *_of_expressions(model), *schedule_differences.findings(model, own)]


def code_of(function: FunctionResource, folder: Path) -> Code | None:
    """Return the tasks of a function; None where its code is not here."""
    try:
        return read_code(as_folder(function, folder))
    except LocalError:
        return None


def own_tasks(function: FunctionResource, code: Code | None) -> Code:
    """Return the tasks that the function may run."""
    try:
        settings = Settings.from_environ(function.environ)
    except LambdaTasksError:
        settings = Settings()
    tasks = code.tasks if code else {}
    return Code({name: one for name, one in tasks.items() if settings.allows_module(name.rpartition(".")[0])})


def _of_function(model: Model, function: FunctionResource, code: Code | None) -> list[Finding]:
    found = []
    path = ("Resources", function.name, "Properties", "Environment", "Variables")
    mode = function.environ.get(_MODE, "sqs")
    if mode != "sqs":
        problem = f"{_MODE} is {mode}, so what it enqueues does not reach a queue"
        found.append(Finding(function.name, problem, "remove it", model.template.line(*path, _MODE)))
    needy = [one for one in own_tasks(function, code).tasks.values() if one.needs_table]
    if needy and function.handler == OUR_HANDLER and not function.environ.get(_TABLE):
        problem = f"{needy[0].name} {needy[0].needs_table}, and there is no table"
        remedy = f"set {_TABLE} to a table of DynamoDB"
        found.append(Finding(function.name, problem, remedy, model.template.line(*path)))
    return found


def _of_mapping(model: Model, mapping: MappingResource, function: FunctionResource, code: Code | None) -> list[Finding]:
    line = model.template.line(*mapping.path)
    found = []
    is_one_by_one = mapping.properties.get("BatchSize") == "1" and function.handler != OUR_HANDLER
    if not mapping.properties.get("FunctionResponseTypes") and not is_one_by_one:
        problem = f"there is no {REPORTS_FAILURES}: an answer deletes what failed, and an error repeats what succeeded"
        found.append(Finding(mapping.name, problem, f"add FunctionResponseTypes: [{REPORTS_FAILURES}]", line))
    queue = model.queues.get(mapping.queue_arn)
    return found if queue is None else found + _of_queue(model, queue, function, code)


def _of_queue(model: Model, queue: QueueResource, function: FunctionResource, code: Code | None) -> list[Finding]:
    path = ("Resources", queue.name, "Properties")
    found = []
    visibility, timeout = queue.visibility_seconds, function.timeout_seconds
    if visibility is not None and timeout <= visibility < 6 * timeout:
        problem = f"VisibilityTimeout of {visibility} s is below six times the Timeout of {function.name}, {timeout} s"
        line = model.template.line(*path, "VisibilityTimeout")
        found.append(Finding(queue.name, problem, f"set it to {6 * timeout} s", line))
    count = str(queue.redrive.get("maxReceiveCount", ""))
    if not queue.redrive:
        problem = "there is no dead-letter queue: what fails comes back until it is too old"
        found.append(Finding(queue.name, problem, "add a RedrivePolicy", model.template.line(*path)))
    elif count.isdecimal():
        needy = [one for one in own_tasks(function, code).tasks.values() if one.tries and one.tries > int(count)]
        if needy:
            most = max(needy, key=lambda one: one.tries or 0)
            problem = f"maxReceiveCount is {count}, and {most.name} is tried up to {most.tries} times"
            line = model.template.line(*path, "RedrivePolicy", "maxReceiveCount")
            found.append(Finding(queue.name, problem, f"set it to {most.tries} or more", line))
    return found


def _of_expressions(model: Model) -> list[Finding]:
    """Return the schedules that EventBridge would not take as they are written."""
    found = []
    for one in schedules(model):
        name = "Schedule" if one.kind == "Schedule" else "ScheduleExpression"
        try:
            if one.expression is not None:
                expression.parse(one.expression, name)
            if one.timezone is not None:
                name = "ScheduleExpressionTimezone"
                expression.checked_zone(name, one.timezone)
        except InvalidTask as error:
            line = model.template.line(*one.path, name)
            found.append(Finding(one.place, error.problem, str(error.remedy), line))
    return found


def _of_schedules(model: Model, code: Mapping[str, Code | None]) -> list[Finding]:
    found = []
    by_arn = {mapping.queue_arn: mapping.function for mapping in model.mappings}
    for one in scheduled_tasks(model):
        function = one.function or by_arn.get(one.target_arn)
        known = [code[function]] if function else list(code.values())
        if not known or None in known or any(each.has(one.task_name) for each in known if each):
            continue
        where = f"the code of {function}" if function else "the code of any function"
        problem = f"it sends the task {one.task_name}, which {where} does not have"
        found.append(Finding(one.place, problem, "correct the name", model.template.line(*one.path)))
    return found
