"""Lets the tests here, and their workers, import `lanes_samples`, which the importlib import mode would not find."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
