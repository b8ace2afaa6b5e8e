"""Places where a training runs. Each place is a module of three verbs:

    check(graph, ...)      refuses what does not fit the place, before anything starts
    render(training, ...)  what starts the training there: commands or files
    submit(training, ...)  starts it and returns the exit code

launch/exits.py decides what is started again.
"""
