"""A wrapper of AIGES with a service, a version and paths of its own."""

from aiges.dto import Response, ResponseData
from aiges.sdk import AudioBodyField, IntegerParamField, StringBodyField, StringParamField, WrapperBase


class UserRequest:
    params1 = StringParamField(key="lang", enums=["en", "zh"], value="en", required=True)
    params2 = IntegerParamField(key="rate", maximum=48000, value=16000)
    input1 = StringBodyField(key="script", value=b"hello")
    input2 = AudioBodyField(key="voice", path="none.wav")


class UserResponse:
    accept1 = StringBodyField(key="result")
    accept2 = AudioBodyField(key="speech")


class Wrapper(WrapperBase):
    serviceId = "s0reader"
    version = "v2"
    route = "/v2/private/s0reader;/v2/reader"
    requestCls = UserRequest()
    responseCls = UserResponse()

    def wrapperInit(self, config):
        self.name = config.get("name", "")
        return 0

    def wrapperFini(self):
        return 0

    def wrapperError(self, code):
        return ""

    def wrapperOnceExec(self, params, reqData):
        node = ResponseData()
        node.key = "result"
        node.setDataType(0)
        node.status = 3
        node.setData(str(sorted(params.items())).encode())
        name = ResponseData()
        name.key = "name"
        name.setDataType(0)
        name.status = 3
        name.setData(self.name.encode())
        response = Response()
        response.list = [node, name]
        return response
