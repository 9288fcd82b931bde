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
