"""SAM templates: what is read of them, what is made of them, and what is wrong with them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lambda_tasks.local.embedded_aws import ACCOUNT_ID, EmbeddedAws, embedded_aws
from lambda_tasks.local.errors import LocalError
from lambda_tasks.local.template.deployment import Deployment, deploy
from lambda_tasks.local.template.document import Template, read
from lambda_tasks.local.template.layers import find_layer
from lambda_tasks.local.template.secret_values import put_values, read_env_file

REGION = "eu-west-1"

WHOLE = """
Parameters:
  Stage: {Type: String, Default: dev}
  Subnets: {Type: CommaDelimitedList, Default: "a, b"}
  Size: {Type: Number}
Mappings:
  Sizes: {"1": {Batch: 7}}
Conditions:
  IsProd: !Equals [!Ref Stage, prod]
  IsDev: !Not [!Condition IsProd]
Globals:
  Function:
    Timeout: 12
    Layers: [!Ref Tools]
    Environment: {Variables: {STAGE: !Ref Stage, OVER: below}}
Resources:
  Tools:
    Type: AWS::Serverless::LayerVersion
    Properties: {ContentUri: tools/}
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: code
      Handler: app.handler
      Layers: ["arn:aws:lambda:eu-west-1:1:layer:other:3"]
      Environment:
        Variables:
          OVER: above
          QUEUE_URL: !Ref Queue
          QUEUE_ARN: !GetAtt Queue.Arn
          QUEUE_NAME: !GetAtt "Queue.QueueName"
          SECRET: !Sub "${Secret}:key::"
          TABLE_ARN: !Sub
            - "${Table.Arn}/${What}${!Literal}"
            - {What: !Select [1, !Ref Subnets]}
          JOINED: !Join ["-", [!Ref "AWS::Region", !Ref "AWS::AccountId"]]
          NUMBER: 7
          ROLE: !GetAtt Role.Arn
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Queue.Arn
            BatchSize: !FindInMap [Sizes, !Ref Size, Batch]
            MaximumBatchingWindowInSeconds: 3
            FunctionResponseTypes: [ReportBatchItemFailures]
            ScalingConfig: {MaximumConcurrency: 4}
            FilterCriteria: {Filters: [{Pattern: '{"body": {"a": [1]}}'}]}
        Off: {Type: SQS, Properties: {Queue: !GetAtt Queue.Arn, Enabled: false}}
        Nightly: {Type: Schedule, Properties: {Schedule: rate(1 day)}}
  Queue:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 77
      KmsMasterKeyId: alias/aws/sqs
      DelaySeconds: !If [IsProd, 9, !Ref "AWS::NoValue"]
      RedrivePolicy: {deadLetterTargetArn: !GetAtt Dead.Arn, maxReceiveCount: 5}
  Dead: {Type: AWS::SQS::Queue}
  OnlyProd: {Type: AWS::SQS::Queue, Condition: IsProd}
  OnlyDev: {Type: AWS::SQS::Queue, Condition: IsDev, Properties: {FifoQueue: true}}
  Secret: {Type: AWS::SecretsManager::Secret, Properties: {SecretString: '{"key": "old", "kept": "1"}'}}
  Whole: {Type: AWS::SecretsManager::Secret, Properties: {GenerateSecretString: {PasswordLength: 8}}}
  Setting: {Type: AWS::SSM::Parameter, Properties: {Name: /app/one, Type: String, Value: !Ref Stage}}
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: rows
      AttributeDefinitions: [{AttributeName: id, AttributeType: S}]
      KeySchema: [{AttributeName: id, KeyType: HASH}]
      TimeToLiveSpecification: {AttributeName: expires_at, Enabled: true}
  Simple: {Type: AWS::Serverless::SimpleTable}
  Bucket: {Type: AWS::S3::Bucket, Properties: {BucketName: payloads-of-this-template}}
  Role: {Type: AWS::IAM::Role, Properties: {}}
"""


@pytest.fixture(scope="module")
def aws_of_templates() -> Any:
    with embedded_aws(REGION) as aws:
        yield aws


def write(folder: Path, text: str) -> Path:
    (folder / "code").mkdir(exist_ok=True)
    (folder / "tools").mkdir(exist_ok=True)
    path = folder / "template.yaml"
    path.write_text(textwrap.dedent(text))
    return path


def template(folder: Path, text: str, **parameters: str) -> Template:
    return read(write(folder, text), parameters, REGION, ACCOUNT_ID)


@pytest.fixture(scope="module")
def deployed(aws_of_templates: EmbeddedAws, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    folder = tmp_path_factory.mktemp("whole")
    made = template(folder, WHOLE, Size="1")
    return deploy(made, aws_of_templates, aws_of_templates.client("sqs"), folder, creates_queues=True)


def test_a_function_has_its_whole_configuration(deployed: Deployment) -> None:
    """Globals lie below the function's own properties, and every reference has its value."""
    (function,) = deployed.functions
    environ = dict(function.environ)
    queue = deployed.queues["Queue"]
    assert (environ.pop("QUEUE_URL"), environ.pop("QUEUE_ARN")) == (queue.url, queue.arn)
    assert environ.pop("SECRET").startswith(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:Secret-")
    assert environ == {
        "STAGE": "dev",
        "OVER": "above",
        "QUEUE_NAME": "Queue",
        "TABLE_ARN": f"arn:aws:dynamodb:{REGION}:{ACCOUNT_ID}:table/rows/b${{Literal}}",
        "JOINED": f"{REGION}-{ACCOUNT_ID}",
        "NUMBER": "7",
        "ROLE": f"arn:aws:local:{REGION}:{ACCOUNT_ID}:Role",
    }
    assert (function.timeout_seconds, function.memory_mb, function.handler) == (12, 128, "app.handler")
    assert function.layers == ("Tools", "arn:aws:lambda:eu-west-1:1:layer:other:3")
    assert function.code.name == "code"


def test_an_event_has_its_whole_configuration(deployed: Deployment) -> None:
    """Each SQS event that is enabled becomes an event source mapping with all that it says; other kinds do not."""
    ((source,),) = (function.sources for function in deployed.functions)
    assert (source.name, source.queue_arn) == ("Worker.Jobs", deployed.queues["Queue"].arn)
    assert (source.batch_size, source.window_seconds, source.maximum_concurrency) == (7, 3.0, 4)
    assert source.reports_failures
    assert source.filter_criteria.match({"body": '{"a": 1}'})
    assert not source.filter_criteria.match({"body": '{"a": 2}'})


def test_queues_are_made_with_their_redrive(deployed: Deployment) -> None:
    """Queues have their attributes; one whose condition does not hold is not there."""
    queue, dead = deployed.queues["Queue"], deployed.queues["Dead"]
    answer = queue.client.get_queue_attributes(QueueUrl=queue.url, AttributeNames=["All"])["Attributes"]
    assert (answer["VisibilityTimeout"], answer["DelaySeconds"]) == ("77", "0")
    assert json.loads(answer["RedrivePolicy"]) == {"deadLetterTargetArn": dead.arn, "maxReceiveCount": 5}
    assert deployed.dead_letters == [dead.arn]
    assert "OnlyProd" not in deployed.queues
    assert deployed.queues["OnlyDev"].url.endswith("/OnlyDev.fifo")
    assert deployed.queue_of_arn(dead.arn) is dead
    with pytest.raises(LocalError, match="there is no queue arn:nowhere"):
        deployed.queue_of_arn("arn:nowhere")


def test_everything_else_is_made_too(deployed: Deployment, aws_of_templates: EmbeddedAws) -> None:
    """Parameters, tables with their expiry, and buckets are there."""
    assert deployed.functions
    aws = aws_of_templates
    assert aws.client("ssm").get_parameter(Name="/app/one")["Parameter"]["Value"] == "dev"
    expiry = aws.client("dynamodb").describe_time_to_live(TableName="rows")["TimeToLiveDescription"]
    assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", "expires_at")
    assert aws.client("dynamodb").describe_table(TableName="Simple")["Table"]["KeySchema"][0]["AttributeName"] == "id"
    aws.client("s3").head_bucket(Bucket="payloads-of-this-template")


SECRETS = """
Resources:
  One: {Type: AWS::SecretsManager::Secret, Properties: {Name: one-%s, SecretString: '{"key": "old", "kept": "1"}'}}
  Text: {Type: AWS::SecretsManager::Secret, Properties: {Name: text-%s}}
  Setting: {Type: AWS::SSM::Parameter, Properties: {Name: /%s/setting, Type: String, Value: x}}
  Worker:
    Type: AWS::Serverless::Function
    Properties: {CodeUri: code, Environment: {Variables: {PLAIN: template, %s}}}
"""


@pytest.mark.parametrize("kind", ["secret", "path", "parameter", "none"])
def test_values_go_where_the_function_looks_for_them(kind: str, tmp_path: Path, aws_of_templates: EmbeddedAws) -> None:
    """Values of an environment file reach referenced keys, whole secrets, parameters, the environment, and variables."""
    aws = aws_of_templates
    environment = {
        "secret": "LAMBDA_TASKS_ENVIRONMENT_SECRETS_MANAGER_ARN: !Ref One, ",
        "path": f"LAMBDA_TASKS_SSM_ENVIRONMENT: /{kind}/environment/, ",
        "parameter": f"LAMBDA_TASKS_SSM_ENVIRONMENT: /{kind}/environment, ",
        "none": "",
    }[kind]
    references = (
        'LAMBDA_TASKS_SECRET_KEYED: !Sub "${One}:key::", LAMBDA_TASKS_SECRET_TEXT: !Ref Text, '
        f"LAMBDA_TASKS_SECRET_SETTING: 'arn:aws:ssm:{REGION}:{ACCOUNT_ID}:parameter/{kind}/setting'"
    )
    made = template(tmp_path, SECRETS % (kind, kind, kind, environment + references))
    (function,) = deploy(made, aws, aws.client("sqs"), tmp_path, creates_queues=True).functions
    values = {"KEYED": "k", "TEXT": "t\n", "SETTING": "s", "PLAIN": "file", "REST": "r"}

    changed = put_values(values, function, aws)

    def secret(name: str) -> str:
        return str(aws.client("secretsmanager").get_secret_value(SecretId=f"{name}-{kind}")["SecretString"])

    def parameter(name: str) -> str:
        return str(aws.client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])

    rest = {"REST": "r"} if kind == "secret" else {}
    assert json.loads(secret("one")) == {"key": "k", "kept": "1", **rest}
    assert (secret("text"), parameter(f"/{kind}/setting")) == ("t\n", "s")
    assert changed.environ["PLAIN"] == "file"
    assert changed.environ.get("REST") == ("r" if kind == "none" else None)
    if kind == "path":
        assert parameter("/path/environment/REST") == "r"
    if kind == "parameter":
        assert json.loads(parameter("/parameter/environment")) == {"REST": "r"}


def test_a_value_for_a_secret_that_is_not_there_is_an_error(tmp_path: Path, aws_of_templates: EmbeddedAws) -> None:
    """A reference to a secret that the template does not make is an error that names it."""
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:elsewhere-AbCdEf"
    resources = f"Resources: {{W: {{Type: AWS::Serverless::Function, Properties: {{CodeUri: code, Environment: {{Variables: {{LAMBDA_TASKS_SECRET_A: '{arn}'}}}}}}}}}}"
    aws = aws_of_templates
    (function,) = deploy(template(tmp_path, resources), aws, aws.client("sqs"), tmp_path, creates_queues=True).functions
    with pytest.raises(LocalError, match=r"there is no such secret here .*elsewhere"):
        put_values({"A": "1"}, function, aws)


def test_environment_files_hold_any_value(tmp_path: Path) -> None:
    """Lines with quotes and escapes, or one JSON object, give the values as they are meant; nothing is interpolated."""
    lines = tmp_path / "env"
    lines.write_text('A=1\n# comment\nB="two \\"words\\"\\nand a line"\nexport C=\'$A ${A}\'\nD=\n')
    assert read_env_file(lines) == {"A": "1", "B": 'two "words"\nand a line', "C": "$A ${A}", "D": ""}
    values = tmp_path / "env.json"
    values.write_text('{"A": "$(x)\\n"}')
    assert read_env_file(values) == {"A": "$(x)\n"}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("env", None, "the file cannot be read: No such file"),
        ("env", "A", "does not hold names and values"),
        ("e.json", "{", "does not hold names and values"),
        ("e.json", '{"A": 1}', "does not hold names and values"),
    ],
)
def test_environment_files_that_cannot_be_used(name: str, content: str | None, problem: str, tmp_path: Path) -> None:
    """A file that is missing or holds something else is an error."""
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(LocalError, match=problem):
        read_env_file(tmp_path / name)


BAD: list[tuple[str, Mapping[str, str], str]] = [
    ("a: [", {}, "the template is not YAML, line 1"),
    ("[]", {}, "the template has no Resources"),
    ("Resources: []", {}, "the template has no Resources"),
    ("{Parameters: {A: {Type: String}}, Resources: {}}", {}, "A has no value .*--parameter A=VALUE"),
    ("{Parameters: {A: {Default: x}}, Resources: {}}", {"B": "1"}, r"there is no parameter B .*its parameters: A"),
    (
        "Resources: {W: {Type: AWS::Serverless::Function, Properties: {CodeUri: code, Environment: {Variables: {A: !Ref B}}}}}",
        {},
        "refers to B, which it does not have .*define B",
    ),
    (
        "Resources: {W: {Type: AWS::Serverless::Function, Properties: {CodeUri: code, Environment: {Variables: {A: !GetAtt B.Arn}}}}}",
        {},
        "refers to B, which it does not have .*define B",
    ),
    ("Resources: {W: {Type: AWS::Serverless::Function, Properties: {CodeUri: none, Events: {E: {Type: SQS, Properties: {Queue: 'arn:x'}}}}}}", {}, "there is no folder .*none"),
    (
        "Resources: {W: {Type: AWS::Serverless::Function, Properties: {CodeUri: code, Environment: {Variables: {A: ['1', '2']}}}}}",
        {},
        "the value is a list, and AWS takes only text .*join it to a text",
    ),
    ("Resources: {A: x}", {}, "the resource A has no Type"),
    ("Resources: {Q: {Type: AWS::SQS::Queue, Condition: Nope}}", {}, "there is no condition Nope"),
    ("{Conditions: {A: !Not [!Condition A]}, Resources: {Q: {Type: AWS::SQS::Queue, Condition: A}}}", {}, "the condition A is made of itself"),
    ("Resources: {W: {Type: AWS::Serverless::Function, Properties: {Timeout: soon}}}", {}, "Timeout is soon"),
    (
        "Resources: {A: {Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {deadLetterTargetArn: !GetAtt B.Arn}}},"
        " B: {Type: AWS::SQS::Queue, Properties: {RedrivePolicy: {deadLetterTargetArn: !GetAtt A.Arn}}}}",
        {},
        "the queues' redrive policies form a circle",
    ),
    ('Resources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: "a b"}}}', {}, "CreateQueue was refused"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "parameters", "problem"), BAD)
def test_templates_that_cannot_be_used(
    text: str, parameters: Mapping[str, str], problem: str, tmp_path: Path, aws_of_templates: EmbeddedAws
) -> None:
    """What is wrong with a template is one sentence that says what to do."""
    aws = aws_of_templates
    with pytest.raises(LocalError, match=problem):
        deploy(template(tmp_path, text, **parameters), aws, aws.client("sqs"), tmp_path, creates_queues=True)


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is an error that says how to name another."""
    with pytest.raises(LocalError, match=r"cannot be read: No such file .*name a SAM template with --template"):
        read(tmp_path / "none.yaml", {}, REGION, ACCOUNT_ID)


def test_queues_of_another_sqs_are_looked_up(tmp_path: Path, aws_of_templates: EmbeddedAws) -> None:
    """Where an SQS already runs its queues are used, and one that is not there is an error and not made."""
    aws = aws_of_templates
    text = "Resources: {Q: {Type: AWS::SQS::Queue, Properties: {QueueName: runs-already}}}"
    with pytest.raises(LocalError, match="there is no queue runs-already at http"):
        deploy(template(tmp_path, text), aws, aws.client("sqs"), tmp_path, creates_queues=False)
    url = aws.client("sqs").create_queue(QueueName="runs-already")["QueueUrl"]
    found = deploy(template(tmp_path, text), aws, aws.client("sqs"), tmp_path, creates_queues=False)
    assert found.queues["Q"].url == url


LAYERS = """
Resources:
  Plain: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: tools}}
  Made: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile}, Properties: {ContentUri: tools}}
  Broken: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: makefile}, Properties: {ContentUri: tools}}
  Nowhere: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: none}}
"""


def test_layers_are_found_built_or_given(tmp_path: Path) -> None:
    """A layer is its folder, what its makefile makes of it, or what the caller says."""
    made = template(tmp_path, LAYERS)
    makefile = "build-Made:\n\techo built > $(ARTIFACTS_DIR)/file\nbuild-Broken:\n\t@echo it is broken >&2; exit 1\n"
    (tmp_path / "tools" / "Makefile").write_text(makefile)
    given = {"arn:x": tmp_path / "tools", "Gone": tmp_path / "gone.zip"}
    assert find_layer("Plain", made, given, tmp_path / "b") == tmp_path / "tools"
    assert (find_layer("Made", made, given, tmp_path / "b") / "file").read_text() == "built\n"
    assert find_layer("arn:x", made, given, tmp_path / "b") == tmp_path / "tools"
    for name, problem in {
        "Broken": "the layer could not be built: make.*Error 1",
        "Nowhere": "there is no .*none",
        "arn:y": "the layer is not in the template .*add --layer arn:y=PATH",
        "Gone": r"there is no .*gone\.zip",
    }.items():
        with pytest.raises(LocalError, match=problem):
            find_layer(name, made, given, tmp_path / "b")
