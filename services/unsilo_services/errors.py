"""The root of every error the hub raises on purpose. Subclasses live beside what raises them."""


class UnsiloError(Exception):
    """Something only a person can put right. A command prints `operator` and exits 1; a service logs both and stops.

    Subclasses whose docstring says otherwise are handled by the service itself. Neither message holds a secret or a
    payload.
    """

    def __init__(self, operator: str, developer: str = "") -> None:
        super().__init__(operator, developer)
        self.operator = operator
        """What is wrong and what to do about it, for whoever runs the hub."""
        self.developer = developer
        """Where and why, for whoever reads its code."""

    def __str__(self) -> str:
        return self.operator


def where(error: BaseException) -> str:
    """The kind of an error and the line it came from: never its message, which may hold content or a secret."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return type(error).__name__ + (f" at {step.tb_frame.f_code.co_name}:{step.tb_lineno}" if step is not None else "")


def first_line(error: Exception) -> str:
    """What an error says, in a line that is not too long; its kind where it says nothing."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
