"""HTTP: routes, what they take, what they answer. Knows Flask; holds no decision, no numpy.

`web.application.create_app(settings)` makes the application; importing anything here starts
nothing.
"""
