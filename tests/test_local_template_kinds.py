"""Templates of other kinds than SAM's: CloudFormation's own, CDK's output, zips, code in the template, loops, topics."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lambda_tasks.local.embedded_aws import ACCOUNT_ID, EmbeddedAws, embedded_aws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template import own_layer
from lambda_tasks.local.template.deployment import Deployment, deploy
from lambda_tasks.local.template.document import read
from lambda_tasks.local.template.dynamic_references import with_references
from lambda_tasks.local.template.layers import find_layer

ROOT = Path(__file__).resolve().parent.parent
REGION = "eu-west-1"

APP = """
import json, os, sys

def handler(event, context):
    for record in event.get("Records", ()):
        print("BODY", record["body"])
    assert 0 < context.get_remaining_time_in_millis() <= 3000
    return {"python": list(sys.version_info[:2]), "event": event}
"""

TEMPLATE = """
Transform: [AWS::LanguageExtensions, AWS::Serverless-2016-10-31]
Parameters: {Names: {Type: CommaDelimitedList, Default: "Alpha, Beta"}}
Resources:
  Raw:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: raw-function
      Runtime: python3.11
      Handler: app.handler
      Role: !GetAtt Role.Arn
      Code: code.zip
      Environment:
        Variables:
          PARAMETER: '{{resolve:ssm:/kinds/one:1}}'
          PASSWORD: '{{resolve:secretsmanager:kinds-db:SecretString:password}}'
          WHOLE: 'x-{{resolve:secretsmanager:kinds-db}}'
          ZONE: !Select [0, !GetAZs '']
          NAMES: !Join [",", !Ref Names]
          COUNT: !Length [a, b]
          UNKNOWN: !Sub "${Api.Url}"
          GENERATED: !GetAtt SamRole.Arn
          ACCOUNT: 012345678901
  Inline:
    Type: AWS::Lambda::Function
    Properties: {Runtime: python3.11, Handler: index.handler, Code: {ZipFile: "def handler(event, context): pass"}}
  InlineOfSam:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.11, Handler: index.handler, InlineCode: "def handler(event, context): pass"}
  Node: {Type: AWS::Serverless::Function, Properties: {Runtime: nodejs20.x, CodeUri: nowhere, Events: {Q: {Type: SQS, Properties: {Queue: !GetAtt QAlpha.Arn}}}}}
  Image: {Type: AWS::Lambda::Function, Properties: {PackageType: Image, Code: {ImageUri: x}}}
  InS3: {Type: AWS::Lambda::Function, Properties: {Runtime: python3.11, Code: {S3Bucket: b, S3Key: k}}}
  Unbuilt: {Type: AWS::Serverless::Function, Properties: {Runtime: python3.11, CodeUri: nowhere}}
  Sam:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.11
      CodeUri: code
      Handler: app.handler
      Events: {News: {Type: SNS, Properties: {Topic: !Ref Topic, SqsSubscription: true, FilterPolicy: {kind: [a]}}}}
  Topic: {Type: AWS::SNS::Topic, Properties: {Subscription: [{Protocol: sqs, Endpoint: !GetAtt QAlpha.Arn}, {Protocol: email, Endpoint: a@b.c}]}}
  More: {Type: AWS::SNS::Subscription, Properties: {TopicArn: !Ref Topic, Protocol: sqs, Endpoint: !GetAtt QBeta.Arn, RawMessageDelivery: true}}
  Role: {Type: AWS::IAM::Role}
  Api: {Type: AWS::Serverless::Api}
  P: {Type: AWS::SSM::Parameter, Properties: {Name: /kinds/one, Type: String, Value: one!}}
  S: {Type: AWS::SecretsManager::Secret, Properties: {Name: kinds-db, SecretString: '{"password": "pw"}'}}
  Alias: {Type: AWS::Lambda::Alias, Properties: {FunctionName: !Ref Raw, Name: live}}
  ByName: {Type: AWS::Lambda::EventSourceMapping, Properties: {EventSourceArn: !GetAtt QAlpha.Arn, FunctionName: raw-function, BatchSize: 1}}
  ByAlias: {Type: AWS::Lambda::EventSourceMapping, Properties: {EventSourceArn: !GetAtt QBeta.Arn, FunctionName: !Ref Alias}}
  ByArn: {Type: AWS::Lambda::EventSourceMapping, Properties: {EventSourceArn: !GetAtt QBeta.Arn, FunctionName: !GetAtt Inline.Arn, Enabled: false}}
  Stream: {Type: AWS::Lambda::EventSourceMapping, Properties: {EventSourceArn: 'arn:aws:kinesis:eu-west-1:1:stream/x', FunctionName: !Ref Inline}}
  Fn::ForEach::Queues:
    - Name
    - !Ref Names
    - Q${Name}: {Type: AWS::SQS::Queue, Properties: {QueueName: !Sub "kinds-${Name}"}}
"""


@pytest.fixture(scope="module")
def aws_of_kinds() -> Iterator[EmbeddedAws]:
    with embedded_aws(REGION) as aws:
        yield aws


def project(folder: Path) -> Path:
    (folder / "code").mkdir()
    (folder / "code" / "app.py").write_text(APP)
    with zipfile.ZipFile(folder / "code.zip", "w") as archive:
        archive.writestr("app.py", APP)
    return folder


@pytest.fixture(scope="module")
def deployed(aws_of_kinds: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    folder = project(tmp_path_factory.mktemp("kinds"))
    (folder / "template.yaml").write_text(TEMPLATE)
    template = read(folder / "template.yaml", {}, REGION, ACCOUNT_ID)
    return deploy(template, aws_of_kinds, aws_of_kinds.client("sqs"), folder / "made", creates_queues=True)


def test_code_is_a_folder_a_zip_or_text(deployed: Deployment) -> None:
    """Whatever holds the code becomes a folder; a function that does not run here is named with its reason."""
    code = {one.name: one.code for one in deployed.functions}
    assert (code["Raw"] / "app.py").read_text() == (code["Sam"] / "app.py").read_text() == APP
    assert (code["Inline"] / "index.py").read_text() == (code["InlineOfSam"] / "index.py").read_text()
    assert deployed.skipped.pop("Unbuilt").startswith("there is no folder")
    assert deployed.skipped == {
        "Node": "its runtime is nodejs20.x, and only Python runs here",
        "Image": "images do not run here",
        "InS3": "its code is in S3: name the folder in Code",
    }


def test_mappings_are_resources_too(deployed: Deployment) -> None:
    """A mapping finds its function by name, ARN or alias; one of a stream, or one that is off, is none."""
    sources = {
        one.name: [(source.name, source.queue_arn.rpartition(":")[2]) for source in one.sources]
        for one in deployed.functions
    }
    assert sources["Raw"] == [("ByName", "kinds-Alpha"), ("ByAlias", "kinds-Beta")]
    assert sources["Inline"] == sources["InlineOfSam"] == []
    assert sources["Sam"] == [("Sam.News", "SamNewsQueue")]


def test_variables_have_their_values(deployed: Deployment, aws_of_kinds: EmbeddedAws) -> None:
    """Dynamic references, zones, lists and attributes of what is not made here have values, all of them text."""
    raw = next(one for one in deployed.functions if one.name == "Raw")
    environ = with_references(raw, aws_of_kinds).environ
    assert environ == {
        "PARAMETER": "one!",
        "PASSWORD": "pw",
        "WHOLE": 'x-{"password": "pw"}',
        "ZONE": "eu-west-1a",
        "NAMES": "Alpha,Beta",
        "COUNT": "2",
        "UNKNOWN": "Api.Url",
        "GENERATED": "SamRole.Arn",
        "ACCOUNT": "012345678901",
    }


@pytest.mark.parametrize(
    "value",
    [
        "{{resolve:ssm:/none}}",
        "{{resolve:secretsmanager:none}}",
        "{{resolve:secretsmanager:kinds-db:SecretString:none}}",
    ],
)
def test_a_reference_to_nothing_is_one_sentence(deployed: Deployment, aws_of_kinds: EmbeddedAws, value: str) -> None:
    """A parameter, secret or key that is not here is named with its variable and what to do."""
    import dataclasses  # noqa: PLC0415

    function = dataclasses.replace(deployed.functions[0], environ={"A": value})
    with pytest.raises(LocalError, match=r"there is no .*variable A.*add A=VALUE to the file that --env-file names"):
        with_references(function, aws_of_kinds)


def test_topics_deliver_to_their_queues(deployed: Deployment, aws_of_kinds: EmbeddedAws) -> None:
    """A message of a topic reaches the queues that are subscribed, whole, raw, or filtered."""
    topic = deployed.template.known["Topic"]
    sns = aws_of_kinds.client("sns")
    sns.publish(TopicArn=topic, Message="one", MessageAttributes={"kind": {"DataType": "String", "StringValue": "b"}})
    sns.publish(TopicArn=topic, Message="two", MessageAttributes={"kind": {"DataType": "String", "StringValue": "a"}})
    bodies = {
        name: [one["Body"] for one in deployed.queues[name].receive(wait_seconds=5)]
        for name in ("QAlpha", "QBeta", "SamNewsQueue")
    }
    assert [json.loads(body)["Message"] for body in bodies["QAlpha"]] == ["one", "two"]
    assert bodies["QBeta"] == ["one", "two"]
    assert [json.loads(body)["Message"] for body in bodies["SamNewsQueue"]] == ["two"]


def cdk(folder: Path) -> Path:
    (folder / "cdk.out" / "asset.abc").mkdir(parents=True)
    (folder / "cdk.out" / "asset.abc" / "app.py").write_text(APP)
    code = {"S3Bucket": {"Fn::Sub": "cdk-x-assets-${AWS::AccountId}-${AWS::Region}"}, "S3Key": "abc.zip"}
    function: dict[str, Any] = {"Code": code, "Handler": "app.handler", "Runtime": "python3.11"}
    mapping = {"EventSourceArn": {"Fn::GetAtt": ["Q", "Arn"]}, "FunctionName": {"Ref": "Fn"}}
    resources = {
        "Fn": {"Type": "AWS::Lambda::Function", "Properties": function, "Metadata": {"aws:asset:path": "asset.abc", "aws:asset:property": "Code"}},
        "NoMetadata": {"Type": "AWS::Lambda::Function", "Properties": function},
        "Map": {"Type": "AWS::Lambda::EventSourceMapping", "Properties": mapping},
        "Q": {"Type": "AWS::SQS::Queue"},
        "CDKMetadata": {"Type": "AWS::CDK::Metadata", "Condition": "Available"},
    }  # fmt: skip
    conditions = {"Available": {"Fn::Or": [{"Fn::Equals": [{"Ref": "AWS::Region"}, "mars"]}]}}
    parameters = {"BootstrapVersion": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/cdk"}}
    content = {"Resources": resources, "Conditions": conditions, "Parameters": parameters}
    (folder / "cdk.out" / "Stack.template.json").write_text(json.dumps(content, indent="\t"))
    return folder


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lambda_tasks", *arguments, "--cache", str(ROOT / "build")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=folder,
    )


def test_the_output_of_cdk_runs(tmp_path: Path) -> None:
    """`cdk.out` is a template: code comes from its asset folders, with metadata or by the name of the asset."""
    (cdk(tmp_path) / "messages").write_text("one\n")
    result = run(tmp_path, "local", "--template", "cdk.out", "--port", "0", "--once", "--messages", "messages")
    assert result.returncode == 0, result.stderr
    assert "BODY one" in result.stdout
    assert "NoMetadata has no SQS event; with an event it runs by" in result.stdout


def test_a_folder_with_other_than_one_template(tmp_path: Path) -> None:
    """Several stacks are named, and a folder without any is said to have none."""
    (cdk(tmp_path) / "cdk.out" / "Other.template.json").write_text("{}")
    with pytest.raises(LocalError, match=r"the folder has 2 templates .*--template: .*Other\.template\.json"):
        read(tmp_path / "cdk.out", {}, REGION, ACCOUNT_ID)
    with pytest.raises(LocalError, match="the folder has no templates"):
        read(tmp_path / "cdk.out" / "asset.abc", {}, REGION, ACCOUNT_ID)


def test_a_function_runs_with_an_event_and_the_python_that_it_names(tmp_path: Path) -> None:
    """`invoke --function NAME --event` needs no queue; another Python that is here runs the function."""
    versions = ["3.10", "3.12", "3.13"]
    resources = "".join(
        f"  F{i}: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: code, Handler: app.handler, Runtime: python{version}}}}}\n"
        for i, version in enumerate([*versions, "3.99"])
    )
    (project(tmp_path) / "template.yaml").write_text("Resources:\n" + resources)
    (tmp_path / "event.json").write_text('{"a": 1}')
    for number, version in enumerate(versions):
        result = run(tmp_path, "invoke", "--function", f"F{number}", "--event", "event.json", "--json")
        answer = json.loads(result.stdout)
        assert (result.returncode, answer["is_error"], answer["payload"]["event"]) == (0, False, {"a": 1})
        ran = ".".join(map(str, answer["payload"]["python"]))
        assert ran == version or f"its runtime is python{version}, which is not installed here" in answer["log"][0]
    warned = run(tmp_path, "invoke", "--function", "F3", "--event", "{}")
    assert "F3: its runtime is python3.99, which is not installed here: it runs with Python" in warned.stdout
    for arguments, problem in (
        (["--event", "{"], "the event cannot be read: it is not JSON"),
        (["--event", "none.json"], "the event cannot be read: No such file"),
        (["--event", "{}"], "there is no function to invoke"),
        (["--event", "{}", "--function", "X"], "there is no function X"),
        (["--function", "F0", "a.b"], "F0 has no queue"),
        (["--event", "{}", "a.b"], "there are a task and an event"),
        ([], "there is no task"),
    ):
        refused = run(tmp_path, "invoke", *arguments)
        assert (refused.returncode, problem in refused.stderr, refused.stderr.count("\n")) == (2, True, 1), (
            refused.stderr
        )


def test_our_layer_comes_with_the_package(tmp_path: Path) -> None:
    """A function with an ARN of our layer runs with the installed package; other layers are said where to get."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "shop.py").write_text(
        "from lambda_tasks import task\n\n@task\ndef greet(*, name: str) -> None:\n    print('hello', name)\n"
    )
    text = """
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: src
      Handler: lambda_tasks.handler.handler
      Layers: [!Sub "arn:aws:lambda:${AWS::Region}:123456789012:layer:lambda-tasks:7"]
      Environment: {Variables: {AWS_LAMBDA_EXEC_WRAPPER: /opt/bin/lambda-tasks-exec}}
      Events: {Jobs: {Type: SQS, Properties: {Queue: !GetAtt Jobs.Arn, FunctionResponseTypes: [ReportBatchItemFailures]}}}
  Jobs: {Type: AWS::SQS::Queue, Properties: {VisibilityTimeout: 600}}
"""
    (tmp_path / "template.yaml").write_text(text)
    result = run(tmp_path, "invoke", "shop.greet", "name=Ada", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    assert any("hello Ada" in line for line in json.loads(result.stdout)["log"])
    template = read(tmp_path / "template.yaml", {}, REGION, ACCOUNT_ID)
    for name, remedy in {
        "arn:aws:lambda:eu-west-1:017000801446:layer:AWSLambdaPowertoolsPythonV3-python313-x86_64:7": "pip install --target",
        "arn:aws:lambda:eu-west-1:1:layer:not-lambda-tasks:1": "get-layer-version-by-arn",
        "Shared": "define it, or add --layer Shared=PATH",
    }.items():
        with pytest.raises(LocalError, match=remedy):
            find_layer(name, template, {}, tmp_path / "made")
    assert own_layer.is_ours("lambda-tasks")
    assert find_layer("lambda-tasks", template, {}, tmp_path / "made") == find_layer(
        "lambda-tasks", template, {}, tmp_path / "made"
    )
