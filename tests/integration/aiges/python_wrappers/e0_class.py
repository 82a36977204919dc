"""July 2022: a class without a base, the six arguments of the first generation, respData as a list to fill."""


class Wrapper:
    def wrapperInit(self, config):
        return 0

    def wrapperFini(self):
        return 0

    def wrapperOnceExec(cls, usrTag, params, reqData, respData, psrIds, psrCnt):
        if reqData[0]["key"] == "bad":
            return 100
        respData.append({"key": "out", "data": reqData[0]["data"] + b"!", "len": 1, "status": 3, "type": 1})
        respData.append({"key": "out", "data": "%s %d" % (psrIds, psrCnt), "len": 0, "status": 3, "type": 0})
        return 0

    def wrapperError(self, ret):
        return "error %d" % ret
