"""Reports of a run, made from its journal alone."""

from straybit.report.write import load_result, write_reports

__all__ = ["load_result", "write_reports"]
