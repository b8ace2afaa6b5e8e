"""Planning: memory, collectives and step-time bound of a stage on a pod, without the pod."""
