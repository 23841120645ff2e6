"""The students, one file each; `mentornet.core.registry` describes what a file must define.

A module of this package defines `student`, a `recipes.Student`: how to build the network, and how
to train it, where that differs from the defaults of `recipes.Recipe`.
"""

from mentornet.core.registry import Registry

STUDENTS = Registry(__name__, attribute="student", argument="studentnet")
