"""The echo models of Triton's python backend; runs inside Triton only."""

import json
from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]


class TritonPythonModel:
    """Answers each request with its own tensor."""

    def initialize(self, args: dict[str, str]) -> None:
        """A decoupled model sends its results; another returns them."""
        config = json.loads(args["model_config"])
        self._is_decoupled = pb_utils.using_decoupled_model_transaction_policy(config)

    def execute(self, requests: list[Any]) -> list[Any] | None:
        if not self._is_decoupled:
            return [_answer(request) for request in requests]
        for request in requests:
            request.get_response_sender().send(
                _answer(request), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
            )
        return None


def _answer(request: Any) -> Any:
    tensor = pb_utils.get_input_tensor_by_name(request, "x")
    return pb_utils.InferenceResponse([pb_utils.Tensor("y", tensor.as_numpy())])
