"""What works on this machine and what does not: `mg.doctor()`, `mgkit doctor` in a shell."""

from mgkit.checkup.findings import Finding, Report
from mgkit.checkup.looking import doctor

__all__ = ["Finding", "Report", "doctor"]
