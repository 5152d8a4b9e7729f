"""What the lab says when it cannot go on."""


class LabError(Exception):
    """A sentence for the operator; no traceback is shown."""


class CommandFailed(LabError):
    """A command ended with an exit code that its caller did not want."""

    def __init__(self, argv, code, output=""):
        shown = " ".join(str(word) for word in argv)
        super().__init__(f"{shown[:300]} ended with {code}\n{output.strip()}".rstrip())
        self.argv, self.code, self.output = argv, code, output


class StepFailed(LabError):
    """A step of a longer work failed; carries its title and the end of its log."""

    def __init__(self, title, cause, log, tail):
        super().__init__(f"step failed: {title}: {cause}")
        self.title, self.cause, self.log, self.tail = title, cause, log, tail
