"""What a worker's process must be able to import: a trial that kills whoever plays it."""

import os
import signal

from straybit.campaign.worker import play


def dies(backend, spec):
    """Stands in for `play` in a worker."""
    if spec.id.endswith("-5"):
        os.kill(os.getpid(), signal.SIGKILL)
    return play(backend, spec)
