"""Fetch sources at the same time, each once, within one deadline."""

from __future__ import annotations

import threading
import time

from lambda_tasks.environment import stores
from lambda_tasks.environment.reference import Parameter, ParameterPath, SecretVersion
from lambda_tasks.errors import LambdaTasksError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from lambda_tasks.aws.transport import Transport
    from lambda_tasks.environment.reference import Source
    from lambda_tasks.environment.stores import Stored


class Fetch:
    """The fetches of one resolution. `start` returns at once; `stored` and `below` wait for one source.

    Each call of AWS has a thread of its own. The deadline is kept here and not in the threads alone, because looking
    up a host name cannot be bounded by its caller; a thread that is still at it does not outlive the process image.
    """

    def __init__(self, transport: Transport, *, timeout_seconds: float) -> None:
        self._transport = transport
        self._end = time.monotonic() + timeout_seconds
        # The calls end a little earlier, so that what they last met can still be told.
        self._deadline = self._end - min(0.1, timeout_seconds / 10)
        self._threads: dict[Source, threading.Thread] = {}
        self._results: dict[Source, Any] = {}

    def start(self, sources: Iterable[Source]) -> None:
        """Start fetching those of `sources` that were not started before."""
        parameters = []
        for source in sources:
            if source in self._threads or source in parameters:
                continue
            if isinstance(source, Parameter):
                parameters.append(source)
            elif isinstance(source, SecretVersion):
                self._run([source], self._secret, source)
            else:
                self._run([source], self._path, source)
        for batch in parameter_batches(parameters):
            self._run(batch, self._batch, batch)

    def stored(self, source: SecretVersion | Parameter) -> Stored:
        """Return the value of a secret or parameter.

        Raises:
            LambdaTasksError: one of the resolver's errors, naming the source.

        """
        value: Stored = self._wait(source)
        return value

    def below(self, path: ParameterPath) -> dict[str, Stored]:
        """Return the values below a path, by the rest of their names.

        Raises:
            LambdaTasksError: one of the resolver's errors, naming the path.

        """
        values: dict[str, Stored] = self._wait(path)
        return values

    @property
    def source_count(self) -> int:
        return len(self._threads)

    def _wait(self, source: Source) -> Any:  # noqa: ANN401 - one or several, as the source is
        self._threads[source].join(max(0.0, self._end - time.monotonic()))
        result = self._results.get(source)
        if result is None:
            raise stores.timed_out(source)
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self, sources: Sequence[Source], fetch: Callable[[Any], Mapping[Any, object]], argument: object) -> None:
        def run() -> None:
            try:
                self._results.update(fetch(argument))
            except Exception as error:  # noqa: BLE001 - raised again by _wait, in the thread that can report it
                self._results.update(dict.fromkeys(sources, error))

        thread = threading.Thread(target=run, daemon=True)
        self._threads.update(dict.fromkeys(sources, thread))
        thread.start()

    def _secret(self, secret: SecretVersion) -> Mapping[SecretVersion, Stored]:
        return {secret: stores.get_secret(self._transport, secret, deadline=self._deadline)}

    def _path(self, path: ParameterPath) -> Mapping[ParameterPath, dict[str, Stored]]:
        return {path: stores.get_parameters_by_path(self._transport, path, deadline=self._deadline)}

    def _batch(self, batch: list[Parameter]) -> Mapping[Parameter, Stored | LambdaTasksError]:
        return stores.get_parameters(self._transport, batch, deadline=self._deadline)


def parameter_batches(parameters: Iterable[Parameter]) -> list[list[Parameter]]:
    """Split `parameters` into calls: at most ten, of one region, and no name twice, not even of two accounts."""
    batches: list[list[Parameter]] = []
    for parameter in parameters:
        for batch in batches:
            if (
                len(batch) < stores.PARAMETERS_PER_CALL
                and (batch[0].region, batch[0].partition) == (parameter.region, parameter.partition)
                and all(other.own_name != parameter.own_name for other in batch)
            ):
                batch.append(parameter)
                break
        else:
            batches.append([parameter])
    return batches
