"""Messages as jobs of AWS Batch and tasks of Amazon ECS: what is submitted, and that `lambda-tasks run` runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from lambda_tasks import task
from lambda_tasks.aws import calls
from lambda_tasks.aws.calls import SignedCalls
from lambda_tasks.aws.transport import CallFailed, Transport
from lambda_tasks.command_line import app
from lambda_tasks.definition.options import Options
from lambda_tasks.enqueue.jobs import submission
from lambda_tasks.enqueue.jobs.target import Target
from lambda_tasks.enqueue.outgoing import Outgoing
from lambda_tasks.errors import EnqueueFailed, InvalidSetting, InvalidTask, MessageTooLarge
from wrapper import base_environ

REGION = "eu-west-1"


@task(queue="reports", hard_timeout=4 * 3600, retry_on=(ConnectionError,), max_retries=4)
def report(*, year: int, note: str = "") -> str:
    """A task that no function could run."""
    return f"{year}{note}"


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    environ = {**base_environ(), "LAMBDA_TASKS_QUEUE_URL_REPORTS": "batch:jobs/worker"}
    del environ["AWS_ENDPOINT_URL"]
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    calls.forget()
    submission._container.cache_clear()
    with mock_aws(config={"batch": {"use_docker": False}}):
        yield
    calls.forget()


def batch_definition() -> Any:
    """Make a job queue and a job definition, and return Batch's client."""
    role = boto3.client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    client = boto3.client("batch", region_name=REGION)
    environment = client.create_compute_environment(
        computeEnvironmentName="some", type="UNMANAGED", state="ENABLED", serviceRole=role
    )["computeEnvironmentArn"]
    order = [{"order": 1, "computeEnvironment": environment}]
    client.create_job_queue(jobQueueName="jobs", state="ENABLED", priority=1, computeEnvironmentOrder=order)
    client.register_job_definition(
        jobDefinitionName="worker",
        type="container",
        containerProperties={"image": "shop", "vcpus": 1, "memory": 512, "command": ["lambda-tasks", "run"]},
    )
    return client


def variables(environment: list[dict[str, str]]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in environment}


def test_messages_are_jobs_of_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message is a job with the task's timeout, in which `lambda-tasks run` runs the task; a large one is a pointer."""
    client = batch_definition()
    job_id = report.options(context={"tenant": "acme"}).enqueue(year=2026)
    (job,) = client.describe_jobs(jobs=[job_id])["jobs"]
    assert job["jobName"].endswith("test_jobs-report")
    assert job["timeout"] == {"attemptDurationSeconds": 4 * 3600 + 120}
    environment = variables(job["container"]["environment"])
    assert environment["LAMBDA_TASKS_QUEUE_URL_REPORTS"] == "batch:jobs/worker"
    assert json.loads(json.loads(environment["LAMBDA_TASKS_MESSAGE"])["body"])["kwargs"] == {"year": 2026}
    for name, value in {**environment, "AWS_BATCH_JOB_ID": job_id, "AWS_BATCH_JOB_ATTEMPT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert app.run(["run"]) == 0

    enqueued = report.enqueue_many([{"year": 2025}, {"year": 2026}])
    enqueued.raise_for_errors()
    assert len(client.describe_jobs(jobs=[str(one.message_id) for one in enqueued])["jobs"]) == 2

    monkeypatch.setenv("LAMBDA_TASKS_PAYLOAD_BUCKET", "payloads")
    location = {"LocationConstraint": REGION}
    boto3.client("s3", region_name=REGION).create_bucket(Bucket="payloads", CreateBucketConfiguration=location)
    (job,) = client.describe_jobs(jobs=[report.enqueue(year=2026, note="x" * 8000)])["jobs"]
    assert "PayloadS3Pointer" in variables(job["container"]["environment"])["LAMBDA_TASKS_MESSAGE"]


@pytest.mark.parametrize(("retries", "attempts"), [(0, 1), (4, 5), (30, 10)])
def test_attempts_and_retries_are_one_budget(retries: int, attempts: int) -> None:
    """A job has an attempt for each retry, ten at most; what failed for good or cannot begin is not tried again."""
    message = Outgoing("shop.tasks.report", "reports", "{}", attempts=retries + 1)
    request = submission.batch_request(message, Target.parse("batch:jobs/worker", "V", {}), [])
    on_exit = [{"onExitCode": "1", "action": "EXIT"}, {"onExitCode": "2", "action": "EXIT"}]
    assert request["retryStrategy"] == {"attempts": attempts, "evaluateOnExit": on_exit}
    assert request["jobName"] == "shop-tasks-report"


def test_a_message_is_a_task_of_ecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """`enqueue` starts a task in the cluster, with the message in the variables of the definition's first container."""
    ec2 = boto3.client("ec2", region_name=REGION)
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    url = f"ecs:jobs/worker?launch-type=fargate&subnets={subnet}&security-groups={group}"
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_REPORTS", url)
    client = boto3.client("ecs", region_name=REGION)
    client.create_cluster(clusterName="jobs")
    containers = [{"name": "app", "image": "shop", "memory": 512}]
    client.register_task_definition(
        family="worker",
        containerDefinitions=containers,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
    )
    arn = report.enqueue(year=2026)
    (started,) = client.describe_tasks(cluster="jobs", tasks=[arn])["tasks"]
    (override,) = started["overrides"]["containerOverrides"]
    assert (override["name"], started["startedBy"]) == ("app", "lambda-tasks")
    assert json.loads(variables(override["environment"])["LAMBDA_TASKS_MESSAGE"])["kwargs"] == {"year": 2026}


@pytest.mark.parametrize(
    ("url", "place", "definition", "region"),
    [
        ("batch:jobs/worker", "jobs", "worker", REGION),
        ("batch:jobs/worker:3", "jobs", "worker:3", REGION),
        (
            "batch:arn:aws:batch:us-east-1:1:job-queue/q/arn:aws:batch:us-east-1:1:job-definition/d:3",
            "arn:aws:batch:us-east-1:1:job-queue/q",
            "arn:aws:batch:us-east-1:1:job-definition/d:3",
            "us-east-1",
        ),
        ("ecs:arn:aws:ecs:us-east-1:1:cluster/c/d", "arn:aws:ecs:us-east-1:1:cluster/c", "d", "us-east-1"),
        ("ecs:c/d?container=app", "c", "d", REGION),
    ],
)
def test_a_target_is_named_by_names_or_arns(url: str, place: str, definition: str, region: str) -> None:
    """Job queue, cluster and definitions may each be a name or an ARN, whose region counts."""
    found = Target.parse(url, "V", base_environ())
    assert (found.place, found.definition, found.region) == (place, definition, region)


@pytest.mark.parametrize(
    "url", ["batch:", "batch:jobs", "batch:/d", "ecs:a/b/c", "ecs:a/b?colour=red", "batch:a/b?container=c"]
)
def test_what_names_no_target_is_an_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A destination that cannot be read is an error that names its variable, before anything is sent."""
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL_REPORTS", url)
    with pytest.raises(InvalidSetting, match="variable LAMBDA_TASKS_QUEUE_URL_REPORTS"):
        report.enqueue(year=2026)


@pytest.mark.parametrize("options", [{"delay": 5}, {"group": "a"}, {"deduplication_id": "a"}])
def test_jobs_refuse_what_only_queues_have(options: dict[str, Any]) -> None:
    """A delay, a group or a deduplication ID is refused, since a job would not keep to it."""
    with pytest.raises(InvalidTask, match="a job takes n"):
        report.options(**options).enqueue(year=2026)


def test_a_message_that_fits_no_job_needs_a_bucket() -> None:
    """A message above 7 KiB is refused where there is no payload bucket."""
    with pytest.raises(MessageTooLarge, match="LAMBDA_TASKS_PAYLOAD_BUCKET"):
        report.enqueue(year=2026, note="x" * 7000 + "é" * 200)


def test_a_refusal_says_what_to_check() -> None:
    """A job queue that is not there is an error that names the destination and the permission."""
    with pytest.raises(EnqueueFailed, match=r"batch:jobs/worker.*batch:SubmitJob"):
        report.enqueue(year=2026)


class Answering(Transport):
    """A transport that notes what is asked, and answers with `answer`."""

    def __init__(self, answer: bytes) -> None:
        self.asked: list[Any] = []
        self._answer = answer

    def call(self, *asked: Any, **_: Any) -> dict[str, Any]:
        self.asked += asked
        return dict(json.loads(self._answer))

    def send(self, *asked: Any, **_: Any) -> bytes:
        self.asked += asked
        return self._answer


def test_functions_sign_submissions_themselves() -> None:
    """In a function Batch gets a REST request and ECS one of its JSON protocol; no answer is an error."""
    batch, ecs = Answering(b'{"jobId": "1"}'), Answering(b'{"tasks": []}')
    assert SignedCalls(batch, {}).submit("batch", "SubmitJob", {"jobName": "a"}, region=REGION) == {"jobId": "1"}
    assert batch.asked == ["batch", "POST", "/v1/submitjob", b'{"jobName": "a"}']
    assert SignedCalls(ecs, {}).submit("ecs", "RunTask", {"count": 1}, region=REGION) == {"tasks": []}
    assert ecs.asked == ["ecs", "RunTask", {"count": 1}]
    with pytest.raises(CallFailed, match="did not say"):
        SignedCalls(Answering(b"nonsense"), {}).submit("batch", "SubmitJob", {}, region=REGION)


def test_long_timeouts_need_a_queue_for_containers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 90 minutes, which no function has, a task needs a queue of its own, or jobs for the default one; 14 days are the most."""
    with pytest.raises(
        InvalidTask, match=r"hard_timeout is 5401 s: use from 0\.001 to 5400 s, or a queue for containers"
    ):
        Options.check({"hard_timeout": 5401})
    assert Options.check({"hard_timeout": timedelta(minutes=90), "soft_timeout": 5399}).hard_timeout == 5400
    assert Options.check({"hard_timeout": 5401, "queue": "reports"}).hard_timeout == 5401
    with pytest.raises(InvalidTask, match="1209600"):
        Options.check({"hard_timeout": 15 * 86400, "queue": "reports"})
    monkeypatch.setenv("LAMBDA_TASKS_QUEUE_URL", "batch:jobs/worker")
    assert Options.check({"hard_timeout": 5401}).hard_timeout == 5401


def test_the_network_of_a_task_of_ecs() -> None:
    """What a task of ECS needs to run in a VPC is in its destination."""
    url = "ecs:c/d?launch-type=fargate&subnets=subnet-1,subnet-2&security-groups=sg-1&public-ip=enabled"
    of_vpc = {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-1"], "assignPublicIp": "ENABLED"}
    expected = {"launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": of_vpc}}
    assert Target.parse(url, "V", {}).network == expected
