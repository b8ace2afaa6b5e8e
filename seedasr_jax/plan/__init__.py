"""Planning: what a stage takes on a pod that is not here, by the real compiler."""
