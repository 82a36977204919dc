"""An engine that declares what it takes."""

import json

from loader import Bool, Float, Int, Json, Str, Tensor, Text, Wrapper


class Typed(Wrapper):
    inputs = {
        "text": Text(),
        "facts": Json(required=False),
        "array": Tensor("float32", (-1,), required=False),
    }
    outputs = {"told": Text()}
    parameters = {
        "count": Int(default=1, minimum=0, maximum=16000),
        "ratio": Float(default=0.5),
        "is_on": Bool(default=False),
        "language": Str(default="en", enum=["en", "zh", "3"]),
    }

    def exec(self, request):
        said = {"parameters": request.parameters, "types": {one.key: one.type for one in request.frame.items}}
        return {"told": json.dumps(said, sort_keys=True)}
