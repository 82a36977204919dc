"""One-shot calls by callback only: wrapperOnceExecAsync is all there is."""

from aiges_embed import Response, ResponseData, callback


class Wrapper:
    def wrapperInit(self, config):
        return 0

    def wrapperOnceExecAsync(self, params, reqData, usrTag, psrId):
        response = Response()
        response.list = [ResponseData("out", reqData.get("in").data, status=0)]
        return callback(response, usrTag)
