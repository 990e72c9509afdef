"""Runs generated programs where they can do no harm, and says honestly whether they passed.

    sandbox = Sandbox.detect()
    outcome = sandbox.run("def double(x): return 2 * x", "assert double(2) == 4")

**What confines.** The strongest of four mechanisms that a real trial shows to work on this machine:
``bubblewrap``; ``namespaces`` (the same arrangement made by ourselves); ``landlock`` with a filter on system
calls; or ``limits`` alone, of which ``Sandbox.warning`` tells. Under the first three a program can read the
interpreter, the system's libraries and the installed packages, write into one throw-away folder, and
nothing else; it has no network, and cannot see or signal what it did not start. All four limit processor
time, memory, file size, processes, output and wall time, pass on neither environment nor descriptors, and
end every process the program leaves. Where the harness is root, the program runs under an unprivileged user
id made up for it. The filter on system calls is also used under the other mechanisms where the kernel has
it, ``limits`` included.

Three processes take part: the harness; a *launcher*, one for each program, which confines, watches, ends
and reaps; and the *runner* with the program itself. The harness believes only an answer that carries the
secret it gave to the launcher.

**What proves a pass.** Program and test must share one interpreter, because the test calls the program's
functions. So whatever the runner does after the test, the program could do as well if it got hold of what
the runner needs: a random number of this run. The number is read before the program starts and then lies
only in the arguments of one chain of C calls (run the program, run the test, write the number, leave), which
hangs from the interpreter's own stack: no frame, module, closure or traceback leads to it. The ways
Python offers to look there nevertheless (listing the collector's objects, ctypes, other interpreters,
tracing) are shut by an audit hook, which cannot be removed. An exit of any kind before the end, a second or
altered proof, or a proof by a process that goes on, is no pass.

**What remains possible.** A program that reads its own memory byte by byte (numpy's array interface, a
hand-made bytecode, under ``limits`` perhaps /proc/self/mem) can find the number, and one that means to
can change what the test sees: return an object equal to everything, or replace a built-in function the test
calls. Neither can be ruled out as long as the test runs in the program's process; both must be written on
purpose. Memory is limited for each process, not for all together. Under ``limits`` files are protected only
by the user id, and by nothing where the harness is not root; another process of the same user can then be
read and, on a kernel that allows tracing it, controlled.
"""

from lsbench.evaluation.sandbox.box import MECHANISMS, Mechanism, Sandbox
from lsbench.evaluation.sandbox.limits import Limits, Outcome, Reason

__all__ = ["MECHANISMS", "Limits", "Mechanism", "Outcome", "Reason", "Sandbox"]
