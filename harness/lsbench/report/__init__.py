"""What a run concludes, shown to people: terminal table, progress view, Markdown and HTML.

Reads metrics, facts and records, nothing else; import the module you need, this package loads none.
"""
