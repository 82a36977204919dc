"""The smallest complete Python wrapper: what comes in goes out. Copy this folder to start your own."""

from loader import Config, Frame, Params, Properties, Request, Result, Session, Wrapper

__version__ = "1.0.0"


def echo(frame: Frame | Request) -> Result:
    """Every item sent back: type, shape and attributes as they came, the payload not copied."""
    return Result([(item.key, item) for item in frame.items])


class EchoSession(Session):
    """Each frame comes back as one result."""

    def write(self, frame: Frame) -> Result:
        """One frame in, one out."""
        return echo(frame)


class Echo(Wrapper):
    """One-shot calls and sessions."""

    properties = Properties(deterministic=True)

    def init(self, config: Config) -> None:
        """Nothing to load."""

    def exec(self, request: Request) -> Result:
        """The request, back."""
        return echo(request)

    def create(self, params: Params) -> EchoSession:
        """A session."""
        return EchoSession()
