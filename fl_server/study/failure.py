"""How a study ends that cannot continue. The command line knows it without loading a study."""


class StudyFailed(Exception):
    """The study cannot continue; the sentence says why and what to do."""
