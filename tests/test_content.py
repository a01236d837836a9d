"""The content of secrets: a flat object, or a key of one."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_tasks.environment.content import check_names_and_values, flat_environment, json_value
from lambda_tasks.errors import InvalidSecret

STORE_AN_OBJECT = 'store a JSON object of strings, such as {"NAME": "value"}'
RENAME = "rename them: a name is not empty and has no '=', no NUL character and no half of a surrogate pair"
SIMPLE = 'make it a string, a number or a boolean, as in {"key": "..."}'
ENCODE = "store them without NUL characters and halves of surrogate pairs, for example as base64"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("canary", f"the content is not JSON (secret s): {STORE_AN_OBJECT}"),
        ("[" * 100_000, f"the content is not JSON (secret s): {STORE_AN_OBJECT}"),
        ('["canary"]', f"the content is JSON, but not an object (secret s): {STORE_AN_OBJECT}"),
        (
            '{"b": {"canary": 1}, "A": 1, "ok": "canary"}',
            "values of 'A', 'b' are not strings (secret s): make every value a JSON string, "
            'as in {"A": "...", "b": "..."}; the object must be flat',
        ),
        ('{"": "canary", "a=b": "", "c\\u0000": ""}', f"no variable can be named '', 'a=b', 'c\\x00' (secret s): {RENAME}"),
        ('{"a\\ud800": "canary"}', f"no variable can be named 'a\\ud800' (secret s): {RENAME}"),
        ('{"a,b": "canary"}', "no variable can be named 'a,b' (secret s): rename them: commas separate the names in LAMBDA_TASKS_RESOLVED"),
        ('{"a": "canary\\u0000", "b": "\\udc80"}', f"values of 'a', 'b' cannot be exported (secret s): {ENCODE}"),
    ],
)  # fmt: skip
def test_content_that_is_no_environment(text: str, message: str) -> None:
    """An environment source that is not a flat object of strings is an error that names the keys, never a value."""
    with pytest.raises(InvalidSecret) as caught:
        flat_environment(text, "secret s")
    assert str(caught.value) == message
    assert "canary" not in repr(caught.value)
    assert caught.value.__context__ is None  # the JSON decoder's error holds the whole content


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("canary", f"the content is not JSON (secret s): {STORE_AN_OBJECT}"),
        ('{"other": "canary"}', "the JSON key 'key' is missing (secret s): add it to the secret, or correct the reference"),
        ('{"key": NaN}', f"the content is not JSON (secret s): {STORE_AN_OBJECT}"),
        ('{"key": null}', f"the value of 'key' is null (secret s): {SIMPLE}"),
        ('{"key": {"a": "canary"}}', f"the value of 'key' is an object (secret s): {SIMPLE}"),
        ('{"key": ["canary"]}', f"the value of 'key' is an array (secret s): {SIMPLE}"),
    ],
)  # fmt: skip
def test_a_json_key_that_cannot_be_read(text: str, message: str) -> None:
    """A JSON key that is not there, or has no string, is an error that names it."""
    with pytest.raises(InvalidSecret) as caught:
        json_value(text, "key", "secret s")
    assert str(caught.value) == message


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.none(), max_size=4))
def test_an_object_is_an_environment_or_refused(content: dict[str, object]) -> None:
    """Any JSON object is either returned as it is or refused."""
    try:
        variables = flat_environment(json.dumps(content), "secret s")
    except InvalidSecret:
        return
    assert variables == content
    check_names_and_values(variables, "secret s")


def test_a_json_key_has_its_value() -> None:
    """The other keys of the object do not matter to a reference to one."""
    assert json_value('{"key": "value", "port": 5432, "none": null}', "key", "secret s") == "value"


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@given(NUMBERS | st.sampled_from(["true", "false", "5432", "1.50", "1e3", "-0", "9" * 5000]))
def test_numbers_and_booleans_are_as_they_are_spelt(spelt: str) -> None:
    """A number or boolean of a JSON key becomes the characters that the JSON has, byte for byte."""
    assert json_value(f'{{"a": "x", "key": {spelt} , "b": [1.0]}}', "key", "secret s") == spelt


@pytest.mark.parametrize(("length", "fits"), [(131_069, True), (131_070, False), (200_000, False)])
def test_a_value_that_no_environment_holds_is_refused(length: int, *, fits: bool) -> None:
    """Name, '=', value and the end of the string have 128 KiB together; what is longer is refused by its name."""
    values = {"A": "x" * length, "B": "é" * 70_000 if not fits else "", "C": ""}
    with pytest.raises(InvalidSecret) if not fits else contextlib.nullcontext() as caught:
        check_names_and_values(values, "secret s")
    if caught:
        assert str(caught.value) == (
            "values of 'A', 'B' are too large for an environment (secret s): the name, '=' and the value may have "
            "131071 bytes together: make it smaller, or have the function read it itself"
        )
