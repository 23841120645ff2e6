"""One file a weighting: `make(context, *, options)`, found by `mentornet.weighting.registry`."""
