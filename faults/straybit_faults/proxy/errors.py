"""What the API refuses, with Toxiproxy's status and text."""

from __future__ import annotations

__all__ = ["ApiError"]


class ApiError(Exception):
    """A refused call: `status` and the text of its JSON body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    @classmethod
    def bad_body(cls, why: object) -> ApiError:
        """A body that is not JSON, or not of the right shape."""
        return cls(400, f"bad request body: {why}")

    @classmethod
    def missing(cls, field: str, where: str = "") -> ApiError:
        """A required field is absent or empty."""
        return cls(400, f"missing required field: {field}{where}")
