"""The StudentNets, one file each; see `mentornet.core.registry` for what a file holds.

A module of this package defines `student`, a `recipes.Student`: how the network is built, and how
it is trained where that differs from the defaults of `recipes.Recipe`.
"""

from mentornet.core.registry import Registry

STUDENTS = Registry(__name__, attribute="student", argument="studentnet")
