"""What a run did: recorded while it happens, shown live, summed up in a table, kept as files.

Nothing is imported here, so that ``--help`` stays quick; import the module that is meant.
"""
