"""Places where a training runs. Each place is a module of three functions:

    check(graph, ...)      raises if the graph does not fit the place, before anything starts
    render(training, ...)  returns what starts the training there: commands or files
    submit(training, ...)  starts it and returns the exit code

launch/exits.py decides which exit codes are retried.
"""
