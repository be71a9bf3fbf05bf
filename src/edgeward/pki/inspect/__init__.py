"""Looking at bytes and saying in words what they are. Nothing here says that anything is trusted: that is
`verify`'s question.
"""
