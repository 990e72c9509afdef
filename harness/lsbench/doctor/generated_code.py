"""What would confine the programs that a model writes."""

from __future__ import annotations

from lsbench.doctor.finding import Finding


def sandbox() -> Finding:
    """The strongest mechanism that a real trial shows to work here, as a run would choose it."""
    from lsbench.errors import SandboxUnavailable
    from lsbench.evaluation.sandbox import Sandbox

    try:
        found = Sandbox.detect()
    except SandboxUnavailable as error:
        return Finding("sandbox", "missing", str(error))
    if found.warning is not None:
        return Finding(
            "sandbox",
            "limited",
            "resource limits alone: generated programs can change files that you can",
            "install bubblewrap or allow user namespaces; --sandbox strict refuses to run without",
        )
    user = ", under a user id of its own" if found.changes_user else ""
    return Finding("sandbox", "ok", f"{found.mechanism}{user}")
