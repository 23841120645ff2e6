"""The weightings, one file each; `mentornet.core.registry` describes what a file must define.

A module of this package defines a factory, `make(context, *, <option>=<default>, ...)`; see
`weighting.protocol`.
"""

from mentornet.core.registry import Registry

WEIGHTINGS = Registry(__name__, attribute="make", argument="weighting")
