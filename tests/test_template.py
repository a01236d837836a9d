"""`template.yaml` is there to be copied: AWS's own tools and a policy linter judge it, and each statement is read."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from copies import ROOT, copy_tree

SAM_FOLDER = ROOT / ".venv-sam" / "bin"
CONTAINERS = [f"examples/containers/{name}.yaml" for name in ("batch", "worker")]
CHECKOV = ROOT / ".venv-policy" / "bin" / "checkov"
RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"

# sam's own reader, since YAML alone does not know !Ref and its like.
READ_TEMPLATE = """
import json, sys
from samcli.yamlhelper import yaml_parse
print(json.dumps(yaml_parse(sys.stdin.read())))
"""

pytestmark = [
    pytest.mark.skipif(not SAM_FOLDER.exists(), reason="aws-sam-cli is not installed: make setup-sam"),
    pytest.mark.usefixtures("uncovered"),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, so that nothing appears in the real one."""
    folder = copy_tree(tmp_path_factory.mktemp("sam") / "project", "examples", "template.yaml")
    (folder / "home").mkdir()
    return folder


@pytest.fixture(scope="module")
def built(tree: Path) -> Path:
    process = sam(tree, "build", "--parameter-overrides", f"PythonRuntime={RUNTIME}")
    assert process.returncode == 0, process.stderr
    return tree / ".aws-sam" / "build"


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    parsed = subprocess.run(
        [SAM_FOLDER / "python", "-c", READ_TEMPLATE],
        input=(ROOT / "template.yaml").read_text(),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(parsed.stdout))


def sam(tree: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run sam without AWS settings, credentials or telemetry, with this interpreter as the one that builds."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SAM_", "COVERAGE_"))}
    ours = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "HOME": str(tree / "home"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        # The interpreters that add byte code are found there where HOME is another one.
        "PYENV_ROOT": os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv")),
        "SAM_CLI_TELEMETRY": "0",
    }
    return subprocess.run([SAM_FOLDER / "sam", *arguments], cwd=tree, env=kept | ours, capture_output=True, text=True)


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    return dict(template["Resources"][name]["Properties"])


def statements(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return what roles and managed policies allow; policies of the key and of queues are another matter."""
    for resource in template["Resources"].values():
        if resource["Type"].startswith("AWS::IAM::"):
            for policy in (*resource["Properties"].get("Policies", []), resource["Properties"]):
                yield from whole(policy.get("PolicyDocument", {}).get("Statement", []))


def whole(listed_statements: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Return all statements of a policy, with its every condition met."""
    for statement in listed_statements:
        _, met, otherwise = statement.get("Fn::If", ("", statement, {"Ref": "AWS::NoValue"}))
        assert otherwise == {"Ref": "AWS::NoValue"}
        yield met


def others_policy(template: dict[str, Any], queue: str) -> dict[str, dict[str, Any]]:
    """Return the statements of a queue's own policy by their names, each with the condition that it depends on."""
    policy = properties(template, f"{queue}Policy")
    assert policy["Queues"] == [{"Ref": queue}]
    found = {}
    for statement in policy["PolicyDocument"]["Statement"]:
        condition, one, _ = statement.get("Fn::If", ("", statement, None))
        found[one["Sid"]] = {**one, "If": condition}
    return found


def allowed(template: dict[str, Any], policy: str) -> dict[str, set[str]]:
    """Return the actions of one role or policy, with the names of the resources that each is allowed on."""
    found: dict[str, set[str]] = {}
    for statement in statements({"Resources": {policy: template["Resources"][policy]}}):
        for action in listed(statement["Action"]):
            found.setdefault(action, set()).update(map(resource_name, listed(statement["Resource"])))
    return found


def resource_name(resource: Any) -> str:
    """Return the logical name that a resource of a statement refers to, and what is below it; "*" as it is."""
    if isinstance(resource, str):
        return resource
    ((function, value),) = resource.items()
    if function == "Fn::GetAtt":
        return str(value[0] if isinstance(value, list) else value.split(".")[0])
    for text in ("arn:${AWS::Partition}:", "${AWS::Region}:${AWS::AccountId}:", "${", ".Arn}", "}"):
        value = value.replace(text, "")
    return str(value)


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource["Properties"] for name, resource in template["Resources"].items() if resource["Type"] == kind
    }


def chosen(value: Any, *, fifo: bool) -> Any:
    """Return what a property is in one variant of the template; NoValue, which is the same as no property, is None."""
    if isinstance(value, dict) and "Fn::If" in value:
        condition, yes, no = value["Fn::If"]
        assert condition == "IsFifo"
        value = yes if fifo else no
    if isinstance(value, dict) and "Fn::Sub" in value:
        return value["Fn::Sub"].replace("${AWS::StackName}", "stack")
    return None if value == {"Ref": "AWS::NoValue"} else value


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_sam_finds_no_fault(tree: Path) -> None:
    """`sam validate --lint` has nothing to say against the template."""
    process = sam(tree, "validate", "--lint")

    assert process.returncode == 0, process.stdout + process.stderr
    assert "is a valid SAM Template" in process.stdout


def test_cfn_lint_finds_no_fault(tree: Path) -> None:
    """cfn-lint has nothing to say either, informational rules included, with FIFO queues or without."""
    process = subprocess.run(
        [SAM_FOLDER / "cfn-lint", "--include-checks", "I", "--", "template.yaml", *CONTAINERS],
        cwd=tree,
        capture_output=True,
        text=True,
    )

    assert process.returncode == 0, process.stdout + process.stderr


def checkov(template: Path, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run checkov without its network: guides to its checks are all that it would fetch."""
    arguments = ["--framework", "cloudformation", "--skip-download", "--output", "json", "--file", str(template)]
    environ = {"HOME": str(home), "PATH": os.environ["PATH"]}
    return subprocess.run([CHECKOV, *arguments], env=environ, capture_output=True, text=True)


@pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed: make setup-policy")
def test_policy_linter_finds_no_fault(tree: Path) -> None:
    """checkov passes what is not excepted, and each exception gives its reason."""
    process = checkov(ROOT / "template.yaml", tree / "home")

    results = json.loads(process.stdout)["results"]
    assert [(check["check_id"], check["resource"]) for check in results["failed_checks"]] == []
    assert process.returncode == 0
    assert len(results["passed_checks"]) > 20
    assert all(len(check["check_result"]["suppress_comment"]) > 30 for check in results["skipped_checks"])


@pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed: make setup-policy")
def test_policy_linter_would_find_a_fault(tree: Path, tmp_path: Path) -> None:
    """A queue or a topic without its key is a fault to checkov."""
    (tmp_path / "template.yaml").write_text(
        (ROOT / "template.yaml").read_text().replace("KmsMasterKeyId: !Ref Key", "")
    )
    process = checkov(tmp_path / "template.yaml", tree / "home")

    assert process.returncode == 1
    failed = {check["check_id"] for check in json.loads(process.stdout)["results"]["failed_checks"]}
    assert failed == {"CKV_AWS_26", "CKV_AWS_27"}


def test_sam_builds_the_layer_that_make_builds(tree: Path, built: Path) -> None:
    """The folder that `sam build` makes of the layer holds the files of the zip, the exec wrapper executable."""
    environ = {**os.environ, "PIP_NO_INDEX": "1"}
    subprocess.run([sys.executable, "-m", "layer.build"], cwd=tree, env=environ, check=True, capture_output=True)
    folder = built / "TasksLayer"
    with zipfile.ZipFile(tree / "layer" / "dist" / "lambda-tasks-layer.zip") as layer:
        expected = {name: layer.read(name) for name in layer.namelist()}
    files = [path for path in folder.rglob("*") if path.is_file()]

    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in files} == expected
    assert [path.name for path in files if os.access(path, os.X_OK) and path.stat().st_mode & 0o111] == [
        "lambda-tasks-exec"
    ]


def test_function_holds_the_modules_it_may_run(template: dict[str, Any], built: Path) -> None:
    """Each module that the function's allow-list names in full is in the built function, without caches."""
    modules = properties(template, "WorkerFunction")["Environment"]["Variables"]["LAMBDA_TASKS_MODULES"].split(",")

    for module in modules:
        assert (built / "WorkerFunction" / (module.replace(".", "/") + ".py")).is_file()
    assert list((built / "WorkerFunction").rglob("*.pyc")) == []


def test_function_uses_wrapper_and_handler_of_the_layer(template: dict[str, Any]) -> None:
    """The function needs the layer and two settings: the exec wrapper and the handler."""
    function = properties(template, "WorkerFunction")

    assert function["Layers"] == [{"Ref": "TasksLayer"}]
    assert function["Handler"] == "lambda_tasks.handler.handler"
    assert function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/opt/bin/lambda-tasks-exec"


def test_failed_messages_are_reported_one_by_one(template: dict[str, Any]) -> None:
    """The event source mapping reads partial batch responses; without that, one failure repeats the whole batch."""
    event = properties(template, "WorkerFunction")["Events"]["Tasks"]

    assert event["Properties"]["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_messages_stay_hidden_long_enough(template: dict[str, Any]) -> None:
    """The queue hides a message for 6 times the function's timeout, whichever is chosen."""
    timeout = template["Parameters"]["FunctionTimeoutSeconds"]
    visibility = {int(seconds): values["Seconds"] for seconds, values in template["Mappings"]["Visibility"].items()}

    assert properties(template, "TaskQueue")["VisibilityTimeout"] == {
        "Fn::FindInMap": ["Visibility", {"Ref": "FunctionTimeoutSeconds"}, "Seconds"]
    }
    assert properties(template, "WorkerFunction")["Timeout"] == {"Ref": "FunctionTimeoutSeconds"}
    assert visibility == {seconds: 6 * seconds for seconds in timeout["AllowedValues"]}
    assert timeout["Default"] in visibility


def test_poison_messages_end_in_the_dead_letter_queue(template: dict[str, Any]) -> None:
    """SQS gives a message up to the dead-letter queue, which keeps it as long as SQS can; the function knows it too."""
    redrive = properties(template, "TaskQueue")["RedrivePolicy"]

    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert template["Parameters"]["MaxReceiveCount"]["MinValue"] >= 5
    assert template["Parameters"]["MaxReceiveCount"]["Default"] == 10
    assert properties(template, "DeadLetterQueue")["MessageRetentionPeriod"] == 14 * 24 * 3600
    variables = properties(template, "WorkerFunction")["Environment"]["Variables"]
    assert variables["LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL"] == {"Ref": "DeadLetterQueue"}


def test_failed_events_of_schedules_are_kept(template: dict[str, Any]) -> None:
    """What a schedule starts and Lambda gives up, and what Scheduler cannot deliver, goes to one standard queue."""
    function = properties(template, "WorkerFunction")
    queue = {"Fn::GetAtt": ["FailedEventQueue", "Arn"]}
    schedule = function["Events"]["CleanUp"]["Properties"]
    assert function["EventInvokeConfig"]["DestinationConfig"]["OnFailure"] == {"Type": "SQS", "Destination": queue}
    assert schedule["DeadLetterConfig"] == {"Arn": queue}
    # A key is kept for a day: no try of either may come after that.
    seconds = [function["EventInvokeConfig"], schedule["RetryPolicy"]]
    assert sum(int(one["MaximumEventAgeInSeconds"]) for one in seconds) < 86400
    assert "FifoQueue" not in properties(template, "FailedEventQueue")


def test_concurrency_is_bounded_twice(template: dict[str, Any]) -> None:
    """The queue hands over no more batches than its maximum; concurrency is kept where a parameter says how much."""
    function = properties(template, "WorkerFunction")
    event = function["Events"]["Tasks"]
    defaults = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}

    assert event["Properties"]["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "MaximumConcurrency"}}
    assert function["ReservedConcurrentExecutions"] == {
        "Fn::If": ["HasReservedConcurrency", {"Ref": "ReservedConcurrency"}, {"Ref": "AWS::NoValue"}]
    }
    assert defaults["ReservedConcurrency"] == 0
    assert template["Conditions"]["HasReservedConcurrency"] == {
        "Fn::Not": [{"Fn::Equals": [{"Ref": "ReservedConcurrency"}, "0"]}]
    }


@pytest.mark.parametrize("fifo", [False, True])
@pytest.mark.parametrize("name", ["TaskQueue", "DeadLetterQueue"])
def test_queues_are_of_one_kind(template: dict[str, Any], name: str, *, fifo: bool) -> None:
    """Both queues are standard or both FIFO; only FIFO queues have its attributes and its suffix."""
    queue = {key: chosen(value, fifo=fifo) for key, value in properties(template, name).items()}
    own = {"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"} & queue.keys()

    assert queue["QueueName"].endswith(".fifo") is fifo
    assert {key for key in own if queue[key] is not None} == (own if fifo else set())
    assert queue["FifoQueue"] is (True if fifo else None)


def test_mapping_suits_both_kinds(template: dict[str, Any]) -> None:
    """The event source mapping keeps to what FIFO allows: ten messages, no window."""
    event = properties(template, "WorkerFunction")["Events"]["Tasks"]

    assert event["Properties"]["BatchSize"] <= 10
    assert "MaximumBatchingWindowInSeconds" not in event["Properties"]


def test_queues_secrets_and_logs_have_a_key_of_ones_own(template: dict[str, Any]) -> None:
    """Messages, secrets and logs are encrypted with the template's key, which is rotated."""
    assert {queue["KmsMasterKeyId"]["Ref"] for queue in of_type(template, "AWS::SQS::Queue").values()} == {"Key"}
    assert {one["KmsKeyId"]["Ref"] for one in of_type(template, "AWS::SecretsManager::Secret").values()} == {"Key"}
    assert properties(template, "WorkerLogs")["KmsKeyId"] == {"Fn::GetAtt": ["Key", "Arn"]}
    assert properties(template, "Key")["EnableKeyRotation"] is True


def test_records_expire_and_can_be_restored(template: dict[str, Any]) -> None:
    """The state table has time to live and point-in-time recovery, and the function knows it."""
    state = properties(template, "StateTable")

    assert state["TimeToLiveSpecification"] == {"AttributeName": "expires_at", "Enabled": True}
    assert state["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    variables = properties(template, "WorkerFunction")["Environment"]["Variables"]
    assert variables["LAMBDA_TASKS_TABLE"] == {"Ref": "StateTable"}


def test_state_table_is_the_one_that_the_code_expects(template: dict[str, Any]) -> None:
    """Keys, indexes and the time to live are those of lambda_tasks.state."""
    table = pytest.importorskip("lambda_tasks.state.table")
    wanted = table.create_table_request("any")
    state = properties(template, "StateTable")

    for name in ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes"):
        assert sorted(state[name], key=str) == sorted(wanted[name], key=str)
    assert state["BillingMode"] == wanted["BillingMode"]
    assert state["TimeToLiveSpecification"]["AttributeName"] == table.TIME_TO_LIVE


@pytest.mark.parametrize(
    ("alarm", "metric", "of"),
    [
        ("DeadLettersAlarm", "ApproximateNumberOfMessagesVisible", {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}),
        ("FailedEventsAlarm", "ApproximateNumberOfMessagesVisible", {"Fn::GetAtt": ["FailedEventQueue", "QueueName"]}),
        ("OldestMessageAlarm", "ApproximateAgeOfOldestMessage", {"Fn::GetAtt": ["TaskQueue", "QueueName"]}),
        ("ErrorsAlarm", "Errors", {"Ref": "WorkerFunction"}),
        ("ThrottlesAlarm", "Throttles", {"Ref": "WorkerFunction"}),
    ],
)
def test_alarm(template: dict[str, Any], alarm: str, metric: str, of: dict[str, Any]) -> None:
    """An alarm watches what it is named for, and tells the topic where there is one."""
    watched = properties(template, alarm)

    assert watched["MetricName"] == metric
    assert [dimension["Value"] for dimension in watched["Dimensions"]] == [of]
    assert watched["ComparisonOperator"] == "GreaterThanThreshold"
    assert watched["TreatMissingData"] == "notBreaching"
    assert watched["AlarmActions"] == {"Fn::If": ["HasAlarmTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}


def test_the_dashboard_shows_what_the_worker_measures(template: dict[str, Any]) -> None:
    """Each metric of the dashboard is one that the worker or AWS has, and no outcome is left out."""
    metrics = pytest.importorskip("lambda_tasks.telemetry.metrics")
    (function, text), *_ = properties(template, "Dashboard")["DashboardBody"].items()
    assert function == "Fn::Sub"
    widgets = json.loads(text)["widgets"]
    shown = [one for widget in widgets for one in widget["properties"]["metrics"]]

    ours = {name for namespace, name, *_ in shown if namespace == "${MetricsNamespace}"}
    assert ours == metrics.NAMES
    assert {tuple(one[2:4]) for one in shown if one[1] in ours} == {("FunctionName", "${WorkerFunction}")}
    assert {one[1] for one in shown} - ours == {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesVisible",
        "NumberOfMessagesSent",
    }
    stats = {one[4]["stat"] for one in shown if one[1] == "Duration"}
    assert stats == {"SampleCount", "p50", "p95", "p99"}
    places = [(one["x"], one["y"]) for one in widgets]
    assert len(set(places)) == len(places)


def test_failures_are_told_to_a_topic_with_a_key(template: dict[str, Any]) -> None:
    """The function knows the topic, which has the template's key, and a subscriber where a parameter names one."""
    variables = properties(template, "WorkerFunction")["Environment"]["Variables"]
    assert variables["LAMBDA_TASKS_FAILURE_TOPIC_ARN"] == {"Ref": "FailureTopic"}
    assert properties(template, "FailureTopic")["KmsMasterKeyId"] == {"Ref": "Key"}
    assert template["Resources"]["FailureSubscription"]["Condition"] == "HasFailureEmail"
    assert properties(template, "FailureSubscription")["Endpoint"] == {"Ref": "FailureEmail"}


def test_parameters_have_defaults(template: dict[str, Any]) -> None:
    """The template can be deployed as it is, and says what each parameter means."""
    for parameter in template["Parameters"].values():
        assert "Default" in parameter
        assert parameter["Description"]


def test_layer_versions_stay(template: dict[str, Any]) -> None:
    """A version of the layer outlives the next deployment, since other functions may have it attached."""
    layer = properties(template, "TasksLayer")

    assert layer["RetentionPolicy"] == "Retain"
    assert layer["CompatibleArchitectures"] == ["x86_64", "arm64"]


def test_function_is_traced_on_arm64(template: dict[str, Any]) -> None:
    """The function runs on arm64 and is traced."""
    function = properties(template, "WorkerFunction")

    assert function["Architectures"] == ["arm64"]
    assert function["Tracing"] == "Active"


def test_policies_name_their_resources(template: dict[str, Any]) -> None:
    """No statement allows every action, or every resource but where AWS knows none: each names those of this template."""
    found = list(statements(template))

    assert len(found) > 10
    for statement in found:
        assert all("*" not in action for action in listed(statement["Action"]))
        for name in map(resource_name, listed(statement["Resource"])):
            known = {*template["Resources"], "scheduler:schedule", "s3:::PayloadBucket"}
            assert name.split("/")[0] in known or statement["Sid"] == "WriteTraces"


def test_role_allows_what_the_worker_does(template: dict[str, Any]) -> None:
    """Action by action: the queue is received from, both queues are sent to, the table is written, nothing else."""
    assert allowed(template, "WorkerRole") == {
        "dynamodb:GetItem": {"StateTable"},
        "dynamodb:PartiQLInsert": {"StateTable"},
        "dynamodb:UpdateItem": {"StateTable"},
        "iam:PassRole": {"SchedulerRole"},
        "kms:Decrypt": {"Key"},
        "kms:GenerateDataKey": {"Key"},
        "s3:GetObject": {"s3:::PayloadBucket/*"},
        "s3:ListBucket": {"s3:::PayloadBucket"},
        "s3:PutObject": {"s3:::PayloadBucket/*"},
        "scheduler:CreateSchedule": {"scheduler:schedule/default/lambda-tasks-*"},
        "logs:CreateLogStream": {"WorkerLogs"},
        "logs:PutLogEvents": {"WorkerLogs"},
        "secretsmanager:GetSecretValue": {"EnvironmentSecret", "KeysSecret"},
        "sns:Publish": {"FailureTopic"},
        "sqs:ChangeMessageVisibility": {"TaskQueue"},
        "sqs:DeleteMessage": {"TaskQueue"},
        "sqs:GetQueueAttributes": {"TaskQueue"},
        "sqs:ReceiveMessage": {"TaskQueue"},
        "sqs:SendMessage": {"DeadLetterQueue", "FailedEventQueue", "TaskQueue"},
        "xray:PutTelemetryRecords": {"*"},
        "xray:PutTraceSegments": {"*"},
    }


def test_others_are_allowed_one_thing_each(template: dict[str, Any]) -> None:
    """Producers may enqueue, Scheduler may send, readers may read the records: none may do what the other does."""
    assert allowed(template, "ProducerPolicy") == {
        "dynamodb:PartiQLInsert": {"StateTable"},
        "iam:PassRole": {"SchedulerRole"},
        "kms:Decrypt": {"Key"},
        "kms:GenerateDataKey": {"Key"},
        "s3:PutObject": {"s3:::PayloadBucket/*"},
        "scheduler:CreateSchedule": {"scheduler:schedule/default/lambda-tasks-*"},
        "sqs:SendMessage": {"TaskQueue"},
    }
    assert allowed(template, "SchedulerRole") == {
        "kms:Decrypt": {"Key"},
        "kms:GenerateDataKey": {"Key"},
        "sqs:SendMessage": {"DeadLetterQueue", "TaskQueue"},
    }
    assert allowed(template, "ScheduleRole") == {
        "kms:Decrypt": {"Key"},
        "kms:GenerateDataKey": {"Key"},
        "lambda:InvokeFunction": {"WorkerFunction"},
        "sqs:SendMessage": {"FailedEventQueue"},
    }
    assert allowed(template, "RecordsPolicy") == {
        "dynamodb:BatchGetItem": {"StateTable"},
        "dynamodb:GetItem": {"StateTable"},
        "dynamodb:Query": {"StateTable/index/by_status", "StateTable/index/by_task"},
    }


def test_operator_may_do_what_the_commands_do(template: dict[str, Any]) -> None:
    """Whoever looks after the worker may handle dead letters, send them again and read the records."""
    records = allowed(template, "RecordsPolicy")
    operator = allowed(template, "OperatorPolicy")
    dead_letters = {action for action, resources in operator.items() if "DeadLetterQueue" in resources}

    assert {action: operator[action] for action in records} == records
    assert dead_letters == {
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:ListDeadLetterSourceQueues",
        "sqs:ReceiveMessage",
    }
    assert operator["sqs:SendMessage"] == {"TaskQueue"}
    assert operator.keys() - records.keys() - dead_letters == {"kms:Decrypt", "kms:GenerateDataKey", "sqs:SendMessage"}


def test_roles_are_passed_to_scheduler_alone(template: dict[str, Any]) -> None:
    """Whoever makes a schedule may pass Scheduler's role to that service, which assumes it for this account alone."""
    passing = [one for one in statements(template) if one["Action"] == "iam:PassRole"]
    (trust,) = properties(template, "SchedulerRole")["AssumeRolePolicyDocument"]["Statement"]

    assert len(passing) == 2
    assert all(
        one["Condition"]["StringEquals"] == {"iam:PassedToService": "scheduler.amazonaws.com"} for one in passing
    )
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}


@pytest.mark.parametrize("queue", ["TaskQueue", "DeadLetterQueue", "FailedEventQueue"])
def test_queues_take_nothing_without_tls(template: dict[str, Any], queue: str) -> None:
    """Whoever asks, and whatever for: without TLS a queue refuses."""
    denied = others_policy(template, queue)["DenyWithoutTls"]

    assert (denied["Effect"], denied["Principal"], denied["Action"], denied["If"]) == ("Deny", "*", "sqs:*", "")
    assert denied["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize(
    ("name", "condition", "principal", "only"),
    [
        ("SendFromTopics", "HasTopics", {"Service": "sns.amazonaws.com"}, {"Ref": "TopicArns"}),
        ("SendFromRules", "HasRules", {"Service": "events.amazonaws.com"}, {"Ref": "RuleArns"}),
        ("SendFromScheduler", "HasSchedules", {"AWS": {"Fn::GetAtt": ["SchedulerRole", "Arn"]}}, None),
        ("SendFromAccounts", "HasProducerAccounts", {"AWS": {"Ref": "ProducerAccountIds"}}, None),
    ],
)
def test_others_may_send_where_a_parameter_says_so(
    template: dict[str, Any], name: str, condition: str, principal: dict[str, Any], only: dict[str, Any] | None
) -> None:
    """SNS, EventBridge, Scheduler and other accounts may send, each by a parameter, services for named sources alone."""
    allows = others_policy(template, "TaskQueue")[name]

    assert (allows["Effect"], allows["Action"], allows["If"]) == ("Allow", "sqs:SendMessage", condition)
    assert allows["Principal"] == principal
    assert allows.get("Condition") == ({"ArnEquals": {"aws:SourceArn": only}} if only else None)
    assert allows["Resource"] == {"Fn::GetAtt": ["TaskQueue", "Arn"]}


def test_key_serves_whoever_may_send(template: dict[str, Any]) -> None:
    """Services and accounts that may send to the encrypted queue may use its key too, by the same parameters."""
    policy = properties(template, "Key")["KeyPolicy"]["Statement"]
    by_condition = {one["Fn::If"][0]: one["Fn::If"][1] for one in policy if "Fn::If" in one}

    assert by_condition.keys() == {"HasTopics", "HasRules", "HasProducerAccounts"}
    for statement in by_condition.values():
        assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    senders = {one["If"]: one["Principal"] for one in others_policy(template, "TaskQueue").values()}
    assert {name: one["Principal"] for name, one in by_condition.items()}.items() <= senders.items()


def test_only_the_queue_redrives_to_its_dead_letters(template: dict[str, Any]) -> None:
    """No other queue may name this one for its dead letters; the name is that of the queue, FIFO or not."""
    allows = properties(template, "DeadLetterQueue")["RedriveAllowPolicy"]
    (source,) = allows["sourceQueueArns"]
    text, values = source["Fn::Sub"]

    assert allows["redrivePermission"] == "byQueue"
    for fifo in (False, True):
        name = chosen(properties(template, "TaskQueue")["QueueName"], fifo=fifo)
        suffix = chosen(values["Suffix"], fifo=fifo)
        arn = text.replace("${AWS::StackName}", "stack").replace("${Suffix}", suffix)
        assert arn == "arn:${AWS::Partition}:sqs:${AWS::Region}:${AWS::AccountId}:" + name


def test_data_outlives_the_stack(template: dict[str, Any]) -> None:
    """Messages, dead letters, records, secrets, logs and their key stay where a stack is deleted or replaces them."""
    kinds = ("SQS::Queue", "DynamoDB::Table", "SecretsManager::Secret", "KMS::Key", "Logs::LogGroup")
    held = [one for one in template["Resources"].values() if one["Type"].removeprefix("AWS::") in kinds]

    assert len(held) == 8
    assert {(one["DeletionPolicy"], one["UpdateReplacePolicy"]) for one in held} == {("Retain", "Retain")}
    assert properties(template, "StateTable")["DeletionProtectionEnabled"] is True


def test_metrics_are_on(template: dict[str, Any]) -> None:
    """The function writes metrics into a namespace."""
    variables = properties(template, "WorkerFunction")["Environment"]["Variables"]

    assert variables["LAMBDA_TASKS_METRICS_NAMESPACE"] == {"Ref": "MetricsNamespace"}
    assert template["Parameters"]["MetricsNamespace"]["Default"]


def test_key_is_used_through_a_service_alone(template: dict[str, Any]) -> None:
    """Whoever may use the key may do so by way of SQS, SNS or Secrets Manager, and for nothing else."""
    using = [one for one in statements(template) if any(name.startswith("kms:") for name in listed(one["Action"]))]

    assert len(using) == 7
    for statement in using:
        (via,) = statement["Condition"]["StringEquals"].items()
        assert via[0] == "kms:ViaService"
        assert via[1]["Fn::Sub"] in {
            "sqs.${AWS::Region}.${AWS::URLSuffix}",
            "secretsmanager.${AWS::Region}.${AWS::URLSuffix}",
            "sns.${AWS::Region}.${AWS::URLSuffix}",
        }


def test_role_is_the_only_source_of_permissions(template: dict[str, Any]) -> None:
    """The function names its role, so that SAM adds none of its managed policies, which allow every queue."""
    assert properties(template, "WorkerFunction")["Role"] == {"Fn::GetAtt": ["WorkerRole", "Arn"]}
    assert "ManagedPolicyArns" not in properties(template, "WorkerRole")


def test_every_secret_referred_to_may_be_read(template: dict[str, Any]) -> None:
    """The role may read exactly the secrets that the template makes, and the function refers to each of them."""
    secrets = {
        name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::SecretsManager::Secret"
    }
    (readable,) = (
        {resource["Ref"] for resource in listed(statement["Resource"])}
        for statement in statements(template)
        if statement["Action"] == "secretsmanager:GetSecretValue"
    )
    variables = json.dumps(properties(template, "WorkerFunction")["Environment"]["Variables"])

    assert readable == secrets
    for secret in secrets:
        assert secret in variables


def test_logs_are_json_and_expire(template: dict[str, Any]) -> None:
    """The function logs JSON lines into a log group of its own, where they are kept for a time."""
    logging = properties(template, "WorkerFunction")["LoggingConfig"]

    assert logging["LogFormat"] == "JSON"
    assert properties(template, logging["LogGroup"]["Ref"])["RetentionInDays"] == {"Ref": "LogRetentionDays"}
