"""Lets the tests here import `weak_nodes`, which the importlib import mode would not find."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
