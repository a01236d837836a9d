"""The settings, and the errors that every part shares."""

from __future__ import annotations

from datetime import timedelta

import pytest

from lambda_tasks import settings
from lambda_tasks.errors import InvalidReference, InvalidSetting, LambdaTasksError, Retry, VariableConflict, combine
from lambda_tasks.settings import Settings


def test_unset_settings_have_their_defaults() -> None:
    """An empty environment gives the documented defaults."""
    assert Settings.from_environ({}) == Settings(strict_references=False, resolve_timeout_seconds=8.0)


def test_settings_are_read_from_their_variables() -> None:
    """Each setting is read from its own variable."""
    environ = {
        "LAMBDA_TASKS_STRICT_REFERENCES": "true",
        "LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS": "2.5",
        "LAMBDA_TASKS_NEXT_WRAPPER": "/opt/otel-instrument",
        "LAMBDA_TASKS_RESOLVED": "A,B, c",
        "LAMBDA_TASKS_EXPORTS": " DB_*, API_KEY,",
        "LAMBDA_TASKS_MAX_SECRET_AGE_SECONDS": "300",
        "LAMBDA_TASKS_MODULES": " shop.tasks, billing.* ,",
        "LAMBDA_TASKS_QUEUE_URL": "https://queue",
        "LAMBDA_TASKS_QUEUE_URL_MAIL_OUT": "https://mail",
        "LAMBDA_TASKS_TABLE": "tasks",
        "LAMBDA_TASKS_RECORD_TTL_SECONDS": "86400",
        "LAMBDA_TASKS_METRICS_NAMESPACE": "Shop/Tasks",
        "LAMBDA_TASKS_MEMORY_GUARD": "1",
        "LAMBDA_TASKS_LOG_ERRORS": "type",
        "LAMBDA_TASKS_DEAD_LETTER_QUEUE_URL": "https://dead",
        "LAMBDA_TASKS_SOFT_TIMEOUT_SECONDS": "10",
        "LAMBDA_TASKS_HARD_TIMEOUT_SECONDS": "20.5",
        "LAMBDA_TASKS_REPORTING_MARGIN_SECONDS": "1",
        "LAMBDA_TASKS_CONCURRENCY": "4",
    }
    read = Settings.from_environ(environ)
    assert read == Settings(
        strict_references=True,
        resolve_timeout_seconds=2.5,
        next_wrapper="/opt/otel-instrument",
        resolved=("A", "B", " c"),
        exports=("DB_*", "API_KEY"),
        max_secret_age_seconds=300,
        modules=("shop.tasks", "billing.*"),
        queue_urls={"LAMBDA_TASKS_QUEUE_URL": "https://queue", "LAMBDA_TASKS_QUEUE_URL_MAIL_OUT": "https://mail"},
        table="tasks",
        record_ttl_seconds=86400,
        metrics_namespace="Shop/Tasks",
        memory_guard=True,
        dead_letter_queue_url="https://dead",
        soft_timeout_seconds=10,
        hard_timeout_seconds=20.5,
        reporting_margin_seconds=1,
        concurrency=4,
        log_errors="type",
    )
    assert (read.queue_url("default"), read.queue_url("mail-out")) == ("https://queue", "https://mail")
    assert read.modules_named_in_full == ("shop.tasks",)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"SOFT_TIMEOUT_SECONDS": "20", "HARD_TIMEOUT_SECONDS": "20"}, "the soft timeout is not below the hard one"),
        ({"CONCURRENCY": "0"}, "use a whole number of threads from 1 to 1000"),
        ({"LOG_ERRORS": "none"}, "use one of full, type"),
        ({"CONCURRENCY": "many"}, "use a whole number of threads from 1 to 1000"),
        ({"REPORTING_MARGIN_SECONDS": "0"}, "use a number of seconds above 0 and at most 5400"),
        ({"MAX_SECRET_AGE_SECONDS": "0"}, "use a number of seconds above 0 and at most 604800"),
        ({"MAX_SECRET_AGE_SECONDS": "nan"}, "use a number of seconds above 0 and at most 604800"),
        ({"MAX_SECRET_AGE_SECONDS": "daily"}, "use a number of seconds above 0 and at most 604800"),
    ],
)
def test_settings_of_the_dispatcher_are_checked(variables: dict[str, str], problem: str) -> None:
    """Timeouts have to be in order, and there is at least one thread."""
    with pytest.raises(InvalidSetting, match=problem):
        Settings.from_environ({f"LAMBDA_TASKS_{name}": value for name, value in variables.items()})
    assert Settings.from_environ({"LAMBDA_TASKS_SOFT_TIMEOUT_SECONDS": ""}).soft_timeout_seconds is None
    assert Settings.from_environ({"LAMBDA_TASKS_MAX_SECRET_AGE_SECONDS": ""}).max_secret_age_seconds is None


@pytest.mark.parametrize("delay", [-1, 12 * 3600 + 1, timedelta(days=1)])
def test_a_retry_is_within_what_sqs_allows(delay: float | timedelta) -> None:
    """A delay that SQS could not give is an error where it is asked for."""
    with pytest.raises(ValueError, match="use from 0 to 43200 seconds, or a timedelta"):
        Retry(delay=delay)
    assert Retry(delay=timedelta(minutes=1)).delay_seconds == 60


def test_every_bad_setting_is_named() -> None:
    """All settings that cannot be read are reported together."""
    environ = {
        "LAMBDA_TASKS_STRICT_REFERENCES": "maybe",
        "LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS": "soon",
        "LAMBDA_TASKS_MODULES": "shop/tasks",
    }
    with pytest.raises(InvalidSetting) as caught:
        Settings.from_environ(environ)
    assert str(caught.value) == (
        "3 problems: "
        "1) InvalidSetting: the setting is not usable (variable LAMBDA_TASKS_STRICT_REFERENCES): use 1 or 0; "
        "2) InvalidSetting: the setting is not usable (variable LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS): "
        "use a number of seconds above 0 and at most 5400; "
        "3) InvalidSetting: the setting is not usable (variable LAMBDA_TASKS_MODULES): "
        "use module names such as shop.tasks or billing.*, separated by commas; not 'shop/tasks'"
    )


@pytest.mark.parametrize("value", ["0", "-1", "5401", "nan", "inf"])
def test_times_are_bounded(value: str) -> None:
    """A budget that is no time, or longer than a function can run, is refused."""
    with pytest.raises(InvalidSetting):
        Settings.from_environ({"LAMBDA_TASKS_RESOLVE_TIMEOUT_SECONDS": value})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("RECORD_TTL_SECONDS", "a day"),
        ("RECORD_TTL_SECONDS", "60"),
        ("METRICS_NAMESPACE", "AWS/Lambda"),
        ("METRICS_NAMESPACE", "n" * 256),
        ("METRICS_NAMESPACE", "Größe"),
        ("MEMORY_GUARD", "half"),
    ],
)
def test_a_value_that_aws_would_refuse_is_refused(setting: str, value: str) -> None:
    """A value that DynamoDB or CloudWatch could not use is an error where the settings are read."""
    with pytest.raises(InvalidSetting, match=f"LAMBDA_TASKS_{setting}"):
        Settings.from_environ({f"LAMBDA_TASKS_{setting}": value})


def test_a_queue_without_url_names_its_variable() -> None:
    """Asking for a queue whose variable is not set says which one to set."""
    with pytest.raises(InvalidSetting, match=r"'mail-out' has no URL \(variable LAMBDA_TASKS_QUEUE_URL_MAIL_OUT\)"):
        Settings().queue_url("mail-out")


def test_current_settings_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the process follow its environment."""
    monkeypatch.setenv("LAMBDA_TASKS_STRICT_REFERENCES", "on")
    assert settings.current().strict_references
    assert settings.environ()["LAMBDA_TASKS_STRICT_REFERENCES"] == "on"


def test_an_error_says_what_which_and_what_to_do() -> None:
    """The message joins the parts, which are attributes too."""
    error = InvalidReference("the ARN is wrong", variable="A", source="secret s", remedy="correct it")
    assert str(error) == "the ARN is wrong (variable A, secret s): correct it"
    assert (error.problem, error.variable, error.source, error.remedy) == (
        "the ARN is wrong",
        "A",
        "secret s",
        "correct it",
    )
    assert isinstance(error, (LambdaTasksError, ValueError))
    assert str(LambdaTasksError("only this")) == "only this"
    assert error.concerning("B") is error
    assert str(InvalidReference("wrong", source="s").concerning("B")) == "wrong (variable B, s)"


def test_several_errors_are_one_of_the_first_ones_class() -> None:
    """Combined errors keep the single ones, each once; one alone stays itself."""
    first, second = InvalidReference("one"), VariableConflict("two")
    combined = combine([first, second])
    assert type(combined) is InvalidReference
    assert combined.errors == (first, second)
    assert str(combined) == "2 problems: 1) InvalidReference: one; 2) VariableConflict: two"
    assert combine([second]) is second
    assert combine([second, VariableConflict("two")]) is second
    assert combine([first, second, InvalidReference("one")]).errors == (first, second)
